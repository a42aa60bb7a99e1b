"""Tables of comma- or tab-separated values: the cells of text columns change, all else comes back to the letter.

Which columns are text is seen from their cells: a column with a cell of several words is one. A column of single words
may hold identifiers, which a program looks up, so it is translated only where no column has more. The first line is a
header if its cells may be names; it is copied, for importers know columns by it.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from service.files import FileRefused, Limits
from service.files.charsets import decoded_or_western, encoded_or_unicode
from service.files.slots import Slot, SlottedFile, value_slot, with_slots

_SEPARATORS = ",;\t|"
_HINT = re.compile(r"\ufeff?sep=(.)\r?\n")  # which Excel reads
_WORDS = re.compile(r"[^\W\d_]{2}[^\w\s]{0,3}\s++[^\w\s]{0,3}[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+[.!?]?")
_ADDRESS = re.compile(r"\w+:/*\S+|\S+@\S+|=.*", re.DOTALL)  # or a formula
_NAME_CHARACTERS = 40  # longer cells are no names of columns
_NAME_WORDS = 4


class _Cell(NamedTuple):
    begin: int
    end: int
    value: str
    is_quoted: bool


def read(data: bytes, ending: str, limits: Limits, columns: Collection[str] | None = None) -> SlottedFile:
    """Open it.

    Args:
        data: the file.
        ending: .csv or .tsv.
        limits: not needed, for nothing is unpacked.
        columns: headers of what is translated; by default text columns are.

    Raises:
        FileRefused: it is not text, a quotation has no end, or a column is not there.
    """
    source = decoded_or_western(data)
    text = source.text
    if "\0" in text:
        raise FileRefused("The file is no table: it has control characters.")
    hint = _HINT.match(text)
    begin = hint.end() if hint else int(text.startswith("\ufeff"))
    separator = hint[1] if hint else "\t" if ending == ".tsv" else _separator(text[begin:])
    rows = list(_rows(text, begin, separator))
    has_header = columns is not None or _is_header(rows)
    body = rows[1:] if has_header else rows
    chosen = _text_columns(body) if columns is None else _named(columns, rows)
    slots = (
        (cell.begin, cell.end, _slot(text, cell, separator))
        for row in body
        for number, cell in enumerate(row)
        if number in chosen and not _ADDRESS.fullmatch(cell.value)
    )
    return SlottedFile(with_slots(text, slots), lambda rendered: encoded_or_unicode(rendered, source))


def _separator(text: str) -> str:
    """Find what is most often in the first line outside of quotations."""
    line = re.sub(r'"(?:[^"]++|"")*+"', "", text[:100_000]).partition("\n")[0]
    return max(_SEPARATORS, key=line.count)


def _rows(text: str, position: int, separator: str) -> Iterator[list[_Cell]]:
    mark = re.escape(separator)
    token = re.compile(rf'(?:"((?:[^"]++|"")*+)"(?=[{mark}\r\n]|\Z)|([^{mark}\r\n]*+))([{mark}]|\r\n|\r|\n|\Z)')
    row: list[_Cell] = []
    while position <= len(text):
        cell = token.match(text, position)
        assert cell is not None  # the second alternative matches the empty string up to a mark, which follows
        if cell[1] is not None:
            row.append(_Cell(*(cell.start(), cell.end(1) + 1), cell[1].replace('""', '"'), True))
        else:
            if separator != "\t" and cell[2].startswith('"'):
                line = text.count("\n", 0, position) + 1
                raise FileRefused(f"The file is no table: a quotation in line {line:,} has no end.")
            row.append(_Cell(*cell.span(2), cell[2], False))
        position = cell.end()
        if cell[3] != separator:
            yield row
            row = []
            if position == len(text):
                return


def _is_header(rows: Sequence[Sequence[_Cell]]) -> bool:
    """Tell whether the cells of the first row may be names of columns; a single column is a list without one."""
    if len(rows) < 2 or len(rows[0]) < 2:
        return False
    names = [cell.value.strip() for cell in rows[0]]
    return len(set(names)) == len(names) and all(
        len(name) <= _NAME_CHARACTERS
        and len(name.split()) <= _NAME_WORDS
        and any(map(str.isalpha, name))
        and not name.endswith((".", "!", "?"))
        for name in names
    )


def _text_columns(rows: Sequence[Sequence[_Cell]]) -> set[int]:
    several: set[int] = set()
    single: set[int] = set()
    other: set[int] = set()
    for row in rows:
        for number, cell in enumerate(row):
            value = cell.value.strip()
            if not value:
                continue
            if _WORDS.search(value) and not _ADDRESS.fullmatch(value):
                several.add(number)
            (single if _WORD.fullmatch(value) else other).add(number)
    return several or single - other


def _named(columns: Collection[str], rows: Sequence[Sequence[_Cell]]) -> set[int]:
    names = [cell.value.strip() for cell in rows[0]] if rows else []
    for column in columns:
        if column not in names:
            raise FileRefused(f"The table has no column {column[:50]!r}.")
    return {number for number, name in enumerate(names) if name in columns}


def _slot(text: str, cell: _Cell, separator: str) -> Slot:
    source = text[cell.begin : cell.end]
    may_begin_quoted = not cell.is_quoted and source.startswith('"')  # in files that know no quotation

    def spell(value: str) -> str:
        needs = any(mark in value for mark in (separator, "\n", "\r"))
        needs = needs or cell.is_quoted or (value.startswith('"') and not may_begin_quoted)
        return '"' + value.replace('"', '""') + '"' if needs else value

    return value_slot(source, cell.value, spell)
