"""Markdown: markdown-it finds the lines of the prose, all else is copied to the letter."""

import re
import textwrap
from collections.abc import Container, Sequence
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference

from service.files import Aligned, Cursor, Limits
from service.files.charsets import decoded
from service.files.html import MarkedUp
from service.text.markup_tokens import Markup

_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---\r?\n", re.DOTALL)
_WRAPPED = 60  # characters: a paragraph with lines as long as this was wrapped by an editor
# At the beginning of a line these begin a block of their own.
_MARKER = re.compile(r"(?:[-+*]|#{1,6}|\d{1,9}[.)]|=+|-+)(?:\s|$)|[>|]|```|~~~|</?[a-zA-Z]")
_MARK = re.compile(r"[^\w\s]")  # escaping the first one makes a marker plain text
_SHORTCUT = re.compile(r"`[^`]*`|(?<!\])\[([^\[\]]+)\](?:\[\])?(?![\[(\]])")  # of a link, whose text is its label
_HARD_BREAK = re.compile(r"(?:(?<! ) {2,}+|\\)$")
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
        self._paragraphs: list[_Paragraph] = []
        # only \n, \r\n and \r end a line to the parser
        found: dict[str, Any] = {}
        plain = "".join(_plain(line) + "\n" for line in self._lines)
        parsed = MarkdownIt("commonmark").enable("table").parse(plain, found)
        labels = found.get("references", {})
        taken = 0
        for before, token in pairwise(parsed):
            if token.type == "inline" and token.map is not None and token.map[0] >= taken and token.content.strip():
                begin, end = token.map
                paragraph: _Paragraph | None
                if before.type in ("th_open", "td_open"):
                    paragraph = _Paragraph.of_row(self._lines, begin, labels)
                else:
                    paragraph = _Paragraph.of_content(self._lines, begin, end, token.content, labels)
                if paragraph is not None:
                    self._paragraphs.append(paragraph)
                    taken = end
        self.texts: Sequence[str] = [text for paragraph in self._paragraphs for text in paragraph.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the lines with the prose translated."""
        rendered, cursor, line = [self._head], Cursor(translations), 0
        for paragraph in self._paragraphs:
            rendered += self._lines[line : paragraph.begin]
            rendered.append(paragraph.render(cursor.take(paragraph.texts), target))
            line = paragraph.end
        return self._source.encode("".join([*rendered, *self._lines[line:]]))


class _Paragraph:
    """Prose on lines [begin, end): a prefix and a core of each, and a tail behind the last."""

    def __init__(
        self, begin: int, end: int, prefixes: list[str], cores: list[str], tail: str, labels: Container[str]
    ) -> None:
        self.begin, self.end = begin, end
        self._prefixes, self._cores, self._tail = prefixes, cores, tail
        # a line that ends with a hard break is a text of its own
        self._parts: list[tuple[int, MarkedUp]] = []
        start = 0
        for number, core in enumerate(cores):
            if number + 1 == len(cores) or _HARD_BREAK.search(core):
                text = _with_labels("\n".join(cores[start : number + 1]), labels)
                self._parts.append((start, MarkedUp(text, _MARKUP)))
                start = number + 1
        self.texts = [text for _, part in self._parts for text in part.texts]

    @classmethod
    def of_content(
        cls, lines: list[str], begin: int, end: int, content: str, labels: Container[str]
    ) -> "_Paragraph | None":
        """Find the content that the parser reports in its lines; None if it does not stand there to the letter.

        Args:
            lines: of the file.
            begin: the first line of the content.
            end: the line behind the last.
            content: the prose, without the marks of lists and quotes.
            labels: of the links that the file defines.
        """
        prefixes, cores = [], []
        wanted = content.split("\n")
        tail = ""
        for number, core in enumerate(wanted):
            if begin + number >= end:
                return None
            line = _plain(lines[begin + number])
            position = line.find(core.rstrip())
            if position < 0:
                return None
            rest = line[position:]
            is_last = number + 1 == len(wanted)
            core = core.rstrip() if is_last else rest
            prefixes.append(line[:position])
            cores.append(core)
            tail = rest[len(core) :] + lines[begin + number][len(line) :]
        return cls(begin, begin + len(wanted), prefixes, cores, tail, labels)

    @classmethod
    def of_row(cls, lines: list[str], number: int, labels: Container[str]) -> "_Paragraph":
        """Take a row of a table, whose bars between the cells are tags to `service.text.markup`."""
        line = _plain(lines[number])
        return cls(number, number + 1, [""], [line], lines[number][len(line) :], labels)

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        cursor, lines = Cursor(translations), []
        longest = max(map(len, self._cores))
        for start, part in self._parts:
            text = part.render(cursor.take(part.texts), target)
            if _MARKER.match(text) and not _MARKER.match(self._cores[start]):
                text = _MARK.sub(r"\\\g<0>", text, count=1)
            end = next((begin for begin, _ in self._parts if begin > start), len(self._cores))
            wrapped = [text]
            if end - start > 1 and longest >= _WRAPPED:
                hard = _HARD_BREAK.search(text)
                wrapped = textwrap.wrap(text, longest, break_long_words=False, break_on_hyphens=False)
                wrapped = _without_markers(wrapped)
                wrapped[-1] += hard[0] if hard and not wrapped[-1].endswith(hard[0]) else ""
            continuation = self._prefixes[min(start + 1, len(self._prefixes) - 1)]
            lines += [(self._prefixes[start] if n == 0 else continuation) + line for n, line in enumerate(wrapped)]
        return "\n".join(lines) + self._tail


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
