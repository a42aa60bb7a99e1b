"""Kept units: what of a text is not language, comes back to the letter, and is masked for the model.

A unit is a placeholder, a tag, an address, code, a formula or an element of markup; several that touch are one, with
the digits that touch them. The model sees a mask in its place, with a space where the unit touches a word. In a
translation each mask must stand exactly once; there the unit touches what it touched in the source.
"""

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

Span = tuple[int, int]  # [begin, end) in a text
Move = tuple[Span, Span]  # of a stretch of one text, and what stands for it in the other

# Time is linear: a look-behind keeps each from being tried again inside of what it has already read, and of two parts
# that may take the same characters the first gives none back.
_FORMULA = r"""
    \$\$[^$]+\$\$                                                        # TeX: $$x$$
  | \$(?![\s\d$])[^\s$%]++\$(?![\w$])                                    # $x$, but not $HOME:$PATH
  | \$(?!\s)(?=[^$%\n\\^_=+*{<>]*+[\\^_=+*{<>])[^$%\n]*(?<!\s)\$(?![\w$]) # $a + b$ $2x + 1$, but neither $5 nor $6
  | \\\[(?>(?:[^\\]|\\(?![\[\]]))*)\\\] | \\\((?>(?:[^\\]|\\(?![()]))*)\\\)     # \[x\] \(x\)
  | \\[a-zA-Z]++\*?(?:\[[^\[\]{}\n]{0,80}\])?(?>(?:\{[^{}\n]{0,80}\})+)       # \cite[1]{x}
"""
# Each is taken for what it is wherever it stands, in a source and in a translation.
_STRICT = r"""
    <[a-zA-Z][^<>]*></[a-zA-Z][^<>]*>                                  # <x id="7"></x>
  | </?[a-zA-Z][^<>]*> | </?\d{1,3}\s?/?>                              # a tag, and one of i18next's, <1>
  | <%[^<>%\n]{0,80}%> | <\?[^<>?\n]{0,80}\?>                          # <%= name %> <?= name ?>
  | (?:https?|ftp|file)://(?>(?:\([^\s<>"'`{}|\\^()]*+\)|[^\s<>"'`{}|\\^()]*[\w/&=\#~-])+)  # an address, no dot behind
  | (?:www\.|mailto:)(?>(?:\([^\s<>"'`{}|\\^()]*+\)|[^\s<>"'`{}|\\^()]*[\w/])+)
  | (?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+                         # e-mail
  | \{\{\{?[^{}\n]{0,80}\}\}\}? | [$\#]?\{[^{}\n]{0,80}\}               # {{name}} {name} ${name} #{name}
  | \$\([A-Za-z_]\w*\) | \$t\([^()\n]{0,80}\)                           # $(name) $t(key)
  | \[\[[^\[\]\n]{1,80}\]\] | \[%[^%\[\]\n]{0,80}%\]                    # [[name]] [% name %]
  | @(?>(?:\.\w++)?):(?:\([\w.]++\)|\w++(?>(?:[.-]\w++)*))(?:\([\w.]++\))?    # Vue's @:link(name)
  | %(?:\(\w+\)|<\w+>)[-+\#0]*+\d*+(?>(?:\.\d++)?)[sdiufxXcgGeEaro]       # %(name)s %(name).2f Ruby's %<name>d
  | %\{\w+\} | %[A-Za-z]\w+% | %%[A-Za-z]\w*+%% | (?>(?:%%)+)             # %{name} %NAME% %%NAME%% %%
  | (?<![\d%])%(?>(?:\d++\$)?)[-+\#0']*+(?>(?:\d++|\*)?)(?>(?:\.(?:\d++|\*))?)(?:hh?|ll?|[jztLq])?
    [sdiufxXpcgGeEaAonrbBhHtyYmMSjIZTFDR@](?!(?!(?:st|nd|rd|th)\b)[A-Za-z]{2})
  | (?<![\d%])%L?\d{1,2}(?!\d)                                         # %1$s %d %-5.2f %Y; Qt's %1
  | \$[A-Za-z_]\w* | @[A-Z_]{2,}@ | @@\w++@@                           # $VAR @VAR@ @@VAR@@
  | (?<!\#)\#{2,}+\w++\#{2,}+                                          # ###T01###
  | (?<![\w&])[\#@][^\W\d_][\w-]*                                      # #hashtag @mention
  | (?<![\w:])(?>(?::(?=[\d_+-]*+[a-z]|[+-]?1:|100:|1234:)[a-z0-9_+-]++:)+)(?![\w:])   # :smile: :+1::skin-tone-2:
  | <a?:\w{1,40}:\d{1,20}> | <[\#@!][^\s<>|]{1,40}(?:\|[^<>|\n]{0,80})?>     # <@U024BE7LH> <#C024|general>
  | &(?:[a-zA-Z][a-zA-Z0-9]+|\#\d+);                                   # &amp;
  | \\[nrtabfv0\\](?![a-z]) | \\["']                                   # \n as two characters
"""
_DOMAINS = (  # those that are no words
    "ai app ch cloud co com cz de dev dk edu es eu example fi fr gov hu info int internal invalid io jp lan li local "
    "localhost mil net nl org pl ru se test uk us"
)
_ENDINGS = (  # of files
    "7z apk bash bat bin bmp bz2 cc cfg conf cpp css csv db deb dll dmg doc docx dtd epub exe gif gz htm html ico ini "
    "iso jar java jpeg jpg js json jsx key log lua md mkv mp3 mp4 msi odp ods odt ogg pdf pem php png po pot ppt pptx "
    "ps1 py rar rb rpm rs rst rtf sh sql srt svg tar tex tif tiff toml ts tsx ttf txt vtt wav webm webp woff woff2 xlf "
    "xliff xls xlsx xml xpi xz yaml yml zip"
)
_KEYS = "Ctrl|Control|Alt|AltGr|Shift|Cmd|Command|Option|Meta|Super|Win|Fn"
# Code: protected in a source; a translation may have words like it.
_CODE = rf"""
    ``[^`\n]+`` | `[^`\n]+`
  | (?<![\w-])--[a-zA-Z][\w-]*(?:=[^\s,;)"']*[\w/])?                  # --option=value
  | (?<![\w/.+~-])~?/(?>(?:[\w.+~-]++/)*)[\w.+~-]*\w                       # /usr/share/doc
  | (?<!\w)[A-Za-z]:\\[^\s"'<>|]*\w                                    # C:\Windows
  | (?<![\w.@-])(?>(?:[a-zA-Z0-9][\w-]*+\.(?=\w))+)
    (?:(?:{_DOMAINS.replace(" ", "|")})(?![\w-]|\.\w)|[a-z]{{2,9}}(?=:\d|/\w))
    (?::\d{{1,5}}(?!\d))?(?:/(?>(?:\([^\s<>"'`{{}}|\\^()]*+\)|[^\s<>"'`{{}}|\\^()]*[\w/])*))?  # host.example.com:80/a
  | (?<![\w.@-])(?:localhost|\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![\w.]*\d))(?::\d{{1,5}}|/\d{{1,2}})?(?!\w)  # 10.0.0.5:80
  | (?<![\w.:/-])[a-z][a-z0-9-]*+:\d{{4,5}}(?![\w:])                     # db:5432
  | (?<![\w:])(?=[\d:]{{0,40}}(?:[a-fA-F]|::))(?:[0-9a-fA-F]{{0,4}}:){{2,7}}[0-9a-fA-F]{{1,4}}(?![\w:])  # fe80::1
  | (?<![\w.@-])(?>(?:[\w-]++\.(?=\w))+)(?:{_ENDINGS.replace(" ", "|")})(?![\w-]|\.\w)   # report.pdf
  | (?<![\w.*])\*?\.[a-z][a-z0-9]{{1,9}}(?![\w-]|\.\w)                   # *.txt .env
  | (?<!\w)(?:[a-zA-Z0-9]++_)+[a-zA-Z0-9]\w*(?:\(\))? | (?<!\w)__\w++    # snake_case __name__
  | (?<![\w.:>])[a-zA-Z_]\w*+(?>(?:(?:\.|::|->)[a-zA-Z_]\w*+)*)\(\)         # call()
  | (?<![\w.:>+-])[a-zA-Z_](?>(?:[\w.+:-]*\w)?)\([1-9][a-z]{{0,3}}\)         # printf(3)
  | (?<![\w+-])(?:{_KEYS})(?>(?:[ ]?\+[ ]?(?:[A-Z][a-z]{{2,9}}|F?\w|[^\w\s])|-(?:F\d{{1,2}}|\w))+)(?!\w)  # Ctrl+C
  | (?<![\w.'=])[A-Za-z][ ]?=[ ]?(?![A-Za-z]{{3}})[\w.+*/^-]*\w             # E = mc², x = 5
  | (?<![^\s("'\[])[:!][a-z_]\w++(?![:\w-])                            # Laravel's :name, Drupal's !name
  | \[/[a-z]\w*+\] | \[[a-z]\w*+(?:=|\s\w++=)[^\[\]\n]*\] | \[(?:b|i|u|s|url|img|code|quote)\]  # [b] [/b] [url=a.b]
  | [\ue000-\uf8ff\U000f0000-\U0010ffff]                               # private characters: marks of markup
"""
# Each of them has one of these: most sentences have none and are not searched further.
_HINT = re.compile(
    r"[<{%$@#&\\`/_:*=\[+\ue000-\uf8ff\U000f0000-\U0010ffff]|\.\w|![a-z_]|mailto:|--|\w\([\d)]|localhost|(?:Ctrl|Alt|Shift|Cmd)-"
)
_STRICT_PATTERN = re.compile(_STRICT, re.VERBOSE)
_PATTERN = re.compile(f"{_FORMULA} | {_STRICT} | {_CODE}", re.VERBOSE)
# The model's normalisation spells these out (m2 for m², 1/2 for ½), and it writes them so.
_SPELT_OUT = re.compile(r"[\u00b2\u00b3\u00b9\u2070-\u209c\u00bc-\u00be\u2150-\u215e\u2460-\u24ff\u2122\u2120]")
# The symbol of a unit of measure behind a power of ten: 10⁻³ m. A model loses what is a single letter.
MEASURE_BEHIND = re.compile(
    r"(?:[ \u00a0\u202f]|&nbsp;)?(?:(?:[fpnµμmcdhkMGT]|da)?(?:m|g|s|l|L|W|V|J|N|Pa|Hz|eV|mol|K|C|F|T|Bq|Gy|Sv|Ω|B|bar)"
    r"|h|cd|lm|lx|rad|sr|ha|°C)(?!\w)"
)
_POWER = re.compile(r"(?<![\d.,])10[⁺⁻]?[⁰¹²³⁴-⁹]+\Z")
_WORD = re.compile(r"(?<!\.)(?>(?:\.*+[^\s,;:!?\"().]++)+)")  # full stops only before more of the word
# No word of a language that puts spaces between words is as long: a key, a hash, encoded bytes. A model repeats itself.
_LONG_WORD = re.compile(
    r"[^\W\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]{100,}+"
)
_LONGEST_WORD = 100
# What embeds, overrides or isolates text of another direction, and its end.
DIRECTED = {"\u202a": "\u202c", "\u202b": "\u202c", "\u202d": "\u202c", "\u202e": "\u202c"} | dict.fromkeys(
    "\u2066\u2067\u2068", "\u2069"
)
_LIKE_A_MASK = re.compile(r"%[s\d]")
_NUMBERED = re.compile(r"%(\d{1,4})(?!\d)")
_ONE = re.compile(r"%s")
_MADE_UP_SIGN = re.compile(r"(?<=\d)%s(?!\w)|%%++")  # models trained on software write these for 50%
_DIGITS = re.compile(r"(?>(?:[.,]?\d)*)%?")
# Behind a placeholder that is a number: {n}th, %dst.
_ORDINAL_END = re.compile(r"(?<=[}di\ue000-\uf8ff\U000f0000-\U0010ffff])(?:st|nd|rd|th)(?!\w)")
_FIRST_PRIVATE = "\ue000"
# Between two units that are one: %d/%d, f(x), File > Open.
_JOINT = re.compile(r"[./:@=+~|\\(\[,;-]| ?[>→»›] ?| [/|+] ")
_TAG = re.compile(r"<(/?)([\w:-]++)[^<>]*?(/?)>")


