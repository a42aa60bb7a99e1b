"""Subtitles, SubRip and WebVTT: one text per cue, or per part of one between empty lines.

The file is scanned for lines of times, so that numbers, settings, notes and styles come back to the letter.
The libraries for these formats would rewrite them.
"""

import bisect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from service.files import Aligned, Cursor, Limits
from service.files.charsets import decoded, decoded_or_western, encoded_or_unicode
from service.files.html import MarkedUp
from service.text.markup_tokens import Markup

# &amp; means & in WebVTT only, where a reading stands beside the word that it is of.
_SRT, _VTT = Markup("xml", has_references=False), Markup("xml", nested_tags=frozenset({"rt"}))

_TAG = re.compile(r"<[^<>]*>")
# The time at which a word is spoken: a translation has other words, and times must rise within a cue.
_WORD_TIME = re.compile(r"<(?:\d+:)?\d\d:\d\d\.\d{3}>")
_TIMES = re.compile(r"\s*+[\d:.,]++\s*+-->\s*+[\d:.,]")
_NUMBER = re.compile(r"\ufeff?\s*\d+\s*")
_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|\Z)")  # of WebVTT, which is no cue
# Codes of Advanced SubStation, which players know in other subtitles, too: where a cue stands, and a break in it, which
# a path such as src\new\table has not.
_BREAK = r"\\N|(?<!:)\\n(?!\w*+\\(?![Nnh]))"
_CODE = re.compile(rf"(?:(?<!\s)\s++|)(?:\{{\\[^{{}}]*+\}}|{_BREAK})\s*+")
_CODED_BREAK = re.compile(rf"(?:(?<!\s)\s++|)({_BREAK})\s*+")
_CODED_SPACE, _NO_BREAK_SPACE = "\\h", "\u00a0"
_PRIVATE = range(0x100000, 0x10FFFE)
# How the row of another speaker begins, or of a song or a sound; and a row that is a sound.
_SPEAKS = re.compile(r"\s*+(?:<v[\s.>]|(?><[^<>]*+>\s*+)*(?:[-–—♪♫]|[\[(][^\[\]()]*+[\])]\s*+(?><[^<>]*+>)*\Z))")
_SOUND = re.compile(r"\s*+(?:[\[(][^\[\]()]*+[\])]|♪.*♪|♫.*♫)\s*+")
_NAME = re.compile(r"\s*+([^\W\d_][\w .'’-]{0,30}):\s")


