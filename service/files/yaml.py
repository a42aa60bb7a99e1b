"""YAML with the strings of software: scalar values change, keys, comments and layout come back to the letter.

A scanner for what such files hold: block and flow collections, plain, quoted and block scalars, anchors, aliases, tags.
What YAML forbids, and complex keys (`? `), are refused. No library writes a file as it was: ruamel.yaml changes
indentation, quotation marks and where lines break.
"""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from service.files import FileRefused, Limits
from service.files.charsets import decoded
from service.files.slots import Language, Slot, SlottedFile, value_slot, whole_characters, with_slots
from service.text import languages

_BLANK = re.compile(r"[ \t]*+(?:#[^\n]*+)?(?:\r?\n|\Z)")
_MARKER = re.compile(r"(?:---|\.\.\.)(?=\s|\Z)")
_INDENT = re.compile(r" *+")
_SPACES = re.compile(r"[ \t]*+")
_DASH = re.compile(r"-(?:[ \t]++|(?=\r?\n|\Z))")
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"|\'(?:[^\']++|\'\')*+\'', re.DOTALL)
_FIRST = r"(?![,\[\]{}\#&*!|>'\"%@`])(?![-?:](?:\s|\Z))"  # a plain scalar begins otherwise
_PLAIN = re.compile(rf"{_FIRST}(?:[^\s:#]++|:(?=\S)|(?<=\S)\#|[ \t]++(?=[^\s\#:]|:\S))++")
_GOING_ON = re.compile(_PLAIN.pattern.removeprefix(_FIRST))
_FLOW_FIRST = _FIRST.replace(r"(?:\s|\Z)", r"(?:[\s,\[\]{}]|\Z)")
_FLOW_PLAIN = re.compile(
    rf"{_FLOW_FIRST}(?:[^\s:\#,\[\]{{}}]++|:(?=[^\s,\[\]{{}}])|(?<=\S)\#"
    r"|[ \t]++(?=[^\s\#:,\[\]{}]|:[^\s,\[\]{}]))++"
)
_COLON = re.compile(r"[ \t]*+:(?:[ \t]++|(?=\r?\n|\Z))")
_FLOW_COLON = re.compile(r"\s*+:")
_FLOW_GAP = re.compile(r"(?:\s++|(?<=\s)\#[^\n]*+)*+")
_PROPERTY = re.compile(r"[&!][^\s]*+(?:[ \t]++|(?=\r?\n|\Z))")
_ALIAS = re.compile(r"\*[^\s,\[\]{}]++")
_BLOCK = re.compile(r"(?P<style>[|>])(?:(?P<digit>[1-9])?[+-]?|[+-][1-9])(?:[ \t]++\#[^\n]*+)?[ \t]*+(?:\r?\n|\Z)")
_LINE = re.compile(r"[^\n]*+(?:\n|\Z)")
_LONGEST_CODE = len("zh-Hant-TW")
_FOLD = re.compile(r"(?<![ \t])[ \t]*+\r?\n((?:[ \t]*+\r?\n)*+)[ \t]*+")
# Plain scalars that are no strings in YAML 1.1, which Ruby and Python read; and symbols of Ruby.
_NO_STRING = re.compile(
    r"""~ | null | true | false | yes | no | on | off | y | n | <<? | = | :.* | [-+]?\.(?:inf|nan)
      | [-+]?[0-9][0-9_,]*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)? | [-+]?\.[0-9_]+(?:e[-+]?[0-9]+)? | 0[xob][0-9a-f_]+
      | [0-9]+(?::[0-9]+)+(?:\.[0-9]*)? | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*""",
    re.IGNORECASE | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\r?\n)[ \t]*+|(.))", re.DOTALL)
_NAMED = dict(zip('0abtnvfre "/\\N_LP', '\0\a\b\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029', strict=True)) | {"\t": "\t"}
_BREAKS = {code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, 0xFEFF)}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it; where one key holds all and is a language, as in files of Rails, it becomes the target's."""
    source = decoded(data)
    return SlottedFile(with_slots(source.text, _Scanner(source.text).slots()), source.encode)


