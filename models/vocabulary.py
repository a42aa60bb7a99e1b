"""The words of a model, row by row, and vocab.json, which holds them: {"source": [[piece, count], ...], "target": ...}.

The pieces stay in one buffer. As Python objects 32,768 of them would be 7 MB, a third of the weights that they name.
"""

import array
import bisect
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_HASH_PRIME = 2654435761  # far from any power of two, which would fold a word's letters onto each other
_ROWS_AT_ONCE = 4096  # bounds what hashing holds beside the words
# vocab.json as `Vocabulary.to_json` writes it, once the strings are empty and the rows one list of numbers.
_NUMBER = rb"(?:0|[1-9][0-9]{0,17}+)"
_ROWS = rb'\[\[",(%b(?:,%b)*+)\]\]' % (_NUMBER, _NUMBER)
_SKELETON = re.compile(rb'\{":%b,":(?:null|%b)\}\s*' % (_ROWS, _ROWS))
_ESCAPE = re.compile(rb"\\.", re.DOTALL)

Ints = npt.NDArray[np.signedinteger[Any]]


class Words(Sequence[tuple[str, int]]):
    """Pieces with their counts; immutable. Entry i is row i."""

    def __init__(self, text: bytes, ends: Ints, counts: Ints) -> None:
        """Over a buffer.

        Args:
            text: the pieces in UTF-8, one after the other.
            ends: [rows], where each ends.
            counts: [rows].

        Raises:
            ValueError: with a sentence that says which piece or count can't be.
        """
        self._text = text
        self._offsets = _unsigned(np.append(0, ends))
        self._counts = counts
        self._hashes, self._rows = self._index()
        for row in np.flatnonzero(counts < 0):
            raise ValueError(f"the count of {self[int(row)][0]!r} is negative")
        same = np.diff(self._hashes) == 0
        suspects = itertools.compress(self._rows, np.append(same, False) | np.append(False, same))
        pieces = sorted(map(self._bytes, suspects))
        for piece, following in itertools.pairwise(pieces):
            if piece == following:
                raise ValueError(f"the piece {piece.decode()!r} occurs twice")

    @classmethod
    def of(cls, entries: Iterable[tuple[str, int]]) -> "Words":
        """From (piece, count) of each row."""
        rows = [(piece.encode(), count) for piece, count in entries]
        lengths = np.fromiter((len(piece) for piece, _ in rows), np.int64, len(rows))
        try:
            counts = np.fromiter((count for _, count in rows), np.int64, len(rows))
        except OverflowError:
            raise ValueError("a count does not fit 64 bits") from None
        return cls(b"".join(piece for piece, _ in rows), lengths.cumsum(), counts)

    def __len__(self) -> int:
        """Rows."""
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[str, int]]: ...
    def __getitem__(self, row: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        """Piece and count of a row, or of a range of them."""
        if isinstance(row, slice):
            return [self[index] for index in range(len(self))[row]]
        row = range(len(self))[row]
        return self.piece(row), int(self._counts[row])

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Row by row."""
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether all rows are the same."""
        return (
            isinstance(other, Words)
            and self._text == other._text
            and self._offsets == other._offsets
            and np.array_equal(self._counts, other._counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def piece(self, row: int) -> str:
        """That of a row from 0 on."""
        return self._bytes(row).decode()

    def find(self, piece: str) -> int | None:
        """The row of a piece; None if there is none. Some microseconds: a caller that asks often remembers."""
        text = piece.encode(errors="surrogatepass")
        wanted = int.from_bytes(text, "little") % _HASH_PRIME
        place = bisect.bisect_left(self._hashes, wanted)
        while place < len(self) and self._hashes[place] == wanted:
            if self._bytes(self._rows[place]) == text:
                return self._rows[place]
            place += 1
        return None

    def _bytes(self, row: int) -> bytes:
        return self._text[self._offsets[row] : self._offsets[row + 1]]

    def _index(self) -> tuple["array.array[int]", "array.array[int]"]:
        """Hashes in order, and the row of each. A hash is the piece's bytes, as one little-endian number, modulo p."""
        text, offsets = np.frombuffer(self._text, np.uint8), np.array(self._offsets, np.int32)
        powers = [1]  # of 256
        for _ in range(int(np.diff(offsets).max(initial=0))):
            powers.append(powers[-1] * 256 % _HASH_PRIME)
        factors = np.array(powers, np.uint64)
        entries = np.arange(len(offsets) - 1, dtype=np.uint64)  # hash * 2^32 + row
        for first in range(0, len(entries), _ROWS_AT_ONCE):
            ends = offsets[first : first + _ROWS_AT_ONCE + 1]
            lengths, begins = np.diff(ends), ends[:-1] - ends[0]
            places = np.arange(ends[-1] - ends[0], dtype=np.int32) - np.repeat(begins, lengths)
            terms = np.append(text[ends[0] : ends[-1]] * factors[places], np.uint64(0))
            sums = np.where(lengths > 0, np.add.reduceat(terms, begins), 0)  # an empty range "sums" to its first entry
            entries[first : first + len(sums)] += sums % np.uint64(_HASH_PRIME) << np.uint64(32)
        entries.sort()
        return _unsigned(entries >> np.uint64(32)), _unsigned(entries)


def _unsigned(numbers: npt.NDArray[Any]) -> "array.array[int]":
    """Their lower four bytes; unlike a numpy array it gives Python's numbers."""
    return array.array("I", numbers.astype(np.uint32).tobytes())


@dataclass(frozen=True)
class Vocabulary:
    """The words of both sides. `target` is None where the two share one vocabulary."""

    source: Words
    target: Words | None

    @property
    def target_words(self) -> Words:
        """Those of the target side, shared or not."""
        return self.source if self.target is None else self.target

    def to_json(self) -> bytes:
        """The content of vocab.json."""
        document = {"source": list(self.source), "target": None if self.target is None else list(self.target)}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def scan(document: bytes) -> Vocabulary | None:
    """A vocabulary from a document that is laid out as `Vocabulary.to_json` does it; None: another reader must judge.

    32,768 words take 3 ms; as JSON they take 30, because of the lists and strings that are made to be dropped again.

    Raises:
        ValueError: as `Words` does.
    """
    raw = np.frombuffer(document, np.uint8)
    quotes = raw == ord('"')
    escapes = [match.start() for match in _ESCAPE.finditer(document)]
    quotes[[escape + 1 for escape in escapes]] = False
    inside = np.logical_xor.accumulate(quotes)  # from an opening quote up to the closing one, which is not
    skeleton = _SKELETON.fullmatch(raw[~inside].tobytes().replace(b'],[",', b","))
    characters = raw[np.greater(inside, quotes, out=inside)]
    if skeleton is None or (characters < ord(" ")).any():
        return None
    begins, ends = np.flatnonzero(quotes).astype(np.int32).reshape(-1, 2).T
    del inside, quotes
    text, lengths = characters.tobytes(), ends - begins - 1
    try:
        text.decode()
        text, lengths = _unescaped(text, lengths, sorted({int(row) for row in np.searchsorted(begins, escapes) - 1}))
    except ValueError:
        return None
    counts = [np.fromstring(part, np.int64, sep=",") for part in skeleton.groups() if part is not None]
    ends, first = lengths.cumsum(dtype=np.int32), 0
    sides = []
    for key, numbers in zip((b"source", b"target"), [*counts, None], strict=False):
        rows = 0 if numbers is None else len(numbers)
        if len(ends) <= first + rows or text[ends[first] - lengths[first] : ends[first]] != key:
            return None
        pieces = slice(first + 1, first + 1 + rows)
        if numbers is not None:
            sides.append(Words(text[ends[first] : ends[first + rows]], ends[pieces] - ends[first], numbers))
        first += 1 + rows
    if first != len(ends):  # a row of more than a piece and a count
        return None
    return Vocabulary(sides[0], sides[1] if len(sides) == 2 else None)


def _unescaped(text: bytes, lengths: Ints, strings: Iterable[int]) -> tuple[bytes, Ints]:
    """Buffer and lengths with the JSON escapes of these strings read."""
    ends, chunks, copied = lengths.cumsum(dtype=np.int32), [], 0
    lengths = lengths.copy()
    for string in strings:
        begin, end = ends[string] - lengths[string], ends[string]
        piece = json.loads(b'"%b"' % text[begin:end]).encode()
        chunks += [text[copied:begin], piece]
        copied, lengths[string] = end, len(piece)
    return b"".join([*chunks, text[copied:]]), lengths
