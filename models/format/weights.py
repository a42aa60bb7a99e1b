"""Safetensors files: a reader that maps them, for a server without a tensor framework, and a writer.

The safetensors package does not read files without numpy or the like, 12 MB of each process.
"""

import json
import math
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from kernels.tensor import ITEM_BYTES, Array, Tensor
from models.format.typed_json import MAX_JSON_BYTES, parse_json

ALIGNMENT = 64  # of the data, in bytes
# The upper byte of a number whose exponent is the largest there is: infinite, or no number, or, of F32, above 1.7e38.
_SUSPECT = {
    "F16": bytes(byte for byte in range(256) if byte & 0x7C == 0x7C),
    "F32": bytes(byte for byte in range(256) if byte & 0x7F == 0x7F),
}


class TensorSpec(NamedTuple):
    """Type and shape that a stored tensor must have; `alignment` is that of its first byte in the data."""

    dtype: str
    shape: tuple[int, ...]
    alignment: int


class Entry(NamedTuple):
    """A tensor by the header; the bytes are counted from the data's begin."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Copy(mmap.mmap):
    """Memory with the content of a file, which keeps it whatever becomes of the file."""


class WeightFile(NamedTuple):
    """A mapped file, in which the tensors follow each other without a hole."""

    entries: Mapping[str, Entry]
    data_begin: int
    memory: mmap.mmap

    def tensors(self, specs: Mapping[str, TensorSpec]) -> dict[str, Tensor]:
        """Return views of the file.

        Raises:
            ValueError: the file does not have these tensors and no others; a sentence without its full stop.
        """
        if self.data_begin % ALIGNMENT:
            raise ValueError(f"the data must start at a multiple of {ALIGNMENT} bytes, not at {self.data_begin}")
        if missing := [name for name in specs if name not in self.entries]:
            raise ValueError(f"the tensor {missing[0]!r} is missing")
        if unknown := [name for name in self.entries if name not in specs]:
            raise ValueError(f"the tensor {unknown[0]!r} is not part of this model")
        tensors = {}
        for name, (dtype, shape, alignment) in specs.items():
            entry = self.entries[name]
            if entry.dtype != dtype or entry.shape != shape:
                found = f"{entry.dtype} {list(entry.shape)}"
                raise ValueError(f"the tensor {name!r} is {found}, but the model needs {dtype} {list(shape)}")
            if entry.begin % alignment:
                raise ValueError(
                    f"the tensor {name!r} must start at a multiple of {alignment} bytes, not at {entry.begin}"
                )
            tensors[name] = Tensor(dtype, shape, self.memory, self.data_begin + entry.begin)
        return tensors


def map_weights(path: Path, *, in_memory: bool = False) -> WeightFile:
    """Map a file, or read it into memory.

    Raises:
        ValueError: it is not a safetensors file; a sentence without its full stop.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError("the file is truncated within its header")
        if length > MAX_JSON_BYTES:
            raise ValueError(f"the header is larger than {MAX_JSON_BYTES} bytes")
        header = parse_json(file.read(length))
        memory = _read(file, size) if in_memory else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file (the header is not an object)")
    header.pop("__metadata__", None)
    entries = {name: _entry(name, value) for name, value in header.items()}
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].begin):
        if entry.begin != place:
            raise ValueError(
                f"not a safetensors file (the tensor {name!r} begins at {entry.begin}, not at {place} after the last)"
            )
        place = entry.end
    if place != size - 8 - length:
        raise ValueError(f"not a safetensors file (its tensors have {place} bytes, its data {size - 8 - length})")
    return WeightFile(entries, 8 + length, memory)


def _read(file: BinaryIO, size: int) -> Copy:
    file.seek(0)
    memory = Copy(-1, size)
    if memory.write(file.read(size)) != size:
        raise ValueError("the file became shorter while it was read")
    return memory


def _entry(name: str, value: Any) -> Entry:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]}:
            whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
            if whole and dtype in ITEM_BYTES and end - begin == math.prod(shape) * ITEM_BYTES[dtype]:
                return Entry(dtype, tuple(shape), begin, end)
    raise ValueError(
        f"not a safetensors file (the tensor {name!r} needs a dtype of {', '.join(ITEM_BYTES)}, and a shape and "
        "data_offsets that fit it)"
    )


def all_finite(tensor: Tensor) -> bool:
    """Tell whether a tensor has neither infinities nor NaN; by the upper bytes, 30 times as fast as by numbers."""
    if tensor.dtype not in _SUSPECT:
        return True
    size = ITEM_BYTES[tensor.dtype]
    upper = bytes(tensor.data)[size - 1 :: size]
    if len(upper.translate(None, _SUSPECT[tensor.dtype])) == len(upper):
        return True
    return all(math.isfinite(number) for (number,) in struct.iter_unpack("<e" if size == 2 else "<f", tensor.data))


def release_pages(memory: mmap.mmap) -> None:
    """Make a mapped file's pages non-resident; what is still in use comes back at its next touch."""
    if hasattr(mmap, "MADV_DONTNEED") and not isinstance(memory, Copy):
        memory.madvise(mmap.MADV_DONTNEED)


def write_weights(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write a file with its tensors in the order given."""
    views = {name: Tensor.of(array) for name, array in tensors.items()}
    header, offset = {}, 0
    for name, tensor in views.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in views.values():
            file.write(tensor.data)