class Subtitles:
    """Lines, of which some are the text of cues."""

    def __init__(self, data: bytes, *, is_vtt: bool) -> None:
        """Find the cues."""
        self._source = decoded(data) if is_vtt else decoded_or_western(data)
        lines = self._source.text.splitlines(keepends=True)
        self._parts: list[str | _Cue] = []
        position = 0
        for begin, end in _blocks(lines, is_vtt=is_vtt):
            self._parts += [*lines[position:begin], _Cue(lines[begin:end], _VTT if is_vtt else _SRT)]
            position = end
        self._parts += lines[position:]
        self.texts = [text for part in self._parts if isinstance(part, _Cue) for text in part.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the lines with the cues translated."""
        cursor, rendered = Cursor(translations), []
        for part in self._parts:
            if isinstance(part, _Cue):
                rendered.append(part.render(cursor.take(part.texts), target))
            else:
                rendered.append(part)
        return encoded_or_unicode("".join(rendered), self._source)


def _blocks(lines: Sequence[str], *, is_vtt: bool) -> Iterator[tuple[int, int]]:
    """Yield the lines [begin, end) that are text: what stands behind a line of times, up to the number of the next."""
    is_times: Callable[[str], object] = (lambda line: "-->" in line) if is_vtt else lambda line: _TIMES.match(line)
    times = [number for number, line in enumerate(lines) if is_times(line)]
    for first, next_times in pairwise([*times, len(lines)]):
        end = next_times
        if end < len(lines) and end - 1 > first:
            has_name = is_vtt and lines[end - 1].strip() and not lines[end - 2].strip()
            end -= 1 if has_name or _NUMBER.fullmatch(lines[end - 1]) else 0
        begin = first + 1
        while begin < end:
            block_end = begin
            while block_end < end and lines[block_end].strip():
                block_end += 1
            if block_end > begin and not (is_vtt and begin > first + 1 and _BLOCK.match(lines[begin])):
                yield begin, block_end
            begin = block_end + 1


class _Cue:
    """The rows of a cue: one text of each speaker (- Hello. - Hi.)."""

    def __init__(self, lines: list[str], markup: Markup) -> None:
        self._source = "".join(lines)
        text = self._source.rstrip("\r\n")
        self._end = self._source[len(text) :]
        begin, end = _without_codes(text)
        self._before, text, self._behind = text[:begin], text[begin:end], text[end:]
        self._has_coded_spaces = _CODED_SPACE in text and _NO_BREAK_SPACE not in text
        if self._has_coded_spaces:
            text = text.replace(_CODED_SPACE, _NO_BREAK_SPACE)
        rows, self._breaks = [], []
        for line in text.splitlines(keepends=True):
            row = line.rstrip("\r\n")
            pieces = _CODED_BREAK.split(row)
            rows += pieces[::2]
            self._breaks += [*pieces[1::2], line[len(row) :]]
        self._groups = _groups(rows)
        self._text = _WORD_TIME.sub("", "\n".join(" ".join(rows[begin:end]) for begin, end in self._groups))
        self._cue = MarkedUp(self._text, markup)
        self.texts = self._cue.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        text = self._cue.render(translations, target)
        if text == self._text:
            return self._source
        rendered = []
        for (begin, end), own in zip(self._groups, text.split("\n"), strict=True):
            rows = (_lines_of_like_length(own, end - begin) if end - begin > 1 else []) or [own]
            breaks = [*self._breaks[begin : begin + len(rows) - 1], self._breaks[end - 1]]
            rendered += [row + between for row, between in zip(rows, breaks, strict=True)]
        text = "".join(rendered)
        if self._has_coded_spaces:
            text = text.replace(_NO_BREAK_SPACE, _CODED_SPACE)
        return self._before + text + self._behind + self._end


def _groups(rows: Sequence[str]) -> list[tuple[int, int]]:
    """Return the rows [begin, end) that are one text: another begins with who speaks, or beside a sound or nothing."""
    begins = [0]
    for number, (before, row) in enumerate(pairwise(rows), 1):
        is_empty = not (before.strip() and row.strip())
        if is_empty or _SPEAKS.match(row) or _SOUND.fullmatch(_TAG.sub("", before)) or _is_named(row):
            begins.append(number)
    return list(pairwise([*begins, len(rows)]))


def _is_named(row: str) -> bool:
    """Return whether a row begins with a name in capitals and a colon."""
    name = _NAME.match(_TAG.sub("", row))
    return name is not None and name[1].isupper()


def _without_codes(text: str) -> tuple[int, int]:
    """Return where a text begins and ends between the codes at its ends."""
    codes = [code.span() for code in _CODE.finditer(text)]
    begin, end = 0, len(text)
    for code in codes:
        begin = code[1] if code[0] == begin else begin
    for code in reversed(codes):
        end = code[0] if code[1] == end > begin else end
    return begin, end


def _lines_of_like_length(text: str, count: int) -> list[str]:
    """Wrap a text into up to `count` lines; a tag is never broken, and counts as one character."""
    used = set(text)
    private = (code for code in _PRIVATE if chr(code) not in used)
    found = _TAG.findall(text)
    tags = dict(zip(private, found, strict=False))
    stand_ins = iter([*map(chr, tags), *found[len(tags) :]])  # where the characters run out, the tags themselves
    text = _TAG.sub(lambda _: next(stand_ins), text)
    # the least width that is enough: words differ in length; a tab is up to eight characters
    widths = range(max(len(text) // count, 1), 8 * len(text) + 2)
    width = widths[bisect.bisect_left(widths, -count, key=lambda width: -len(_wrapped(text, width)))]
    return [line.translate(tags) for line in _wrapped(text, width)]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def read(data: bytes, ending: str, limits: Limits) -> Subtitles:
    """Open a subtitle file."""
    return Subtitles(data, is_vtt=ending == ".vtt")
