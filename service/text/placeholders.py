"""Protected spans (placeholders, tags, addresses, code): masked before translation and restored afterwards.

If the model loses a mask or makes one up, `restore` returns None, and the translator cuts the sentence at its protected
spans instead.
"""

import re
from collections.abc import Callable, Sequence

Span = tuple[int, int]  # [begin, end) in a text
Move = tuple[Span, Span]  # of a mask in the masked text, and of the protected text in the other

# Time is linear: a look-behind keeps each from being tried again inside of what it has already read, and of two parts
# that may take the same characters the first gives none back.
# Each is taken for what it is wherever it stands, in a source and in a translation.
_STRICT = r"""
    <[a-zA-Z][^<>]*></[a-zA-Z][^<>]*>                                  # <x id="7"></x>
  | </?[a-zA-Z][^<>]*>                                                 # a tag
  | (?:https?|ftp|file)://[^\s<>"'`{}|\\^]*[\w/&=\#~-]                 # an address, without the full stop after it
  | (?:www\.|mailto:)[^\s<>"'`{}|\\^]*[\w/]
  | (?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+                         # e-mail
  | \{\{[^{}\n]{0,80}\}\} | \$?\{[^{}\n]{0,80}\} | \$\([A-Za-z_]\w*\)  # {{name}} {name} ${name} $(name)
  | %(?:\(\w+\)|<\w+>)[-+\#0]*+\d*+(?:\.\d++)?+[sdiufxXcgGeEaro]       # %(name)s %(name).2f Ruby's %<name>d
  | %\{\w+\} | %[A-Za-z]\w+%                                           # %{name} %NAME%
  | (?<![\d%])%(?:\d++\$)?+[-+\#0]*+(?:\d++|\*)?+(?:\.(?:\d++|\*))?+(?:hh?|ll?|[jztLq])?
    [sdiufxXcpgGeEaAonr@](?![A-Za-z]{2})
  | (?<![\d%])%L?\d{1,2}(?!\d)                                         # %1$s %d %-5.2f; Qt's %1
  | \$[A-Za-z_]\w* | @[A-Z_]{2,}@                                      # $VAR @VAR@
  | (?<![\w&])[\#@][^\W\d_][\w-]*                                      # #hashtag @mention
  | &(?:[a-zA-Z][a-zA-Z0-9]+|\#\d+);                                   # &amp;
  | \\[nrtabfv0"'\\](?![a-z])                                          # \n as two characters
"""
# Code: protected in a source; a translation may have words like it.
_CODE = r"""
    ``[^`\n]+`` | `[^`\n]+`
  | (?<![\w-])--[a-zA-Z][\w-]*(?:=[^\s,;)"']*[\w/])?                  # --option=value
  | (?<![\w/.+~-])~?/(?:[\w.+~-]++/)*+[\w.+~-]*\w                       # /usr/share/doc
  | (?<!\w)[A-Za-z]:\\[^\s"'<>|]*\w                                    # C:\Windows
  | (?<!\w)(?:[a-zA-Z0-9]++_)+[a-zA-Z0-9]\w*(?:\(\))?                    # snake_case
  | (?<![\w.:>])[a-zA-Z_]\w*+(?:(?:\.|::|->)[a-zA-Z_]\w*+)*+\(\)         # call()
  | [\ue000-\uf8ff\U000f0000-\U0010ffff]                               # private characters: marks of markup
"""
# Each of them has one of these: most sentences have none and are not searched further.
_HINT = re.compile(r"[<{%$@#&\\`/_\ue000-\uf8ff\U000f0000-\U0010ffff]|www\.|mailto:|--|\(\)")
_STRICT_PATTERN = re.compile(_STRICT, re.VERBOSE)
_PATTERN = re.compile(f"{_STRICT} | {_CODE}", re.VERBOSE)
# The model's normalisation spells these out (m2 for m², 1/2 for ½), and it writes them so.
_SPELT_OUT = re.compile(r"[\u00b2\u00b3\u00b9\u2070-\u209c\u00bc-\u00be\u2150-\u215e\u2460-\u24ff\u2122\u2120]")
_WORD = re.compile(r"(?<!\.)(?:\.*+[^\s,;:!?\"().]++)++")  # full stops only before more of the word
_NUMBERED = re.compile(r"%(\d+)")
_ONE = re.compile(r"%s")
_PERCENT_S = re.compile(r"(?<=\d)%s(?!\w)")  # models trained on software write this for 50%


