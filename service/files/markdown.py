"""Markdown: markdown-it finds the lines of the prose, all else is copied to the letter."""

import re
import textwrap
from collections.abc import Container, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference
from markdown_it.token import Token

from service.files import Aligned, Cursor, Limits
from service.files.charsets import decoded
from service.files.html import MarkedUp
from service.files.markdown_blocks import Line, commonmark
from service.text.markup_tokens import Markup

_FRONT_MATTER = re.compile(r"\A\ufeff?(---|\+\+\+)[ \t]*\r?\n.*?\r?\n\1[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_WRAPPED = 60  # characters: a paragraph with lines as long as this was wrapped by an editor
# At the beginning of a line these begin a block of their own.
_MARKER = re.compile(r"(?:[-+*]|#{1,6}|\d{1,9}[.)]|=+|-+)(?:\s|$)|[>|]|```|~~~|</?[a-zA-Z]")
_MARK = re.compile(r"[^\w\s]")  # escaping the first one makes a marker plain text
_SHORTCUT = re.compile(r"`[^`]*`|(?<!\])\[([^\[\]]+)\](?:\[\])?(?![\[(\]])")  # of a link, whose text is its label
_HARD_BREAK = re.compile(r"(?:(?<! ) {2,}+|(?<!\\)\\)$")
_ROW_END = re.compile(r"(?:(?<![ \t])[ \t]++|)\n[ \t]*+")
_MARKUP = Markup("markdown", has_references=False)


class MarkdownFile:
    """Lines, of which some are prose: paragraphs, headings, rows of tables."""

    def __init__(self, data: bytes) -> None:
        """Parse a file."""
        self._source = decoded(data)
        source = self._source.text
        head = _FRONT_MATTER.match(source)
        self._head = head[0] if head else ""
        body = source[len(self._head) :]
        self._lines = body.splitlines(keepends=True)
        # only \n, \r\n and \r end a line to the parser
        lines = commonmark([_plain(line) for line in self._lines])
        found: dict[str, Any] = {}
        parsed = MarkdownIt("commonmark").enable("table").parse("".join(line.text + "\n" for line in lines), found)
        self._blocks = list(_blocks(parsed, self._lines, lines, found.get("references", {})))
        self.texts: Sequence[str] = [text for block in self._blocks for text in block.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the lines with the prose translated."""
        rendered, cursor, line = [self._head], Cursor(translations), 0
        for block in self._blocks:
            rendered += self._lines[line : block.begin]
            rendered.append(block.render(cursor.take(block.texts), target))
            line = block.end
        return self._source.encode("".join([*rendered, *self._lines[line:]]))


class _Html:
    """A block of HTML on lines from `begin` on, each behind the marks of the quotes and lists that it is in."""

    def __init__(self, lines: Sequence[str], begin: int, prefixes: list[str]) -> None:
        self.begin, self.end = begin, begin + len(prefixes)
        self._prefixes, self._source = prefixes, "".join(lines[begin : self.end])
        rows = (line[len(prefix) :] for line, prefix in zip(lines[begin : self.end], prefixes, strict=True))
        self._html = "".join(rows)
        self._marked = MarkedUp(self._html, Markup("html"))
        self.texts = self._marked.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        html = self._marked.render(translations, target)
        if html == self._html:
            return self._source
        rows = html.splitlines(keepends=True)
        if len(rows) != len(self._prefixes):  # a text that had several lines has one
            first, other = self._prefixes[0], self._prefixes[1]
            return "".join(prefix + row for prefix, row in zip([first, *[other] * len(rows)], rows, strict=False))
        return "".join(prefix + row for prefix, row in zip(self._prefixes, rows, strict=True))


class _Paragraph:
    """Prose on lines from `begin` on: a prefix, a core and a line break of each."""

    def __init__(
        self, begin: int, prefixes: list[str], cores: list[str], breaks: list[str], labels: Container[str]
    ) -> None:
        self.begin, self.end = begin, begin + len(cores)
        self._prefixes, self._breaks = prefixes, breaks
        self._longest = max(map(len, cores))
        # a line that ends with a hard break is a text of its own
        self._parts: list[_Part] = []
        start = 0
        for number, core in enumerate(cores):
            hard = _HARD_BREAK.search(core) if number + 1 < len(cores) else None
            if number + 1 == len(cores) or hard:
                rows = cores[start : number + 1]
                rows[-1] = rows[-1][: hard.start()] if hard else rows[-1]
                source = _with_labels("\n".join(rows), labels)
                self._parts.append(_Part(start, rows, hard[0] if hard else "", source, MarkedUp(source, _MARKUP)))
                start = number + 1
        self.texts = [text for part in self._parts for text in part.marked.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        cursor, lines = Cursor(translations), []
        for part in self._parts:
            text = part.marked.render(cursor.take(part.marked.texts), target)
            end = part.start + len(part.rows)
            if text == part.source:
                rows, prefixes = part.rows, self._prefixes[part.start : end]
                breaks = self._breaks[part.start : end]
            else:
                rows = self._rows(text, part)
                continuation = self._prefixes[min(part.start + 1, len(self._prefixes) - 1)]
                prefixes = [self._prefixes[part.start], *[continuation] * (len(rows) - 1)]
                breaks = [*[self._breaks[0]] * (len(rows) - 1), self._breaks[end - 1]]
            rows = [*rows[:-1], rows[-1] + part.hard_break]
            lines += [prefix + row + end for prefix, row, end in zip(prefixes, rows, breaks, strict=True)]
        return "".join(lines)

    def _rows(self, text: str, part: "_Part") -> list[str]:
        """Write a translation on lines as long as those of the paragraph, none of which begins a block of its own."""
        text = _ROW_END.sub(" ", text)
        if _MARKER.match(text) and not _MARKER.match(part.rows[0]):
            text = _MARK.sub(r"\\\g<0>", text, count=1)
        if len(part.rows) == 1 or self._longest < _WRAPPED:
            return [text]
        return _without_markers(textwrap.wrap(text, self._longest, break_long_words=False, break_on_hyphens=False))


class _Part(NamedTuple):
    """Rows of a paragraph up to a hard break."""

    start: int
    rows: list[str]
    hard_break: str
    source: str
    marked: MarkedUp


def _blocks(
    parsed: Sequence[Token], lines: list[str], for_parser: Sequence[Line], labels: Container[str]
) -> Iterator[_Paragraph | _Html]:
    """Yield the blocks with text, in order."""
    taken = 0
    for before, token in pairwise([None, *parsed]):
        if token is None or token.map is None or token.map[0] < taken or not token.content.strip():
            continue
        block: _Paragraph | _Html | None = None
        if token.type == "inline" and before is not None and before.type in ("th_open", "td_open"):
            block = _row(lines, token.map[0], labels)
        elif token.type == "inline":
            block = _paragraph(lines, for_parser, token, labels)
        elif token.type == "html_block" and not for_parser[token.map[0]].is_changed:
            block = _html(lines, token)
        if block is not None:
            yield block
            taken = block.end


def _paragraph(
    lines: Sequence[str], for_parser: Sequence[Line], token: Token, labels: Container[str]
) -> _Paragraph | None:
    """Find the content that the parser reports in its lines; None if it does not stand there to the letter.

    Args:
        lines: of the file.
        for_parser: what the parser read for each.
        token: the prose, without the marks of lists and quotes.
        labels: of the links that the file defines.
    """
    assert token.map is not None  # a block has lines
    prefixes, cores, breaks = [], [], []
    begin, end = token.map
    wanted = token.content.split("\n")
    for number, core in enumerate(wanted, begin):
        if number >= end:
            return None
        line = _plain(lines[number])
        position = line.find(core.rstrip(), for_parser[number].begin)
        if position < 0:
            return None
        rest = line[position:]
        core = core.rstrip() if number + 1 == begin + len(wanted) else rest
        prefixes.append(line[:position])
        cores.append(core)
        breaks.append(rest[len(core) :] + lines[number][len(line) :])
    return _Paragraph(begin, prefixes, cores, breaks, labels)


def _row(lines: Sequence[str], number: int, labels: Container[str]) -> _Paragraph:
    """Take a row of a table, whose bars between the cells are tags to `service.text.markup`."""
    line = _plain(lines[number])
    return _Paragraph(number, [""], [line], [lines[number][len(line) :]], labels)


def _html(lines: Sequence[str], token: Token) -> _Html | None:
    """Take a block of HTML; None where the parser reads its lines otherwise than they are written, as tabs."""
    assert token.map is not None  # a block has lines
    prefixes = []
    for number, row in enumerate(token.content.rstrip("\n").split("\n"), token.map[0]):
        line = _plain(lines[number])
        if not line.endswith(row):
            return None
        prefixes.append(line[: len(line) - len(row)])
    return _Html(lines, token.map[0], prefixes)


def read(data: bytes, ending: str, limits: Limits) -> MarkdownFile:
    """Open a Markdown file."""
    return MarkdownFile(data)


def _without_markers(lines: Sequence[str]) -> list[str]:
    """Join lines that would begin another block to the line before them."""
    kept = list(lines[:1])
    for line in lines[1:]:
        if _MARKER.match(line):
            kept[-1] += f" {line}"
        else:
            kept.append(line)
    return kept


def _with_labels(text: str, labels: Container[str]) -> str:
    """Write [word][word] for each [word] that is a link: a translation changes the first of them only."""

    def full(match: re.Match[str]) -> str:
        is_link = match[1] is not None and normalizeReference(match[1]) in labels
        return f"[{match[1]}][{match[1]}]" if is_link else match[0]

    return _SHORTCUT.sub(full, text)


def _plain(line: str) -> str:
    return line.rstrip("\r\n")