class Unit(NamedTuple):
    """A kept unit: what stands for its mask in the translation, and whether it touches a word of the source."""

    text: str
    touches_before: bool = False
    touches_after: bool = False


class Restored(NamedTuple):
    """A translation with its units in place of their masks, and where these were and those are."""

    text: str
    moves: list[Move]


def find(text: str) -> list[Span]:
    """Find the units of a text, in order; none touches another."""
    spans = [match.span() for match in _PATTERN.finditer(text)] if _HINT.search(text) else []
    if _SPELT_OUT.search(text):
        spelt_out = words_with(text, spans, lambda word: _SPELT_OUT.search(word) is not None)
        spans = merge(spans, [_with_measure(text, span) for span in spelt_out])
    if "\\" in text:
        spans = merge(spans, words_with(text, spans, lambda word: "\\" in word))
    if "%" in text:
        spans = merge(spans, words_with(text, spans, lambda word: _LIKE_A_MASK.search(word) is not None))
    if len(text) >= _LONGEST_WORD:
        spans = merge(spans, [match.span() for match in _LONG_WORD.finditer(text)])
    return merge([_with_direction(text, span) for span in _joined(text, spans)], []) if spans else []


def merge(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Merge spans in order; those that overlap or touch become one."""
    merged: list[Span] = []
    for begin, end in sorted([*spans, *others]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def overlaps(span: Span, others: Sequence[Span]) -> bool:
    """Return whether a span has a part of one of others, which are sorted and apart."""
    place = bisect.bisect_left(others, (span[1],))
    return place > 0 and others[place - 1][1] > span[0]


def words_with(text: str, spans: Sequence[Span], is_wanted: Callable[[str], bool]) -> list[Span]:
    """Find the words outside of the spans that `is_wanted` picks."""
    characters = list(text)
    for begin, end in spans:
        characters[begin:end] = " " * (end - begin)
    return [word.span() for word in _WORD.finditer("".join(characters)) if is_wanted(word[0])]


def has_words(text: str, spans: Sequence[Span]) -> bool:
    """Return whether there is a letter outside of the spans."""
    position = 0
    for begin, end in spans:
        if any(map(str.isalpha, text[position:begin])):
            return True
        position = end
    return any(map(str.isalpha, text[position:]))


def units(text: str, spans: Sequence[Span]) -> list[Unit]:
    """Return what stands at spans of a text."""
    return [Unit(text[begin:end], *_touches(text, begin, end)) for begin, end in spans]


def hide(text: str, spans: Sequence[Span]) -> str:
    """Replace each span by a mask: %s, which models trained on software know, or %1, %2, ... if there are several."""
    parts, position = [], 0
    for number, (begin, end) in enumerate(spans, 1):
        before, after = _touches(text, begin, end)
        parts += [text[position:begin], " " * before, _mask(number, len(spans)), " " * after]
        position = end
    return "".join([*parts, text[position:]])


def hidden(text: str, spans: Sequence[Span]) -> list[Move]:
    """Return where `hide` puts its masks, with the spans."""
    moves: list[Move] = []
    shift = 0
    for number, (begin, end) in enumerate(spans, 1):
        before, after = _touches(text, begin, end)
        mask = begin + shift + before
        mask_end = mask + len(_mask(number, len(spans)))
        moves += [((mask - 1, mask), (begin, begin))] * before
        moves.append(((mask, mask_end), (begin, end)))
        moves += [((mask_end, mask_end + 1), (end, end))] * after
        shift = mask_end + after - end
    return moves


def outside(text: str, spans: Sequence[Span]) -> str:
    """Return a text with a space in place of each span."""
    parts, position = [], 0
    for begin, end in spans:
        parts.append(text[position:begin])
        position = end
    return " ".join([*parts, text[position:]])


def unmasked(translation: str, count: int) -> str:
    """Return a translation without the masks of so many units."""
    return outside(translation, [span for span, _ in _masks(translation, count)]) if count else translation


def masks(count: int) -> list[str]:
    """Return the masks of so many units."""
    return [_mask(number, count) for number in range(1, count + 1)]


def restore(translation: str, kept: Sequence[Unit]) -> Restored | None:
    """Replace the masks in a translation by the units that they stand for.

    Args:
        translation: of a text that `hide` masked.
        kept: its units, in the order of the source.

    Returns:
        None if not every mask is there exactly once, if the model made up a placeholder, if a tag ends before it
        begins, or if nothing is left.
    """
    if not kept:
        text = without(translation)
        return Restored(text, []) if text else None
    found = _masks(translation, len(kept))
    if sorted(number for _, number in found) != list(range(len(kept))):
        return None
    parts: list[str] = []
    moves: list[Move] = []
    position = length = 0
    for index, ((begin, end), number) in enumerate(found):
        unit = kept[number]
        following = found[index + 1][0][0] if index + 1 < len(found) else len(translation)
        opening = "<" + unit.text[2:-1] if unit.text.startswith("</") else None
        is_pair = index and opening and kept[found[index - 1][1]].text.startswith((f"{opening}>", f"{opening} "))
        if is_pair and not translation[position:begin].strip():
            return None  # a pair of tags without its words
        before, gap = _spaced(translation[position:begin], unit)
        # two numbers are not one
        gap = gap or (index > 0 and position == begin and parts[-2][-1:].isdecimal() and unit.text[:1].isdecimal())
        length += len(before)
        if gap:
            moves.append(((begin, begin), (length, length + 1)))
        elif len(before) < begin - position:
            moves.append(((position + len(before), begin), (length, length)))
        length += gap
        moves.append(((begin, end), (length, length + len(unit.text))))
        length += len(unit.text)
        position = end
        after = translation[end : end + 1]
        is_open = following > end and after.isalnum() and not unit.touches_after
        if is_open:
            moves.append(((end, end), (length, length + 1)))
        elif unit.touches_after and after == " " and following > end + 1 and translation[end + 1].isalnum():
            moves.append(((end, end + 1), (length, length)))
            position += 1
        parts += [before, " " * gap, unit.text, " " * is_open]
        length += is_open
    text = "".join([*parts, translation[position:]])
    whole = "\n".join(unit.text for unit in kept)
    return Restored(text, moves) if same(text, whole) and (_is_nested(text) or not _is_nested(whole)) else None


def followed(span: Span, moves: Sequence[Move]) -> Span:
    """Map a span of one text to the other; one that is partly in a mask gets all of the unit."""
    begin, end = span
    new_begin, new_end = span
    for (from_begin, from_end), (to_begin, to_end) in moves:
        if begin >= from_end:
            new_begin = begin + to_end - from_end
        elif begin >= from_begin:
            new_begin = to_begin
        if end > from_begin:
            new_end = end + to_end - from_end if end >= from_end else to_end
    return new_begin, max(new_begin, new_end)


def same(text: str, other: str) -> bool:
    """Return whether two texts have the same placeholders, tags and addresses, in any order."""
    return sorted(_STRICT_PATTERN.findall(text)) == sorted(_STRICT_PATTERN.findall(other))


def without(translation: str) -> str:
    """Remove the placeholders, tags and addresses that the model made up."""
    translation = _MADE_UP_SIGN.sub("%", translation)
    while (text := _STRICT_PATTERN.sub("", translation)) != translation:  # what is left may join to another
        translation = text.strip()
    return translation


def _joined(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Yield the spans with the digits that touch them; those with nothing but a joint or a space between are one."""
    ends = [begin for begin, _ in spans[1:]] + [len(text)]
    floor, last = 0, (0, 0)
    for (begin, end), limit in zip(spans, ends, strict=True):
        is_markup = text[begin] == "<" or text[begin] >= _FIRST_PRIVATE
        if text[begin] != "<":
            while begin > floor and text[begin - 1].isdecimal():
                begin -= 1
            digits = _DIGITS.match(text, end, limit)
            assert digits is not None  # it matches the empty string
            end = digits.end() + 2 * (_ORDINAL_END.match(text, digits.end()) is not None)
        gap = text[last[1] : begin]
        is_one = not gap or _JOINT.fullmatch(gap) is not None
        if last[1] and gap == "(" and text.startswith(")", end) and end < limit:
            end += 1
        follows_markup = last[1] > 0 and (text[last[1] - 1] == ">" or text[last[1] - 1] >= _FIRST_PRIVATE)
        if last[1] and (is_one or (gap == " " and not is_markup and not follows_markup)):
            last = (last[0], end)
        else:
            if last[1]:
                yield last
            last = (begin, end)
        floor = end
    yield last


def _with_measure(text: str, span: Span) -> Span:
    """Return a unit, if it is a power of ten, with the symbol of its unit of measure."""
    measure = MEASURE_BEHIND.match(text, span[1]) if _POWER.search(text, *span) else None
    return span if measure is None else (span[0], measure.end())


def _with_direction(text: str, span: Span) -> Span:
    """Return a unit with the marks of direction right around it."""
    begin, end = span
    while begin > 0 and end < len(text) and DIRECTED.get(text[begin - 1]) == text[end]:
        begin, end = begin - 1, end + 1
    return begin, end


def _touches(text: str, begin: int, end: int) -> tuple[bool, bool]:
    """Return whether a letter or a digit stands right before a span, and right behind it."""
    return begin > 0 and text[begin - 1].isalnum(), end < len(text) and text[end].isalnum()


def _spaced(before: str, unit: Unit) -> tuple[str, bool]:
    """Return what stands before a unit, and whether a space must follow, so that it touches what it touched."""
    if unit.touches_before:
        text = before.rstrip(" ")
        return (text, False) if text and text[-1].isalnum() else (before, False)
    return before, before != "" and before[-1].isalnum()


def _is_nested(text: str) -> bool:
    """Return whether no tag ends before it begins."""
    depth: dict[str, int] = {}
    for closes, name, is_whole in _TAG.findall(text):
        if is_whole:
            continue
        depth[name] = depth.get(name, 0) + (-1 if closes else 1)
        if depth[name] < 0:
            return False
    return True


def _mask(number: int, count: int) -> str:
    return "%s" if count == 1 else f"%{number}"


def _masks(translation: str, count: int) -> list[tuple[Span, int]]:
    """Find the masks for `count` units, in order, each with the index of its unit."""
    pattern = _ONE if count == 1 else _NUMBERED
    return [(match.span(), 0 if count == 1 else int(match[1]) - 1) for match in pattern.finditer(translation)]
