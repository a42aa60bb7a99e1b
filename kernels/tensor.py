"""Tensor: numbers where they are, in a mapped file or an array, for code that has to do without numpy's 12 MB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

_DTYPES: Final = {"I": "U32", "e": "F16", "f": "F32"}  # what memoryview says of an array
_TYPESTRS: Final = {"U8": "|u1", "U32": "<u4", "U64": "<u8", "F16": "<f2", "F32": "<f4"}
ITEM_BYTES: Final = {"U8": 1, "U32": 4, "U64": 8, "F16": 2, "F32": 4}

Array = Any  # a Tensor, or what `Tensor.of` takes


@dataclass(frozen=True, slots=True)
class Tensor:
    """Contiguous numbers, which `numpy.asarray` reads in place.

    Attributes:
        dtype: as safetensors names it: U8, U32, U64, F16 or F32.
        buffer: what holds the bytes. No memoryview of it is kept: Python 3.11's garbage collector crashes when it
            clears one, in a cycle, of which cffi still has a buffer.
        begin: of the bytes in it.
    """

    dtype: str
    shape: tuple[int, ...]
    buffer: Any
    begin: int = 0

    @classmethod
    def of(cls, array: Array) -> Tensor:
        """A tensor, or one over what has a buffer, such as a numpy array.

        Raises:
            ValueError: it is not contiguous, or of another type; what must be, to end a sentence with.
        """
        if isinstance(array, cls):
            return array
        view = memoryview(array)
        if view.format not in _DTYPES:
            raise ValueError(f"be float32, float16 or uint32, not of the type {view.format!r}")
        if not view.c_contiguous:
            raise ValueError("be contiguous")
        return cls(_DTYPES[view.format], tuple(view.shape or ()), array)

    @property
    def nbytes(self) -> int:
        """Of all numbers."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def data(self) -> memoryview:
        """The bytes."""
        return memoryview(self.buffer).cast("B")[self.begin : self.begin + self.nbytes]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The protocol by which numpy reads arrays that are not its own."""
        return {"version": 3, "typestr": _TYPESTRS[self.dtype], "shape": self.shape, "data": self.data}
