"""The shortlist: the target pieces that may translate each source piece, and those that any sentence may need.

`shortlist.safetensors` holds flat tensors, which the engine uses where they are mapped:

    shortlist.always   U32 [n]                rows of the target vocabulary that every sentence may choose
    shortlist.offsets  U32 [source rows + 1]  where the rows of each source piece begin
    shortlist.rows     U32 [m]                rows of the target vocabulary, source piece by source piece
"""

import mmap
from array import array
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from operator import le
from pathlib import Path
from typing import NamedTuple

from kernels.tensor import Tensor
from models.format.files import require_file
from models.format.schema import Architecture, ModelError
from models.format.weights import TensorSpec, map_weights

_ALWAYS, _OFFSETS, _ROWS = NAMES = ("shortlist.always", "shortlist.offsets", "shortlist.rows")


class Shortlist(NamedTuple):
    """The table itself.

    Attributes:
        always: rows of the target vocabulary that every sentence may choose; at least one.
        rows: of each row of the source vocabulary those that may translate it.
    """

    always: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Shortlist":
        """Return the table of a file."""
        always, offsets, rows = (tuple(tensors[name].data.cast("I")) for name in NAMES)
        return cls(always, tuple(rows[begin:end] for begin, end in pairwise(offsets)))

    def in_order(self, source: Sequence[int], target: Mapping[int, int]) -> "Shortlist":
        """Return the table of the same vocabularies in another order.

        Args:
            source: the old row of each new one.
            target: the new row of each old one.
        """
        return Shortlist(
            tuple(sorted(target[row] for row in self.always)),
            tuple(tuple(sorted(target[row] for row in self.rows[old])) for old in source),
        )


class MappedShortlist(NamedTuple):
    """The mapped file; `memory` is what the tensors are views of."""

    tensors: Mapping[str, Tensor]
    memory: mmap.mmap


def shortlist_tensors(always: Collection[int], rows: Sequence[Collection[int]]) -> dict[str, Tensor]:
    """Make the tensors of the file.

    Args:
        always: rows of the target vocabulary that every sentence may choose; at least one.
        rows: of each row of the source vocabulary those that may translate it.
    """
    if not any(rows):
        rows = [tuple(always), *rows[1:]]  # a tensor is never empty
    numbers = {
        _ALWAYS: array("I", sorted(always)),
        _OFFSETS: array("I", accumulate(map(len, rows), initial=0)),
        _ROWS: array("I", chain.from_iterable(map(sorted, rows))),
    }
    return {name: Tensor("U32", (len(values),), values) for name, values in numbers.items()}


def read_shortlist(path: Path, architecture: Architecture, *, in_memory: bool = False) -> MappedShortlist:
    """Open the shortlist of a model directory.

    Raises:
        ModelError: it is not that, or it does not fit the architecture.
    """
    require_file(path)
    try:
        mapped = map_weights(path, in_memory=in_memory)
        shapes = {name: mapped.entries[name].shape for name in (_ALWAYS, _ROWS) if name in mapped.entries}
        sizes = {name: shape[0] if len(shape) == 1 else 0 for name, shape in shapes.items()}
        sizes[_OFFSETS] = architecture.source_vocab_size + 1
        tensors = mapped.tensors({name: TensorSpec("U32", (sizes.get(name, 0),), 4) for name in NAMES})
        if fault := _fault(tensors, architecture.target_vocab_size):
            raise ValueError(fault)
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    return MappedShortlist(tensors, mapped.memory)


def _fault(tensors: Mapping[str, Tensor], target_rows: int) -> str | None:
    """Find what is wrong with the numbers."""
    always, offsets, rows = (tensors[name].data.cast("I") for name in NAMES)
    for name, found in ((_ALWAYS, always), (_ROWS, rows)):
        if not len(found):
            return f"the tensor {name!r} is empty"
        if max(found) >= target_rows:
            return f"the tensor {name!r} has the row {max(found)} of a vocabulary of {target_rows}"
    if offsets[0] != 0 or offsets[-1] != len(rows) or not all(map(le, offsets, offsets[1:])):
        return f"the tensor {_OFFSETS!r} does not divide {_ROWS!r}"
    return None
