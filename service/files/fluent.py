"""Fluent, .ftl: the patterns of messages, attributes and variants; placeables and lines outside of messages are kept.

The grammar: https://github.com/projectfluent/fluent/blob/master/spec/fluent.ebnf. A select expression stands in its
pattern as a word does, and the patterns of its variants are texts of their own.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from service.files import Aligned, FileRefused, Limits
from service.files.charsets import decoded
from service.files.html import MarkedUp
from service.files.slots import Slot, SlottedFile, SlottedText, with_slots
from service.text.markup_tokens import SOFTWARE

_MAX_DEPTH = 16
_LINE = re.compile(r"[^\n]*+(?:\n|\Z)")
_HEAD = re.compile(r"(?P<term>-?)[a-zA-Z][\w-]*+ *+= *+", re.ASCII)
_ATTRIBUTE = re.compile(r"(?>(?: *+\r?\n)+) ++\.(?P<name>[a-zA-Z][\w-]*+) *+= *+", re.ASCII)
_VARIANT = re.compile(r"(?>(?:\s*+\n)?)\s*+\*?\[\s*+[\w.-]++\s*+\] *+")
_END = re.compile(r" *+(?:\r?\n|\Z)")
_TEXT = re.compile(r"(?>(?:[^{}\r\n]++|\r(?!\n))+)")
_BREAK = re.compile(r"(?P<breaks>(?>(?: *+\r?\n)+))(?P<indent> *+)")
_INSIDE = re.compile(r'"(?>(?:[^"\\\n]++|\\.)*)"|[^{}"-]++|->|-')  # of a placeable
_SPACE = re.compile(r"\s*+")
_SYNTAX = re.compile(r"[{}]")
_QUOTED = r'{"\g<0>"}'
_LINE_SYNTAX = re.compile(r"(?m)^[\[*.]")  # would begin a variant or an attribute
_PRIVATE = range(0xF0000, 0x10FFFE)
_NOT_READ = frozenset({"accesskey", "key", "style"})  # attributes without text to read


class _Malformed(Exception):
    """A pattern that breaks the grammar: its entry is copied, as Fluent itself goes on behind one."""


class _Part(NamedTuple):
    """Of a pattern: text, a break between its lines, or a placeable with the patterns of its variants."""

    begin: int
    end: int
    text: str  # what a translator reads; "" of a placeable
    variants: "list[_Parsed] | None" = None


class _Parsed(NamedTuple):
    begin: int
    end: int
    parts: list[_Part]


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it."""
    source = decoded(data)
    text = source.text
    slots = list(_slots(text))
    if not slots and text.strip("\ufeff \r\n") and not any(line.startswith("#") for line in text.splitlines()):
        raise FileRefused("The file is not a list of Fluent messages: no line begins one.")
    return SlottedFile(with_slots(text, slots), source.encode)


def _slots(text: str) -> Iterator[tuple[int, int, Slot]]:
    position = 1 if text.startswith("\ufeff") else 0
    while position < len(text):
        head = _HEAD.match(text, position)
        if head is not None:
            try:
                patterns, end = _entry(text, head)
            except _Malformed:
                pass
            else:
                yield from ((pattern.begin, pattern.end, _Pattern(text, pattern)) for pattern in patterns)
                position = end
                continue
        line = _LINE.match(text, position)
        assert line is not None  # it matches what is left
        position = line.end()


def _entry(text: str, head: re.Match[str]) -> tuple[list[_Parsed], int]:
    """Parse a message or a term; attributes of the latter are not read by people."""
    value = _pattern(text, head.end(), 0)
    patterns, end = [value], value.end
    while (attribute := _ATTRIBUTE.match(text, end)) is not None:
        value = _pattern(text, attribute.end(), 0)
        end = value.end
        if not head["term"] and attribute["name"] not in _NOT_READ:
            patterns.append(value)
    if (rest := _END.match(text, end)) is None:
        raise _Malformed
    return [pattern for pattern in patterns if pattern.parts], rest.end()


def _pattern(text: str, position: int, depth: int) -> _Parsed:
    parts: list[_Part] = []
    end = position
    while end < len(text):
        if text[end] == "{":
            parts.append(_placeable(text, end, depth))
        elif (run := _TEXT.match(text, end)) is not None:
            parts.append(_Part(*run.span(), run[0]))
        elif (line := _BREAK.match(text, end)) is not None and _goes_on(text, line):
            breaks = line["breaks"].count("\n")
            parts.append(_Part(*line.span(), " " if breaks == 1 else "\n" * breaks))
        else:
            break
        end = parts[-1].end
    while parts and parts[0].variants is None and not parts[0].text.strip():  # the first line may be empty
        position = parts.pop(0).end
    return _Parsed(position, end, parts)


