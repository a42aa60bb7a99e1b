"""Subtitles, SubRip and WebVTT: one text per cue.

The file is scanned for lines with `-->`, so that numbers, times, settings, notes and styles come back to the letter.
The libraries for these formats would rewrite them.
"""

import bisect
import re
import textwrap
from collections.abc import Sequence

from service.files import Aligned, Cursor, Limits, decode, encode
from service.files.html import MarkedUp
from service.text.markup_tokens import Markup

_SRT, _VTT = Markup("xml", has_references=False), Markup("xml")  # &amp; means & in the latter only

_TAG = re.compile(r"<[^<>]*>")
# The time at which a word is spoken: a translation has other words, and times must rise within a cue.
_WORD_TIME = re.compile(r"<(?:\d+:)?\d\d:\d\d\.\d{3}>")
_PRIVATE = range(0x100000, 0x10FFFE)


class Subtitles:
    """Lines, of which some are the text of cues."""

    def __init__(self, data: bytes, markup: Markup) -> None:
        """Find the cues."""
        self._data = data
        self._parts: list[str | _Cue] = []
        self.texts: list[str] = []
        lines = decode(data).splitlines(keepends=True)
        position = 0
        while position < len(lines):
            self._parts.append(lines[position])
            position += 1
            if "-->" not in lines[position - 1]:
                continue
            end = position
            while end < len(lines) and lines[end].strip() and "-->" not in lines[end]:
                end += 1
            if end > position:
                cue = _Cue(lines[position:end], markup)
                self._parts.append(cue)
                self.texts += cue.texts
            position = end

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the lines with the cues translated."""
        cursor, rendered = Cursor(translations), []
        for part in self._parts:
            if isinstance(part, _Cue):
                rendered.append(part.render(cursor.take(part.texts), target))
            else:
                rendered.append(part)
        return encode("".join(rendered), self._data)


class _Cue:
    """The lines of a cue: one text, unless each is another speaker's (- Hello. - Hi.)."""

    def __init__(self, lines: list[str], markup: Markup) -> None:
        self._break = lines[0][len(lines[0].rstrip("\r\n")) :] or "\n"
        self._end = lines[-1][len(lines[-1].rstrip("\r\n")) :]
        plain = [line.rstrip("\r\n") for line in lines]
        self._is_dialogue = any(line.lstrip().startswith(("-", "–")) for line in plain)
        self._lines, self._count = lines, len(plain)
        self._text = _WORD_TIME.sub("", (self._break if self._is_dialogue else " ").join(plain))
        self._cue = MarkedUp(self._text, markup)
        self.texts = self._cue.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        text = self._cue.render(translations, target)
        if text == self._text:
            return "".join(self._lines)
        if not self._is_dialogue and self._count > 1:
            text = self._break.join(_lines_of_like_length(text, self._count))
        return text + self._end


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
    return Subtitles(data, _VTT if ending == ".vtt" else _SRT)
