"""Markdown: markdown-it finds the blocks with their lines, what is not prose is copied to the letter."""

import re
import textwrap
from collections.abc import Container, Sequence
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference

from service.files import Aligned, Limits, decode, encode
from service.files.html import MarkedUp
from service.text.markup_tokens import Markup

_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---\r?\n", re.DOTALL)
_WRAPPED = 60  # characters: a paragraph with lines as long as these was wrapped by an editor
# What begins a block of its own where a line begins with it.
_MARKER = re.compile(r"(?:[-+*]|#{1,6}|\d{1,9}[.)]|=+|-+)(?:\s|$)|[>|]|```|~~~|</?[a-zA-Z]")
_MARK = re.compile(r"[^\w\s]")  # the first one of a marker, escaped, makes none of it
_SHORTCUT = re.compile(r"`[^`]*`|(?<!\])\[([^\[\]]+)\](?:\[\])?(?![\[(\]])")  # of a link, whose text is its label
_HARD_BREAK = re.compile(r"(?:(?<! ) {2,}+|\\)$")
_MARKUP = Markup("markdown", has_references=False)


class Page:
    """Lines, of which some are prose: paragraphs, headings, cells of tables."""

    def __init__(self, data: bytes) -> None:
        """Parse it."""
        self._data, source = data, decode(data)
        head = _FRONT_MATTER.match(source)
        self._head = head[0] if head else ""
        body = source[len(self._head) :]
        self._lines = body.splitlines(keepends=True)
        self._blocks: list[_Block] = []
        # the parser's own idea of a line
        found: dict[str, Any] = {}
        plain = "".join(_plain(line) + "\n" for line in self._lines)
        parsed = MarkdownIt("commonmark").enable("table").parse(plain, found)
        labels = found.get("references", {})
        taken = 0
        for before, token in pairwise(parsed):
            if token.type == "inline" and token.map is not None and token.map[0] >= taken and token.content.strip():
                begin, end = token.map
                block: _Block | None
                if before.type in ("th_open", "td_open"):
                    block = _Block.of_row(self._lines, begin, labels)
                else:
                    block = _Block.of_content(self._lines, begin, end, token.content, labels)
                if block is not None:
                    self._blocks.append(block)
                    taken = end
        self.texts: Sequence[str] = [text for block in self._blocks for text in block.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """The lines, the blocks translated."""
        rendered, position, line = [self._head], 0, 0
        for block in self._blocks:
            rendered += self._lines[line : block.begin]
            count = len(block.texts)
            rendered.append(block.render(translations[position : position + count], target))
            position, line = position + count, block.end
        return encode("".join([*rendered, *self._lines[line:]]), self._data)


class _Block:
    """Lines [begin, end): what stands before each, the prose, what stands behind the last."""

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
    ) -> "_Block | None":
        """A block whose prose the parser knows; None if it isn't found in the lines as it is."""
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
    def of_row(cls, lines: list[str], number: int, labels: Container[str]) -> "_Block":
        """A row of a table: the bars between the cells are tags to our markup."""
        line = _plain(lines[number])
        return cls(number, number + 1, [""], [line], lines[number][len(line) :], labels)

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        position, lines = 0, []
        longest = max(map(len, self._cores))
        for start, part in self._parts:
            count = len(part.texts)
            text = part.render(translations[position : position + count], target)
            position += count
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


def read(data: bytes, ending: str, limits: Limits) -> Page:
    """Open it."""
    return Page(data)


def _without_markers(lines: Sequence[str]) -> list[str]:
    """Lines of a paragraph, none of which would begin another block: such a one stays with the line before."""
    kept = list(lines[:1])
    for line in lines[1:]:
        if _MARKER.match(line):
            kept[-1] += f" {line}"
        else:
            kept.append(line)
    return kept


def _with_labels(text: str, labels: Container[str]) -> str:
    """The text with [word][word] for each [word] that is a link: a translation changes the first of them only."""

    def full(match: re.Match[str]) -> str:
        is_link = match[1] is not None and normalizeReference(match[1]) in labels
        return f"[{match[1]}][{match[1]}]" if is_link else match[0]

    return _SHORTCUT.sub(full, text)


def _plain(line: str) -> str:
    return line.rstrip("\r\n")