def find(text: str) -> list[Span]:
    """Find the spans of a text to protect, in order."""
    spans = [match.span() for match in _PATTERN.finditer(text)] if _HINT.search(text) else []
    if _SPELT_OUT.search(text):
        spans = merge(spans, words_with(text, spans, lambda word: _SPELT_OUT.search(word) is not None))
    return spans


def merge(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Merge spans in order; those that overlap become one."""
    merged: list[Span] = []
    for begin, end in sorted([*spans, *others]):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def words_with(text: str, spans: Sequence[Span], is_wanted: Callable[[str], bool]) -> list[Span]:
    """Find the words outside of the spans that `is_wanted` picks."""
    characters = list(text)
    for begin, end in spans:
        characters[begin:end] = " " * (end - begin)
    return [word.span() for word in _WORD.finditer("".join(characters)) if is_wanted(word[0])]


def hide(text: str, spans: Sequence[Span]) -> str:
    """Replace each span by a mask: %s, which models trained on software know, or %1, %2, ... if there are several."""
    parts, position = [], 0
    for number, (begin, end) in enumerate(spans, 1):
        parts += [text[position:begin], _mask(number, len(spans))]
        position = end
    return "".join([*parts, text[position:]])


def restore(translation: str, kept: Sequence[str]) -> str | None:
    """Replace the masks in a translation by the texts that they stand for.

    Args:
        translation: of a text that `hide` masked.
        kept: the protected texts, in the order of the source.

    Returns:
        None if not every mask is there exactly once, if the model made up a placeholder, or if nothing is left.
    """
    if not kept:
        return without(translation) or None
    found = _masks(translation, len(kept))
    if sorted(number for _, number in found) != list(range(len(kept))):
        return None
    parts, position = [], 0
    for (begin, end), number in found:
        parts += [translation[position:begin], kept[number]]
        position = end
    text = "".join([*parts, translation[position:]])
    return text if same(text, "\n".join(kept)) else None


def hidden(spans: Sequence[Span]) -> list[Move]:
    """Return where `hide` puts its masks, with the spans."""
    moves, shift = [], 0
    for number, (begin, end) in enumerate(spans, 1):
        mask = (begin + shift, begin + shift + len(_mask(number, len(spans))))
        moves.append((mask, (begin, end)))
        shift = mask[1] - end
    return moves


def restored(translation: str, kept: Sequence[str]) -> list[Move]:
    """Return where the masks are in a translation, and the protected texts in the output of `restore`."""
    moves, shift = [], 0
    for (begin, end), number in _masks(translation, len(kept)) if kept else ():
        moves.append(((begin, end), (begin + shift, begin + shift + len(kept[number]))))
        shift = moves[-1][1][1] - end
    return moves


def followed(span: Span, moves: Sequence[Move]) -> Span:
    """Map a span of the masked text to the other; one that is partly in a mask gets all of the protected text."""
    begin, end = span
    new_begin, new_end = span
    for (from_begin, from_end), (to_begin, to_end) in moves:
        if begin >= from_end:
            new_begin = begin + to_end - from_end
        elif begin >= from_begin:
            new_begin = to_begin
        if end >= from_end:
            new_end = end + to_end - from_end
        elif end > from_begin:
            new_end = to_end
    return new_begin, new_end


def same(text: str, other: str) -> bool:
    """Return whether two texts have the same placeholders, tags and addresses, in any order."""
    return sorted(_STRICT_PATTERN.findall(text)) == sorted(_STRICT_PATTERN.findall(other))


def without(translation: str) -> str:
    """Remove the placeholders, tags and addresses that the model made up."""
    translation = _PERCENT_S.sub("%", translation)
    while (text := _STRICT_PATTERN.sub("", translation)) != translation:  # what is left may join to another
        translation = text.strip()
    return translation


def _mask(number: int, count: int) -> str:
    return "%s" if count == 1 else f"%{number}"


def _masks(translation: str, count: int) -> list[tuple[Span, int]]:
    """Find the masks for `count` protected texts, in order, each with the index of its text."""
    pattern = _ONE if count == 1 else _NUMBERED
    return [(match.span(), 0 if count == 1 else int(match[1][:4]) - 1) for match in pattern.finditer(translation)]