class _Root(NamedTuple):
    """A key of the outermost mapping."""

    begin: int
    end: int
    has_children: bool


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self._found: list[tuple[int, int, Slot]] = []
        self._roots: list[_Root] = []

    def slots(self) -> list[tuple[int, int, Slot]]:
        """Scan the text."""
        position = 1 if self.text.startswith("\ufeff") else 0
        while position < len(self.text):
            position = self._line(position)
        if len(self._roots) == 1 and self._roots[0].has_children:
            begin, end, _ = self._roots[0]
            code = self.text[begin:end].strip("\"'")
            quote = self.text[begin] if self.text[begin] in "\"'" else ""
            base = re.split("[-_]", code)[0]
            if languages.name(base) != base and len(code) <= _LONGEST_CODE:

                def spell(target: str) -> str:
                    mark = quote or ('"' if _NO_STRING.fullmatch(target) else "")
                    return f"{mark}{target}{mark}"

                self._found.append((begin, end, Language(spell)))
                self._found.sort(key=lambda slot: slot[:2])
        return self._found

    def _refused(self, position: int, what: str) -> FileRefused:
        line = self.text.count("\n", 0, position) + 1
        return FileRefused(f"The file's YAML can't be read: in line {line:,} {what}.")

    def _line(self, begin: int) -> int:
        """Scan a line and what its value goes on over."""
        text = self.text
        if (blank := _BLANK.match(text, begin)) is not None:
            return blank.end()
        if (marker := _MARKER.match(text, begin)) is not None:
            gap = _SPACES.match(text, marker.end())
            assert gap is not None  # it matches the empty string
            return self._value(gap.end(), -1)
        if text[begin] == "%":
            line = _LINE.match(text, begin)
            assert line is not None  # it matches what is left
            return line.end()
        indent = _INDENT.match(text, begin)
        assert indent is not None  # it matches the empty string
        position, parent = indent.end(), indent.end() - begin - 1
        while (dash := _DASH.match(text, position)) is not None:
            parent, position = position - begin, dash.end()
        if text[position : position + 1] == "\t":
            raise self._refused(position, "a tab indents")
        if text.startswith(("? ", "?\n"), position):
            raise self._refused(position, "a key is no scalar")
        while (mark := _PROPERTY.match(text, position)) is not None and self._key_end(mark.end()):
            position = mark.end()
        if (end := self._key_end(position)) is not None:
            parent = position - begin
            key = (position, end[0])
            position = end[1]
            if parent == 0:
                self._roots.append(_Root(*key, has_children=_BLANK.match(text, position) is not None))
        return self._value(position, parent)

    def _key_end(self, position: int) -> tuple[int, int] | None:
        """Return where a key ends and where its value begins; None if no key stands there."""
        key = _QUOTED.match(self.text, position) or _PLAIN.match(self.text, position)
        key = key or _ALIAS.match(self.text, position)
        if key is None or "\n" in key[0]:
            return None
        colon = _COLON.match(self.text, key.end())
        return None if colon is None else (key.end(), colon.end())

    def _value(self, position: int, parent: int) -> int:
        """Scan a value; its lines are indented by more than `parent`."""
        text, is_string = self.text, True
        while (mark := _PROPERTY.match(text, position)) is not None:
            is_string = is_string and (mark[0][0] == "&" or mark[0].strip() in ("!", "!!str"))
            position = mark.end()
        if (blank := _BLANK.match(text, position)) is not None:
            return blank.end()
        if (block := _BLOCK.match(text, position)) is not None:
            return self._block(block, parent, is_string)
        if (alias := _ALIAS.match(text, position)) is not None:
            return self._end_of_line(alias.end())
        if (quoted := _QUOTED.match(text, position)) is not None:
            self._quoted(quoted, is_string)
            return self._end_of_line(quoted.end())
        if text[position] in "[{":
            return self._end_of_line(self._flow(position, is_string))
        return self._plain(position, parent, is_string)

    def _end_of_line(self, position: int) -> int:
        """Return where the next line begins, if nothing but a comment stands before it."""
        blank = _BLANK.match(self.text, position)
        if blank is None or self.text[position : position + 1] == "#":
            raise self._refused(position, "something stands behind a value")
        return blank.end()

    def _plain(self, begin: int, parent: int, is_string: bool) -> int:
        end, line_end = self._plain_line(begin)
        is_one_line = True
        while parent >= 0:  # lines that go on
            position = line_end
            while (blank := _BLANK.match(self.text, position)) is not None and "#" not in blank[0] and blank[0]:
                position = blank.end()
            indent = _INDENT.match(self.text, position)
            assert indent is not None  # it matches the empty string
            begins = indent.end() < len(self.text) and self.text[indent.end()] not in "#\t"
            if not begins or indent.end() - position <= parent or self.text[end:line_end].strip():
                break
            if self._key_end(indent.end()) is not None:
                raise self._refused(position, "a key stands in the lines of a value")
            end, line_end = self._plain_line(indent.end(), is_first=False)
            is_one_line = False
        source = self.text[begin:end]
        value = source if is_one_line else _folded(source)
        if is_string and _NO_STRING.fullmatch(value) is None:
            self._found.append((begin, end, value_slot(source, value, _plainly)))
        return line_end

    def _plain_line(self, begin: int, *, is_first: bool = True) -> tuple[int, int]:
        """Return where a plain scalar's line ends, and where the next one begins."""
        plain = _PLAIN.match(self.text, begin) if is_first else _GOING_ON.match(self.text, begin)
        if plain is None:
            raise self._refused(begin, "no value begins so")
        return plain.end(), self._end_of_line(plain.end())

    def _quoted(self, quoted: re.Match[str], is_string: bool) -> None:
        source, inner = quoted[0], quoted[0][1:-1]
        if source[0] == "'":
            value: str | None = _folded(inner).replace("''", "'")
            spell: Callable[[str], str] = _singly
        else:
            value, spell = whole_characters(_unescaped(inner)), _doubly
        if is_string and value:
            self._found.append((*quoted.span(), value_slot(source, value, spell)))

    def _flow(self, begin: int, is_string: bool) -> int:
        """Scan a flow collection to its end."""
        text, position = self.text, begin
        opened: list[str] = []  # the collections that are open
        is_value = False  # behind a colon
        while True:
            gap = _FLOW_GAP.match(text, position)
            assert gap is not None  # it matches the empty string
            position = gap.end()
            mark = text[position : position + 1]
            if mark in ("[", "{", "]", "}"):
                position += 1
                is_value = False
                if mark in "[{":
                    opened.append(mark)
                else:
                    opened.pop()
                if not opened:
                    return position
                continue
            if mark == "," or (mark == ":" and _FLOW_PLAIN.match(text, position) is None):
                position += 1
                is_value = mark == ":"
                continue
            token = _QUOTED.match(text, position) or _ALIAS.match(text, position) or _PROPERTY.match(text, position)
            token = token or _FLOW_PLAIN.match(text, position)
            if token is None:
                raise self._refused(position, "a flow collection has no end")
            position = token.end()
            if (colon := _FLOW_COLON.match(text, position)) is not None:
                position = colon.end()
                is_value = True
                continue
            if not is_string or mark in ("*", "&", "!") or (opened[-1] == "{" and not is_value):
                continue
            if mark in ("'", '"'):
                self._quoted(token, is_string)
            elif _NO_STRING.fullmatch(token[0]) is None:
                self._found.append((*token.span(), value_slot(token[0], token[0], _plainly_in_flow)))

    def _block(self, head: re.Match[str], parent: int, is_string: bool) -> int:
        """Scan a block scalar; of a folded one paragraphs are texts, of a literal one lines."""
        lines: list[tuple[int, int]] = []
        position = head.end()
        content_end, first = position, -1
        while position < len(self.text):
            line = _LINE.match(self.text, position)
            assert line is not None  # it matches what is left
            indent = len(line[0]) - len(line[0].lstrip(" "))
            is_blank = not line[0].strip()
            if first < 0 and not is_blank:
                first = indent
            if indent < first and line[0].lstrip(" ").startswith("#"):
                break
            if (not is_blank and indent <= parent) or (parent < 0 and _MARKER.match(self.text, position)):
                break
            if not is_blank:
                content_end = line.end()
            lines.append((position, indent if not is_blank else -1))
            position = line.end()
        indents = [indent for _, indent in lines if indent >= 0]
        if not indents or not is_string:
            return position
        width = max(parent, 0) + int(head["digit"]) if head["digit"] else first
        if min(indents) < width:
            raise self._refused(head.start(), "the lines of a block have less than its indentation")
        begin = lines[0][0]
        source = self.text[begin:content_end].rstrip("\r\n")
        rows = [row.removesuffix("\r")[width:] for row in source.split("\n")]
        slot = _BlockSlot(source, rows, width, is_folded=head["style"] == ">")
        self._found.append((begin, begin + len(source), slot.slot))
        return position


