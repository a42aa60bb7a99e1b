"""Shapes, planes and bytes: which tensors an architecture and an allocation make, as arithmetic alone."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kernels.tensor import Array, Tensor
from models.format.schema import (
    BLOCK_ROWS,
    WORD_COLUMNS,
    Allocation,
    Architecture,
    Codes,
    ModelConfig,
    Segment,
    Weights,
)
from models.format.weights import ALIGNMENT, TensorSpec

A_VECTOR = "encoder.0.ffn.norm.bias"  # one that every model has
UNBIASED = "candidate"  # the matrix of a layer without a bias
_VECTOR_BYTES = 32  # loaded at a time: scales


def sub_layers(architecture: Architecture) -> dict[str, tuple[str, int]]:
    """Return each sub-layer -> ("attention" | "ssru" | "ffn", its ffn_dim or 0), in the order of the computation."""
    result = {}
    past = "ssru" if architecture.autoregression == "ssru" else "self_attention"
    for layer in range(architecture.encoder_layers):
        result[f"encoder.{layer}.self_attention"] = ("attention", 0)
        result[f"encoder.{layer}.ffn"] = ("ffn", architecture.encoder_ffn_dim)
    for layer in range(architecture.decoder_layers):
        result[f"decoder.{layer}.{past}"] = ("ssru" if past == "ssru" else "attention", 0)
        result[f"decoder.{layer}.encoder_attention"] = ("attention", 0)
        result[f"decoder.{layer}.ffn"] = ("ffn", architecture.decoder_ffn_dim)
    return result


def matrix_shapes(architecture: Architecture) -> dict[str, tuple[int, int]]:
    """Return name -> (rows, columns) of every coded matrix; rows are outputs."""
    width = architecture.d_model
    if architecture.shared_vocabulary:
        shapes = {"embedding": (architecture.target_vocab_size, width)}
    else:
        shapes = {
            "source_embedding": (architecture.source_vocab_size, width),
            "target_embedding": (architecture.target_vocab_size, width),
        }
    if not architecture.tied_output:
        shapes["output"] = (architecture.target_vocab_size, width)
    for name, (kind, ffn_dim) in sub_layers(architecture).items():
        if kind == "attention":
            shapes |= {f"{name}.{part}": (width, width) for part in ("query", "key", "value", "output")}
        elif kind == "ssru":
            shapes |= {f"{name}.{part}": (width, width) for part in ("forget", UNBIASED)}
        else:
            shapes |= {f"{name}.inner": (ffn_dim, width), f"{name}.outer": (width, ffn_dim)}
    return shapes


class Vectors(NamedTuple):
    """The form of biases and layer norms in a file.

    Attributes:
        output_bias: the output layer has one; it is zeros if not.
        half: all in float16, not in float32.
    """

    output_bias: bool
    half: bool

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> "Vectors":
        """Tell from the tensors of a file."""
        return cls("output.bias" in tensors, Tensor.of(tensors[A_VECTOR]).dtype == "F16")

    def bytes(self, architecture: Architecture) -> int:
        """Count the bytes of all of them."""
        return (2 if self.half else 4) * sum(vector_sizes(architecture, output_bias=self.output_bias).values())


def vector_sizes(architecture: Architecture, *, output_bias: bool) -> dict[str, int]:
    """Return name -> size of every vector: biases and layer norms."""
    sizes = {
        f"{name}.bias": rows
        for name, (rows, _) in matrix_shapes(architecture).items()
        if name.startswith(("encoder.", "decoder.")) and not name.endswith(f".{UNBIASED}")
    }
    normed = list(sub_layers(architecture))
    if architecture.norm == "pre":
        normed += ["encoder", "decoder"]
    sizes |= {f"{name}.norm.{part}": architecture.d_model for name in normed for part in ("gain", "bias")}
    if output_bias:
        sizes["output.bias"] = architecture.target_vocab_size
    return sizes


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def num_groups(columns: int, group_size: int | None) -> int:
    """Count the runs of columns with scales of their own."""
    return 1 if group_size is None else _ceil_div(columns, group_size)


def plane_rows(segments: Sequence[Segment], plane: int) -> int:
    """Count the rows that have the plane (from 1): a prefix, as planes never grow from one segment to the next."""
    return max((s.end for s in segments if s.planes >= plane), default=0)


def block_range(segment: Segment) -> tuple[int, int]:
    """Widen the segment's rows to whole blocks of 16."""
    return segment.begin // BLOCK_ROWS * BLOCK_ROWS, _ceil_div(segment.end, BLOCK_ROWS) * BLOCK_ROWS


