"""What a translation must keep to the letter: placeholders, tags, addresses, code; and how they get through a model.

A stand-in takes the place of each, and is replaced again in the translation. A model that loses one, or makes one up,
is noticed: `restore` then gives None, and the translator cuts the sentence there instead.
"""

import re
from collections.abc import Callable, Sequence

Span = tuple[int, int]  # [begin, end) in a text

# Time is linear: a look-behind keeps each from being tried again inside of what it has already read.
# Each is taken for what it is wherever it stands, in a source and in a translation.
_STRICT = r"""
    <[a-zA-Z][^<>]*></[a-zA-Z][^<>]*>                                  # <x id="7"></x>
  | </?[a-zA-Z][^<>]*>                                                 # a tag
  | (?:https?|ftp|file)://[^\s<>"'`{}|\\^]*[\w/&=\#~-]                 # an address, without the full stop after it
  | (?:www\.|mailto:)[^\s<>"'`{}|\\^]*[\w/]
  | (?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+                         # e-mail
  | \{\{[^{}\n]{0,80}\}\} | \$?\{[^{}\n]{0,80}\} | \$\([A-Za-z_]\w*\)  # {{name}} {name} ${name} $(name)
  | %\(\w+\)[sdif] | %\{\w+\} | %[A-Za-z]\w+%                          # %(name)s %{name} %NAME%
  | (?<![\d%])%(?:\d+\$)?[-+\#0]*(?:\d+|\*)?(?:\.\d+|\.\*)?(?:hh?|ll?|[jztLq])?[sdiufxXcpgGeEaAon@](?![A-Za-z]{2})
  | (?<![\d%])%L?\d{1,2}(?!\d)                                         # %1$s %d %-5.2f; Qt's %1
  | \$[A-Za-z_]\w* | @[A-Z_]{2,}@                                      # $VAR @VAR@
  | (?<![\w&])[\#@][^\W\d_][\w-]*                                      # #hashtag @mention
  | &(?:[a-zA-Z][a-zA-Z0-9]+|\#\d+);                                   # &amp;
  | \\[nrtabfv0"'\\](?![a-z])                                          # \n as two characters
"""
# Code: kept where a source has it; a translation may well have words like it.
_CODE = r"""
    ``[^`\n]+`` | `[^`\n]+`
  | (?<![\w-])--[a-zA-Z][\w-]*(?:=[^\s,;)"']*[\w/])?                  # --option=value
  | (?<![\w/.+~-])~?/(?:[\w.+~-]++/)*+[\w.+~-]*\w                       # /usr/share/doc
  | (?<!\w)[A-Za-z]:\\[^\s"'<>|]*\w                                    # C:\Windows
  | (?<!\w)(?:[a-zA-Z0-9]++_)+[a-zA-Z0-9]\w*(?:\(\))?                    # snake_case
  | (?<![\w.:>])[a-zA-Z_]\w*+(?:(?:\.|::|->)[a-zA-Z_]\w*+)*+\(\)         # call()
  | [\ue000-\uf8ff\U000f0000-\U0010ffff]                               # private: characters that stand for markup
"""
# None of them is without one of these: most sentences are read no further.
_HINT = re.compile(r"[<{%$@#&\\`/_\ue000-\uf8ff\U000f0000-\U0010ffff]|www\.|mailto:|--|\(\)")
_STRICT_PATTERN = re.compile(_STRICT, re.VERBOSE)
_PATTERN = re.compile(f"{_STRICT} | {_CODE}", re.VERBOSE)
# Models read their own spelling of these (m2 for m², 1/2 for ½), and write that.
_SPELT_OUT = re.compile(r"[\u00b2\u00b3\u00b9\u2070-\u209c\u00bc-\u00be\u2150-\u215e\u2460-\u24ff\u2122\u2120]")
_WORD = re.compile(r"[^\s,;:!?\"()]*[^\s,;:!?\"().]")
_NUMBERED = re.compile(r"%(\d+)")
_ONE = re.compile(r"%s")


def find(text: str) -> list[Span]:
    """Where the parts of a text stand that are to be kept, in order."""
    spans = [match.span() for match in _PATTERN.finditer(text)] if _HINT.search(text) else []
    if _SPELT_OUT.search(text):
        spans = merge(spans, words_with(text, spans, lambda word: _SPELT_OUT.search(word) is not None))
    return spans


def merge(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """All spans in order; those that overlap become one."""
    merged: list[Span] = []
    for begin, end in sorted([*spans, *others]):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def words_with(text: str, spans: Sequence[Span], is_wanted: Callable[[str], bool]) -> list[Span]:
    """Where the words stand that `is_wanted` picks, of those outside of the spans."""
    characters = list(text)
    for begin, end in spans:
        characters[begin:end] = " " * (end - begin)
    return [word.span() for word in _WORD.finditer("".join(characters)) if is_wanted(word[0])]


def hide(text: str, spans: Sequence[Span]) -> str:
    """The text with a stand-in for each span: one that models for software know, numbered if there are several."""
    parts, position = [], 0
    for number, (begin, end) in enumerate(spans, 1):
        parts += [text[position:begin], "%s" if len(spans) == 1 else f"%{number}"]
        position = end
    return "".join([*parts, text[position:]])


def restore(translation: str, kept: Sequence[str]) -> str | None:
    """The translation with `kept` in place of their stand-ins; None if not each is there once, or if nothing is."""
    if not kept:
        return without(translation) or None
    stand_in = _ONE if len(kept) == 1 else _NUMBERED
    numbers = [0 if len(kept) == 1 else int(match[1][:4]) - 1 for match in stand_in.finditer(translation)]
    if sorted(numbers) != list(range(len(kept))):
        return None
    order = iter(numbers)
    text = stand_in.sub(lambda _: kept[next(order)], translation)
    return text if same(text, "\n".join(kept)) else None


def same(text: str, other: str) -> bool:
    """Whether two texts have the same placeholders, tags and addresses, in whatever order."""
    return sorted(_STRICT_PATTERN.findall(text)) == sorted(_STRICT_PATTERN.findall(other))


def without(translation: str) -> str:
    """A translation without the placeholders, tags and addresses that the model made up."""
    while (text := _STRICT_PATTERN.sub("", translation)) != translation:  # what is left may come together as another
        translation = text.strip()
    return translation
