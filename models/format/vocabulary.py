"""The vocabulary: SentencePiece's pieces by row, with their counts.

Since version 3 it is a safetensors file of flat tensors, which need no parsing and are used where they are mapped: as
Python objects 32,768 pieces would be 7 MB of each process, a third of the weights that they name. Of each side:

    SIDE.counts    U64 [rows]      how often the piece of each row was met
    SIDE.offsets   U32 [rows + 1]  where each piece of the text begins
    SIDE.ranks     U32 [rows]      the place in the text of each row's piece
    SIDE.rows      U32 [rows]      the row of each piece of the text
    SIDE.text      U8 [bytes]      all pieces in UTF-8, sorted by their bytes, each ended by a zero
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import add, eq, lt
from pathlib import Path
from typing import overload

from kernels.tensor import Tensor
from models.format.files import read_bytes, require_file
from models.format.schema import Architecture, ModelError
from models.format.typed_json import decode_json, parse_json
from models.format.weights import TensorSpec, map_weights, release_pages, write_weights

_BLOCK = 64  # pieces of the text that are looked through at once: 3 us to find one; 5 with 128, and 3 with 32


class Pieces(Sequence[tuple[str, int]]):
    """Pieces of one side with their counts; immutable. Entry i is row i."""

    def __init__(
        self, text: memoryview, offsets: memoryview, ranks: memoryview, rows: memoryview, counts: memoryview
    ) -> None:
        """Take the tensors of the module's docstring, of which only the shapes need to be right.

        Args:
            text: U8 [bytes], the pieces sorted by their bytes, each ended by a zero.
            offsets: U32 [rows + 1], where each piece of the text begins.
            ranks: U32 [rows], the place in the text of each row's piece.
            rows: U32 [rows], the row of each piece of the text.
            counts: U64 [rows], how often each row's piece was met.

        Raises:
            ValueError: they contradict each other, or a piece occurs twice.
        """
        self._text, self._offsets, self._ranks, self._rows, self._counts = text, offsets, ranks, rows, counts
        self._heads = self._checked_heads()

    @classmethod
    def of(cls, entries: Iterable[tuple[str, int]]) -> Pieces:
        """Make the tensors from the piece and the count of each row.

        Raises:
            ValueError: a piece occurs twice or holds a zero, or a count is negative or does not fit 64 bits.
        """
        pieces, counts = [], []
        for piece, count in entries:
            if "\0" in piece:
                raise ValueError(f"the piece {piece!r} holds a zero")
            if not 0 <= count < 1 << 64:
                raise ValueError(f"the count of {piece!r} is {count}, negative or beyond 64 bits")
            pieces.append(piece.encode() + b"\0")
            counts.append(count)
        rows = sorted(range(len(pieces)), key=pieces.__getitem__)
        ranks = sorted(range(len(pieces)), key=rows.__getitem__)
        text = [pieces[row] for row in rows]
        offsets = accumulate(map(len, text), initial=0)
        numbers = array("I", offsets), array("I", ranks), array("I", rows), array("Q", counts)
        return cls(memoryview(b"".join(text)), *(memoryview(each) for each in numbers))

    def _checked_heads(self) -> list[bytes]:
        """Return the first piece of each block of the text. Raises ValueError if a tensor is not what it should be."""
        heads: list[bytes] = []
        begin, last = 0, None
        for first in range(0, len(self), _BLOCK):
            ends = self._offsets[first + 1 : first + 1 + _BLOCK].tolist()
            block = bytes(self._text[begin : ends[-1]])
            *pieces, rest = block.split(b"\0")
            if rest or ends != list(map(add, accumulate(map(len, pieces)), range(begin + 1, begin + 1 + len(pieces)))):
                raise ValueError("the offsets do not divide the text")
            if not all(map(lt, pieces, pieces[1:])) or (last is not None and last >= pieces[0]):
                for a, b in pairwise(pieces if last is None else [last, *pieces]):
                    if a == b:
                        raise ValueError(f"the piece {a.decode(errors='replace')!r} occurs twice")
                raise ValueError("the text is not sorted")
            try:
                block.decode()
            except UnicodeDecodeError:
                raise ValueError("the text is not UTF-8") from None
            heads.append(pieces[0])
            begin, last = ends[-1], pieces[-1]
        if begin != len(self._text) or self._offsets[0] != 0:
            raise ValueError("the offsets do not divide the text")
        try:
            inverse = all(map(eq, map(self._rows.__getitem__, self._ranks), range(len(self))))
        except IndexError:
            inverse = False
        if not inverse:
            raise ValueError("the ranks are not those of the rows")
        return heads

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._counts)

    @overload
    def __getitem__(self, row: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[str, int]]: ...
    def __getitem__(self, row: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        """Return piece and count of a row, or of a range of them."""
        if isinstance(row, slice):
            return [self[index] for index in range(len(self))[row]]
        row = range(len(self))[row]
        return self.piece(row), self._counts[row]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Go row by row."""
        return zip(map(self.piece, range(len(self))), self._counts, strict=True)

    def __eq__(self, other: object) -> bool:
        """Compare all rows."""
        return isinstance(other, Pieces) and (
            (self._text, self._rows, self._counts) == (other._text, other._rows, other._counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def piece(self, row: int) -> str:
        """Return the piece of a row, from 0 on."""
        rank = self._ranks[row]
        return str(self._text[self._offsets[rank] : self._offsets[rank + 1] - 1], "utf-8")

    def find(self, piece: str) -> int | None:
        """Return the row of a piece, None if there is none: the block by its head, then one search of its bytes."""
        text = piece.encode(errors="surrogatepass")
        first = (bisect_right(self._heads, text) - 1) * _BLOCK
        if first < 0 or b"\0" in text:
            return None
        end = self._offsets[min(first + _BLOCK, len(self))]
        block = b"\0" + self._text[self._offsets[first] : end]
        place = block.find(b"\0" + text + b"\0")
        return None if place < 0 else self._rows[first + block.count(b"\0", 0, place)]

    def tensors(self, side: str) -> dict[str, Tensor]:
        """Return the tensors of the file."""
        rows = len(self)
        return {
            f"{side}.counts": Tensor("U64", (rows,), self._counts),
            f"{side}.offsets": Tensor("U32", (rows + 1,), self._offsets),
            f"{side}.ranks": Tensor("U32", (rows,), self._ranks),
            f"{side}.rows": Tensor("U32", (rows,), self._rows),
            f"{side}.text": Tensor("U8", (len(self._text),), self._text),
        }

    @classmethod
    def from_tensors(cls, side: str, tensors: Mapping[str, Tensor]) -> Pieces:
        """Take the tensors of the file in place. Raises ValueError as the constructor does."""
        text, counts = tensors[f"{side}.text"].data, tensors[f"{side}.counts"].data.cast("Q")
        offsets, ranks, rows = (tensors[f"{side}.{part}"].data.cast("I") for part in ("offsets", "ranks", "rows"))
        return cls(text, offsets, ranks, rows, counts)


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of both sides. `target` is None where the two share one vocabulary."""

    source: Pieces
    target: Pieces | None

    @property
    def target_pieces(self) -> Pieces:
        """Those of the target side, shared or not."""
        return self.source if self.target is None else self.target

    @property
    def sides(self) -> dict[str, Pieces]:
        """Name of a side -> its pieces; one side where they are shared."""
        return {"source": self.source} | ({} if self.target is None else {"target": self.target})


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Write vocab.safetensors."""
    tensors = {name: t for side, pieces in vocabulary.sides.items() for name, t in pieces.tensors(side).items()}
    # The widest numbers first: each tensor begins at a multiple of its item.
    write_weights(path, {name: tensors[name] for name in sorted(tensors, key=lambda n: (n.partition(".")[2], n))})


def read_vocabulary(path: Path, architecture: Architecture, *, in_memory: bool = False) -> Vocabulary:
    """Open the vocabulary of a model directory, of format version 3 (.safetensors) or 2 (.json).

    Raises:
        ModelError: it is not that, or it does not fit the architecture.
    """
    require_file(path)
    sizes = {"source": architecture.source_vocab_size}
    if not architecture.shared_vocabulary:
        sizes["target"] = architecture.target_vocab_size
    try:
        sides = _read_json(path) if path.suffix == ".json" else _map(path, sizes, in_memory)
        if sides.keys() != sizes.keys():
            raise ValueError("target must be null if and only if the vocabulary is shared")
        for side, size in sizes.items():
            if len(sides[side]) != size:
                raise ValueError(f"{side} has {len(sides[side])} pieces, but the model has {size} rows")
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    return Vocabulary(sides["source"], sides.get("target"))


def _map(path: Path, sizes: Mapping[str, int], in_memory: bool) -> dict[str, Pieces]:
    file = map_weights(path, in_memory=in_memory)
    specs: dict[str, TensorSpec] = {}
    for side, rows in sizes.items():
        text = file.entries.get(f"{side}.text")
        specs |= {
            f"{side}.counts": TensorSpec("U64", (rows,), 8),
            f"{side}.offsets": TensorSpec("U32", (rows + 1,), 4),
            f"{side}.ranks": TensorSpec("U32", (rows,), 4),
            f"{side}.rows": TensorSpec("U32", (rows,), 4),
            f"{side}.text": TensorSpec("U8", text.shape if text and len(text.shape) == 1 else (0,), 1),
        }
    tensors = file.tensors(specs)
    sides = {side: Pieces.from_tensors(side, tensors) for side in sizes}
    release_pages(file.memory)  # the check has touched them all; resident are those that are used again
    return sides


@dataclass(frozen=True)
class _Version2:
    """vocab.json: piece and count of each row."""

    source: tuple[tuple[str, int], ...]
    target: tuple[tuple[str, int], ...] | None


def _read_json(path: Path) -> dict[str, Pieces]:
    document: _Version2 = decode_json(_Version2, parse_json(read_bytes(path)), "the document")
    sides = {"source": document.source} | ({} if document.target is None else {"target": document.target})
    return {side: Pieces.of(rows) for side, rows in sides.items()}