class _BlockSlot:
    """The slot of a block scalar's lines."""

    def __init__(self, source: str, rows: list[str], width: int, *, is_folded: bool) -> None:
        self._end, self._indent = "\r\n" if "\r\n" in source else "\n", " " * width
        self._longest = max(map(len, rows))
        self._is_folded, self._begins_indented = is_folded, rows[0][:1] == " "
        breaks = ["\n"] * (len(rows) - 1)
        if is_folded:  # a break between two lines of a paragraph is a space
            in_paragraph = [row[:1].strip() != "" for row in rows]
            breaks = [" " if before and after else "\n" for before, after in pairwise(in_paragraph)]
        value = rows[0] + "".join(between + row for between, row in zip(breaks, rows[1:], strict=True))
        self.slot: Slot = value_slot(source, value, self._spell)

    def _spell(self, value: str) -> str:
        rows = [row for line in value.split("\n") for row in (self._wrapped(line) if self._is_folded else [line])]
        if not self._begins_indented:  # its first line says how far a block is indented
            rows[0] = rows[0].lstrip()
        return self._end.join(f"{self._indent}{row}" if row.strip() else "" for row in rows)

    def _wrapped(self, line: str) -> list[str]:
        """Cut a line between words, where one break is a space again."""
        if line[:1].isspace() or len(line) <= self._longest:
            return [line]
        rows, row = [], ""
        for word in line.split(" "):
            if row and len(row) + 1 + len(word) > self._longest and word[:1].strip() and row[-1:].strip():
                rows.append(row)
                row = word
            else:
                row = f"{row} {word}" if row or rows else word
        return [*rows, row]


