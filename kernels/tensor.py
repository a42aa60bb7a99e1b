"""Tensors in place, in a mapped file or an array, without numpy: serving saves its 12 MB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

_DTYPES: Final = {"I": "U32", "e": "F16", "f": "F32"}  # by the formats of memoryview
_TYPESTRS: Final = {"U8": "|u1", "U32": "<u4", "U64": "<u8", "F16": "<f2", "F32": "<f4"}
ITEM_BYTES: Final = {"U8": 1, "U32": 4, "U64": 8, "F16": 2, "F32": 4}

Array = Any  # a Tensor, or what `Tensor.of` takes


@dataclass(frozen=True, slots=True)
class Tensor:
    """A contiguous array, which `numpy.asarray` reads in place.

    Attributes:
        dtype: U8, U32, U64, F16 or F32, the names of safetensors.
        shape: the dimensions.
        buffer: the object that holds the bytes. No memoryview of it is kept: Python 3.11's garbage collector crashes
            when it clears one, in a cycle, of which cffi still has a buffer.
        begin: offset of the first byte in the buffer.
    """

    dtype: str
    shape: tuple[int, ...]
    buffer: Any
    begin: int = 0

    @classmethod
    def of(cls, array: Array) -> Tensor:
        """Return `array` if it is a tensor, or else a tensor over its buffer (a numpy array, for example).

        Raises:
            ValueError: it is not contiguous, or of another type. The message completes "it must ...".
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
        """The size in bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def data(self) -> memoryview:
        """The bytes."""
        return memoryview(self.buffer).cast("B")[self.begin : self.begin + self.nbytes]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The array interface, by which numpy reads the tensor in place."""
        return {"version": 3, "typestr": _TYPESTRS[self.dtype], "shape": self.shape, "data": self.data}