def _goes_on(text: str, line: re.Match[str]) -> bool:
    """Tell whether the line behind a break belongs to the pattern."""
    first = text[line.end() : line.end() + 1]
    return first == "{" or (bool(line["indent"]) and first not in ("", "}", "[", "*", ".", "\r", "\n"))


def _placeable(text: str, begin: int, depth: int) -> _Part:
    if depth >= _MAX_DEPTH:
        raise _Malformed
    position, variants = begin + 1, []
    while text[position : position + 1] != "}":
        if text[position : position + 1] == "{":
            nested = _placeable(text, position, depth + 1)
            variants += nested.variants or []
            position = nested.end
            continue
        token = _INSIDE.match(text, position)
        if token is None:
            raise _Malformed
        position = token.end()
        if token[0] == "->":
            while (key := _VARIANT.match(text, position)) is not None:
                variants.append(_pattern(text, key.end(), depth + 1))
                position = variants[-1].end
            space = _SPACE.match(text, position)
            assert space is not None  # it matches the empty string
            position = space.end()
            if text[position : position + 1] != "}":
                raise _Malformed
    return _Part(begin, position + 1, "", variants)


class _Pattern:
    """A pattern as a text in which each placeable is one private character."""

    def __init__(self, text: str, parsed: _Parsed) -> None:
        source = text[parsed.begin : parsed.end]
        used = set(source)
        private = (chr(code) for code in _PRIVATE if chr(code) not in used)
        placeables = [part for part in parsed.parts if part.variants is not None]
        self._marks = list(islice(private, len(placeables)))
        marks = iter(self._marks)
        value = "".join(part.text if part.variants is None else next(marks, "") for part in parsed.parts)
        self._value = value if len(self._marks) == len(placeables) else ""
        self._marked = MarkedUp(self._value, SOFTWARE)
        self._pieces: list[str | SlottedText] = []  # of the source: each placeable by itself
        for part in parsed.parts:
            piece = text[part.begin : part.end]
            slots = [
                (variant.begin - part.begin, variant.end - part.begin, _Pattern(text, variant))
                for variant in part.variants or ()
            ]
            self._pieces.append(piece if part.variants is None else SlottedText(with_slots(piece, slots)))
        self._inner = [piece for piece in self._pieces if isinstance(piece, SlottedText)]
        self.texts: Sequence[str] = [*self._marked.texts, *(text for piece in self._inner for text in piece.texts)]
        lines = [part for part in parsed.parts if part.variants is None and "\n" in text[part.begin : part.end]]
        self._break = text[lines[0].begin : lines[0].end] if lines else None
        self._width = max(map(len, source.splitlines()), default=0)

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        position = len(self._marked.texts)
        value = self._marked.render(translations[:position], target)
        inner = []
        for piece in self._inner:
            count = len(piece.texts)
            inner.append(piece.render(translations[position : position + count], target))
            position += count
        if value == self._value or sorted(filter(self._is_mark, value)) != self._marks:
            rest = iter(inner)
            return "".join(piece if isinstance(piece, str) else next(rest) for piece in self._pieces)
        spelt = self._spelt(value)
        return spelt.translate({ord(mark): text for mark, text in zip(self._marks, inner, strict=True)})

    def _is_mark(self, character: str) -> bool:
        return bool(self._marks) and self._marks[0] <= character <= self._marks[-1]

    def _spelt(self, value: str) -> str:
        """Spell a text on as wide lines as those of the source."""
        value = _SYNTAX.sub(_QUOTED, value)
        if self._break is None:
            return _LINE_SYNTAX.sub(_QUOTED, value.replace("\n", " "))
        indent = self._break[len(self._break.rstrip(" ")) :] or "    "
        end = "\r\n" if "\r\n" in self._break else "\n"
        lines = [
            "\n".join(textwrap.wrap(line, max(self._width, 40), break_long_words=False, break_on_hyphens=False))
            for line in value.split("\n")
        ]
        text = _LINE_SYNTAX.sub(_QUOTED, "\n".join(lines))
        return "\n".join(line and f"{indent}{line}" for line in text.split("\n")).strip(" ").replace("\n", end)