def _folded(source: str) -> str:
    """Read the lines of a plain or quoted scalar: one break is a space, more are one break fewer."""
    return _FOLD.sub(lambda match: "\n" * match[1].count("\n") or " ", source)


def _unescaped(inner: str) -> str:
    """Read a scalar in double quotation marks."""

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        if code:
            return chr(int(code, 16)) if int(code, 16) < 0x110000 else match[0]
        return "" if match[4] else _NAMED.get(match[5], match[0])

    parts, position = [], 0
    for match in _ESCAPE.finditer(inner):
        parts += [_folded(inner[position : match.start()]), character(match)]
        position = match.end()
    return "".join([*parts, _folded(inner[position:])])


def _plainly(value: str) -> str:
    plain = _PLAIN.fullmatch(value)
    is_safe = plain is not None and not _CONTROL.search(value) and _NO_STRING.fullmatch(value) is None
    return value if is_safe and not _MARKER.match(value) else _doubly(value)


def _plainly_in_flow(value: str) -> str:
    is_safe = _FLOW_PLAIN.fullmatch(value) and "?" not in value  # which old readers take for a key
    return _plainly(value) if is_safe else _doubly(value)


def _singly(value: str) -> str:
    return _doubly(value) if _CONTROL.search(value) else "'" + value.replace("'", "''") + "'"


def _doubly(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_BREAKS)
