"""Words: the pieces of one side of a vocabulary with their counts, kept outside Python (kernels/words.h)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, overload

from kernels._engine import ffi, lib


class Words(Sequence[tuple[str, int]]):
    """Pieces with their counts; immutable. Entry i is row i."""

    def __init__(self, handle: Any) -> None:
        """Over what the C ABI made, which it frees."""
        self._handle = ffi.gc(handle, lib.sub3_words_destroy)
        rows = ffi.new("sub3_word_rows *")
        _check(lib.sub3_words_rows(handle, rows))
        self._text = ffi.buffer(rows.text, rows.num_bytes)
        self._offsets, self._counts, self._length = rows.offsets, rows.counts, int(rows.num_rows)

    @classmethod
    def of(cls, entries: Iterable[tuple[str, int]]) -> Words:
        """From (piece, count) of each row.

        Raises:
            ValueError: with a sentence that says which piece or count can't be.
        """
        pieces, counts = [], []
        for piece, count in entries:
            pieces.append(piece.encode())
            counts.append(count)
        text = b"".join(pieces)
        rows, handle = ffi.new("sub3_word_rows *"), ffi.new("sub3_words **")
        held = ffi.from_buffer("char[]", text), ffi.new("uint32_t[]", [0, *accumulate(map(len, pieces))])
        rows.text, rows.offsets = held
        try:
            rows.counts = numbers = ffi.new("int64_t[]", counts)
        except OverflowError:
            raise ValueError("a count does not fit 64 bits") from None
        rows.num_bytes, rows.num_rows = len(text), len(numbers)
        _check(lib.sub3_words_create(rows, handle))
        return cls(handle[0])

    def __len__(self) -> int:
        """Rows."""
        return self._length

    @overload
    def __getitem__(self, row: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[str, int]]: ...
    def __getitem__(self, row: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        """Piece and count of a row, or of a range of them."""
        if isinstance(row, slice):
            return [self[index] for index in range(len(self))[row]]
        row = range(len(self))[row]
        return self.piece(row), self._counts[row]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Row by row."""
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether all rows are the same."""
        return isinstance(other, Words) and len(self) == len(other) and all(map(tuple.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def piece(self, row: int) -> str:
        """That of a row from 0 on."""
        text: bytes = self._text[self._offsets[row] : self._offsets[row + 1]]
        return text.decode()

    def find(self, piece: str) -> int | None:
        """The row of a piece; None if there is none."""
        text = piece.encode(errors="surrogatepass")
        row = lib.sub3_words_find(self._handle, text, len(text))
        return None if row < 0 else int(row)


def scan(document: bytes) -> tuple[Words, Words | None] | None:
    """Words of both sides from the text of vocab.json; None where another reader must judge it.

    The second is None where both sides share the first. 32,768 words take 2 ms; by Python's JSON reader 30, because of
    the lists and strings that are made to be dropped again.

    Raises:
        ValueError: a piece occurs twice.
    """
    try:
        document.decode()
    except UnicodeDecodeError:
        return None
    source, target = ffi.new("sub3_words **"), ffi.new("sub3_words **")
    _check(lib.sub3_words_scan(document, len(document), source, target))
    if source[0] == ffi.NULL:
        return None
    return Words(source[0]), None if target[0] == ffi.NULL else Words(target[0])


def _check(status: int) -> None:
    if status != lib.SUB3_OK:
        raise ValueError(ffi.string(lib.sub3_last_error()).decode())