def tensor_specs(
    architecture: Architecture, codes: Codes, stored: Allocation | None, vectors: Vectors
) -> dict[str, TensorSpec]:
    """List every tensor of a file with its data type and shape, in the order of the file.

    Args:
        architecture: gives the matrices with their rows and columns.
        codes: the depth, 1 to 8 planes, and the columns that share a scale.
        stored: the allocation of a specialised file; None for a progressive one, which stores every depth for all rows.
        vectors: which vectors there are, and whether they are float16.
    """
    planes: dict[tuple[int, str], TensorSpec] = {}
    scales: dict[tuple[int, str], TensorSpec] = {}
    for name, (rows, columns) in matrix_shapes(architecture).items():
        words = _ceil_div(columns, WORD_COLUMNS)
        groups = num_groups(columns, codes.group_size)
        if stored is None:
            segments: tuple[Segment, ...] = tuple(Segment(0, rows, k) for k in range(codes.depth, 0, -1))
        else:
            segments = stored[name]
        for i in range(1, segments[0].planes + 1):
            blocks = _ceil_div(plane_rows(segments, i), BLOCK_ROWS)
            planes[i, f"{name}.plane.{i}"] = TensorSpec("U32", (blocks, words, BLOCK_ROWS), ALIGNMENT)
        for segment in segments:
            first, last = block_range(segment)
            k = segment.planes
            scales[k, f"{name}.scales.{k}"] = TensorSpec("F16", (k, groups, last - first), _VECTOR_BYTES)
    sizes = vector_sizes(architecture, output_bias=vectors.output_bias)
    specs = {name: planes[rank, name] for rank, name in sorted(planes)}
    specs |= {name: scales[rank, name] for rank, name in sorted(scales)}
    dtype, item_bytes = ("F16", 2) if vectors.half else ("F32", 4)  # they are read one by one
    return specs | {name: TensorSpec(dtype, (sizes[name],), item_bytes) for name in sorted(sizes)}


def weight_specs(config: ModelConfig, weights: Weights, stored: str | None, vectors: Vectors) -> dict[str, TensorSpec]:
    """Return the `tensor_specs` of one weight file of a model.

    Args:
        config: of the model.
        weights: the codes of this file.
        stored: the configuration that a specialised file holds; None for a progressive file.
        vectors: which vectors there are, and whether they are float16.
    """
    allocation = None if stored is None else config.configurations[stored].allocation
    return tensor_specs(config.architecture, weights.codes, allocation, vectors)


def matrix_plane_bytes(segments: Sequence[Segment], columns: int) -> int:
    """Count the bytes of the planes that one matrix's segments touch."""
    blocks = sum(_ceil_div(plane_rows(segments, i), BLOCK_ROWS) for i in range(1, segments[0].planes + 1))
    return blocks * _ceil_div(columns, WORD_COLUMNS) * 4 * BLOCK_ROWS


def matrix_bytes(segments: Sequence[Segment], columns: int, group_size: int | None) -> int:
    """Count the bytes of the planes and scales that one matrix's segments touch."""
    size = matrix_plane_bytes(segments, columns)
    for segment in segments:
        first, last = block_range(segment)
        size += 2 * segment.planes * num_groups(columns, group_size) * (last - first)
    return size


def model_bytes(architecture: Architecture, group_size: int | None, allocation: Allocation, vectors: Vectors) -> int:
    """Count every byte needed to translate, tokenizer aside.

    Args:
        architecture: gives the matrices with their rows and columns.
        group_size: columns that share their scales; None for the whole row.
        allocation: the planes of each matrix's rows.
        vectors: which vectors there are, and whether they are float16.
    """
    shapes = matrix_shapes(architecture)
    coded = sum(matrix_bytes(allocation[name], columns, group_size) for name, (_, columns) in shapes.items())
    return coded + vectors.bytes(architecture)


def bits_per_weight(architecture: Architecture, allocation: Allocation) -> float:
    """Return the bits of planes for each weight of the coded matrices."""
    shapes = matrix_shapes(architecture)
    weights = sum(rows * columns for rows, columns in shapes.values())
    return 8 * sum(matrix_plane_bytes(allocation[name], columns) for name, (_, columns) in shapes.items()) / weights


def matching(matrices: Iterable[str], *globs: str) -> list[str]:
    """List matrices that a glob names, in full (`decoder.*.ffn.inner`) or by their block (`decoder.*.ffn`)."""
    result = []
    for name in matrices:
        parts = name.split(".")
        blocks = [".".join(parts[: n + 1]) for n in range(len(parts))]
        if any(fnmatch.fnmatchcase(block, glob) for glob in globs for block in blocks):
            result.append(name)
    return result


def output_matrix(architecture: Architecture) -> str:
    """Return the name of the matrix that predicts the target's pieces: an embedding where the output is tied to it."""
    if not architecture.tied_output:
        return "output"
    return "embedding" if architecture.shared_vocabulary else "target_embedding"


def is_vocabulary(matrix: str) -> bool:
    """Tell whether the rows of a matrix are pieces: an embedding, or the output layer."""
    return matrix.endswith("embedding") or matrix == "output"


def is_code(tensor: str) -> bool:
    """Tell whether a tensor holds planes or scales; the others are vectors."""
    return ".plane." in tensor or ".scales." in tensor
