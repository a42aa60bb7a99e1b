"""The model directory: write it, open it, check it. The server reads it with this, so there is no numpy in it.

`docs/design.md` describes the format. Whatever a directory holds that this file does not expect is a `ModelError`, one
sentence that names the file and the fault; what passes may be handed to the engine without another look.
"""

import contextlib
import fnmatch
import hashlib
import json
import math
import mmap
import os
import re
import shutil
import tempfile
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kernels.tensor import Array, Tensor
from kernels.words import Words
from models.format.typed_json import MAX_JSON_BYTES, decode_json, parse_json
from models.format.vocabulary import Vocabulary, scan
from models.format.weights import ALIGNMENT, TensorSpec, all_finite, map_weights, write_weights

FORMAT_VERSION = 2
MAX_PLANES = 8
BLOCK_ROWS = 16  # rows whose words lie side by side: one 64-byte load
WORD_COLUMNS = 32  # columns in a word
A_VECTOR = "encoder.0.ffn.norm.bias"  # one that every model has

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
VOCABULARY_FILE = "vocab.json"
SENTENCEPIECE_FILES = ("source.spm", "target.spm")
# README.md, the model card, has the table of measured quality between these.
RESULTS_BEGIN, RESULTS_END = "<!-- results -->", "<!-- /results -->"

# A hostile config.json must not make us list a billion tensors.
MAX_LAYERS = 128
MAX_WIDTH = 1 << 20
MAX_VOCABULARY = 1 << 24

_VECTOR_BYTES = 32  # loaded at a time: scales
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ModelError(ValueError):
    """A model directory that can't be used. One sentence: the file and the fault."""


class UnavailableConfiguration(ValueError):
    """A configuration that this directory can't serve. One sentence: the reason."""


class Segment(NamedTuple):
    """Rows [begin, end) of a matrix use `planes` planes."""

    begin: int
    end: int
    planes: int


Allocation = Mapping[str, tuple[Segment, ...]]


@dataclass(frozen=True)
class Architecture:
    """The shape of the Transformer. `norm` says whether layer norm stands before or after each sub-layer."""

    d_model: int
    source_vocab_size: int
    target_vocab_size: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn_dim: int
    decoder_layers: int
    decoder_heads: int
    decoder_ffn_dim: int
    activation: Literal["relu", "swish", "gelu"]
    norm: Literal["post", "pre"]
    norm_epsilon: float
    scale_embedding: bool
    max_positions: int
    shared_vocabulary: bool
    tied_output: bool


@dataclass(frozen=True)
class Ids:
    """Rows of the sorted vocabulary. The search never predicts `suppressed`."""

    eos: int
    pad: int
    unk_source: int
    unk_target: int
    decoder_start: int
    suppressed: tuple[int, ...]


@dataclass(frozen=True)
class Codes:
    """How the weights of one file are coded. `group_size` None: one scale for a row and plane."""

    kind: Literal["progressive", "specialised"]
    depth: int
    group_size: int | None
    solver: str


@dataclass(frozen=True)
class Matrix:
    """One coded matrix; `error` is |W - W^|^2 / |W|^2 by planes (progressive) or as stored (specialised, one entry)."""

    rows: int
    columns: int
    error: tuple[float, ...]


@dataclass(frozen=True)
class Weights:
    """What one weight file holds."""

    codes: Codes
    matrices: Mapping[str, Matrix]


@dataclass(frozen=True)
class Configuration:
    """An allocation with its cost, and its quality by test set where measured."""

    allocation: Allocation
    bits_per_weight: float
    bytes: int
    quality: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ModelConfig:
    """config.json. `dataclasses.asdict` of its parts gives the mappings that the engine takes.

    Attributes:
        codes: of model.safetensors, as `matrices` are.
        specialised: configuration -> what NAME.safetensors holds, codes made for this configuration alone. They serve
            every request for its allocation, and model.safetensors serves the other allocations.
    """

    format_version: int
    name: str
    source_languages: tuple[str, ...]
    target_languages: tuple[str, ...]
    target_tokens: Mapping[str, str]
    architecture: Architecture
    ids: Ids
    length_penalty: float
    codes: Codes
    matrices: Mapping[str, Matrix]
    specialised: Mapping[str, Weights]
    configurations: Mapping[str, Configuration]
    default_configuration: str
    checksums: Mapping[str, str]

    @property
    def weight_files(self) -> tuple[str, ...]:
        """Names of the weight files, the main one first."""
        return (WEIGHTS_FILE, *map(weights_file, self.specialised))

    @property
    def checked_files(self) -> tuple[str, ...]:
        """Every file whose checksum is stated."""
        return (*self.weight_files, VOCABULARY_FILE, *SENTENCEPIECE_FILES)


def weights_file(configuration: str) -> str:
    """Where codes that are specialised to a configuration are."""
    return f"{configuration}.safetensors"


# --- what an architecture holds ---------------------------------------------------------------------------------------


def sub_layers(architecture: Architecture) -> dict[str, tuple[str, int]]:
    """Name of each sub-layer -> ("attention" | "ffn", its ffn_dim or 0), in the order of the computation."""
    result = {}
    for layer in range(architecture.encoder_layers):
        result[f"encoder.{layer}.self_attention"] = ("attention", 0)
        result[f"encoder.{layer}.ffn"] = ("ffn", architecture.encoder_ffn_dim)
    for layer in range(architecture.decoder_layers):
        result[f"decoder.{layer}.self_attention"] = ("attention", 0)
        result[f"decoder.{layer}.encoder_attention"] = ("attention", 0)
        result[f"decoder.{layer}.ffn"] = ("ffn", architecture.decoder_ffn_dim)
    return result


def matrix_shapes(architecture: Architecture) -> dict[str, tuple[int, int]]:
    """Name -> (rows, columns) of every coded matrix; rows are outputs."""
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
        else:
            shapes |= {f"{name}.inner": (ffn_dim, width), f"{name}.outer": (width, ffn_dim)}
    return shapes


class Vectors(NamedTuple):
    """How a file holds biases and layer norms.

    Attributes:
        output_bias: the output layer has one; it is zeros if not.
        half: all in float16, not in float32.
    """

    output_bias: bool
    half: bool

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> "Vectors":
        """Of the tensors of a file."""
        return cls("output.bias" in tensors, Tensor.of(tensors[A_VECTOR]).dtype == "F16")

    def bytes(self, architecture: Architecture) -> int:
        """Of all of them."""
        return (2 if self.half else 4) * sum(vector_sizes(architecture, output_bias=self.output_bias).values())


def vector_sizes(architecture: Architecture, *, output_bias: bool) -> dict[str, int]:
    """Name -> size of every vector: biases and layer norms."""
    sizes = {
        f"{name}.bias": rows
        for name, (rows, _) in matrix_shapes(architecture).items()
        if name.startswith(("encoder.", "decoder."))
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
    """Runs of columns with scales of their own."""
    return 1 if group_size is None else _ceil_div(columns, group_size)


def plane_rows(segments: Sequence[Segment], plane: int) -> int:
    """Rows that have the plane (from 1): a prefix, as planes never grow from one segment to the next."""
    return max((s.end for s in segments if s.planes >= plane), default=0)


def block_range(segment: Segment) -> tuple[int, int]:
    """The segment's rows widened to whole blocks of 16."""
    return segment.begin // BLOCK_ROWS * BLOCK_ROWS, _ceil_div(segment.end, BLOCK_ROWS) * BLOCK_ROWS


def tensor_specs(
    architecture: Architecture, codes: Codes, stored: Allocation | None, vectors: Vectors
) -> dict[str, TensorSpec]:
    """Every tensor of the file with its data type and shape, in the order of the file.

    `stored` is the allocation of a specialised file; None for a progressive one, which stores every depth for all rows.
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


def matrix_plane_bytes(segments: Sequence[Segment], columns: int) -> int:
    """Bytes of the planes that one matrix's segments touch."""
    blocks = sum(_ceil_div(plane_rows(segments, i), BLOCK_ROWS) for i in range(1, segments[0].planes + 1))
    return blocks * _ceil_div(columns, WORD_COLUMNS) * 4 * BLOCK_ROWS


def matrix_bytes(segments: Sequence[Segment], columns: int, group_size: int | None) -> int:
    """Bytes of the planes and scales that one matrix's segments touch."""
    size = matrix_plane_bytes(segments, columns)
    for segment in segments:
        first, last = block_range(segment)
        size += 2 * segment.planes * num_groups(columns, group_size) * (last - first)
    return size


def model_bytes(architecture: Architecture, group_size: int | None, allocation: Allocation, vectors: Vectors) -> int:
    """Every byte needed to translate, tokenizer aside."""
    shapes = matrix_shapes(architecture)
    coded = sum(matrix_bytes(allocation[name], columns, group_size) for name, (_, columns) in shapes.items())
    return coded + vectors.bytes(architecture)


def bits_per_weight(architecture: Architecture, allocation: Allocation) -> float:
    """Bits of planes for each weight of the coded matrices."""
    shapes = matrix_shapes(architecture)
    weights = sum(rows * columns for rows, columns in shapes.values())
    return 8 * sum(matrix_plane_bytes(allocation[name], columns) for name, (_, columns) in shapes.items()) / weights


def allocation_fault(architecture: Architecture, depth: int, allocation: Allocation) -> str | None:
    """What is wrong with an allocation for this architecture, as a sentence without its full stop; None if nothing."""
    shapes = matrix_shapes(architecture)
    if missing := sorted(shapes.keys() - allocation.keys()):
        return f"the allocation has no planes for the matrix {missing[0]!r}"
    if unknown := sorted(allocation.keys() - shapes.keys()):
        return f"the allocation names the matrix {unknown[0]!r}, which this model does not have"
    for name, segments in allocation.items():
        row, planes = 0, MAX_PLANES + 1
        for segment in segments:
            if segment.begin != row or segment.end <= segment.begin:
                return f"the segments of {name!r} must follow one another from row 0 without gap or overlap"
            if segment.planes < 1:
                return f"{name!r} is to have {segment.planes} planes; the least is 1"
            if segment.planes > depth:
                return f"{name!r} is to have {segment.planes} planes, but the codes are only {depth} planes deep"
            if segment.planes >= planes:
                return f"the planes of {name!r} must fall from one segment to the next"
            row, planes = segment.end, segment.planes
        if row != shapes[name][0]:
            return f"the segments of {name!r} cover {row} rows of {shapes[name][0]}"
    return None


def matching(matrices: Iterable[str], *globs: str) -> list[str]:
    """Matrices that a glob names, in full (`decoder.*.ffn.inner`) or by a block they belong to (`decoder.*.ffn`)."""
    result = []
    for name in matrices:
        parts = name.split(".")
        blocks = [".".join(parts[: n + 1]) for n in range(len(parts))]
        if any(fnmatch.fnmatchcase(block, glob) for glob in globs for block in blocks):
            result.append(name)
    return result


# --- an open directory ------------------------------------------------------------------------------------------------


class Mapped(NamedTuple):
    """A mapped weight file.

    Attributes:
        file: its name.
        weights: what config.json says of it.
        tensors: read-only views.
        memory: what they are views of.
    """

    file: str
    weights: Weights
    tensors: Mapping[str, Tensor]
    memory: mmap.mmap


@dataclass(frozen=True)
class ModelDirectory:
    """An opened and checked model directory.

    Attributes:
        main: model.safetensors.
        specialised: the other weight files by configuration.
    """

    path: Path
    config: ModelConfig
    vocabulary: Vocabulary
    main: Mapped
    specialised: Mapping[str, Mapped]

    def release_pages(self) -> None:
        """Make the mapped files' pages non-resident; what is still in use comes back at its next touch."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in (self.main, *self.specialised.values()):
                mapped.memory.madvise(mmap.MADV_DONTNEED)

    def mapped(self, allocation: Allocation) -> Mapped:
        """The weight file that serves an allocation: one that is specialised to it, else the main one."""
        for name, mapped in self.specialised.items():
            if dict(self.config.configurations[name].allocation) == dict(allocation):
                return mapped
        return self.main

    def version(self, allocation: Allocation) -> str:
        """12 hex digits of the checksum of the weights that serve an allocation."""
        return self.config.checksums[self.mapped(allocation).file][:12]

    def allocation(self, configuration: str) -> Allocation:
        """The allocation of a configuration that config.json names."""
        if configuration not in self.config.configurations:
            known = ", ".join(sorted(self.config.configurations))
            raise UnavailableConfiguration(f"There is no configuration {configuration!r}; this model has {known}.")
        return self.config.configurations[configuration].allocation

    def resolve(self, planes: Mapping[str, int]) -> Allocation:
        """An allocation from ordered globs over matrix names or blocks, last match wins.

        What no glob matches keeps the planes of the default configuration. A glob that matches nothing is an error.
        """
        allocation = dict(self.allocation(self.config.default_configuration))
        for pattern, count in planes.items():
            matched = matching(self.config.matrices, pattern)
            if not matched:
                raise UnavailableConfiguration(f"{pattern!r} matches no matrix of this model.")
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_PLANES:
                raise UnavailableConfiguration(
                    f"{pattern!r} must have a whole number of planes from 1 to {MAX_PLANES}, not {count!r}."
                )
            for name in matched:
                allocation[name] = (Segment(0, self.config.matrices[name].rows, count),)
        self.check(allocation)
        return allocation

    def check(self, allocation: Allocation) -> None:
        """Raises UnavailableConfiguration unless this directory can serve the allocation."""
        mapped = self.mapped(allocation)
        codes = mapped.weights.codes
        if fault := allocation_fault(self.config.architecture, codes.depth, allocation):
            raise UnavailableConfiguration(f"{fault[0].upper()}{fault[1:]}.")
        if codes.kind == "specialised" and mapped is self.main:
            stored = self.config.default_configuration
            if dict(allocation) != dict(self.allocation(stored)):
                raise UnavailableConfiguration(
                    f"This model's codes are specialised to the configuration {stored!r} and serve no other; "
                    "a file with progressive codes serves every narrower configuration."
                )

    def engine_inputs(
        self, allocation: Allocation
    ) -> tuple[dict[str, Tensor], list[tuple[str, int, int, int, int, int]]]:
        """What the engine takes: the tensors used, and segments (matrix, begin, end, planes, scale_begin, group_size).

        `scale_begin` is the row that the first entry of the segment's scales tensor belongs to; group_size 0 = the row.
        """
        self.check(allocation)
        _, weights, tensors, _ = self.mapped(allocation)
        codes = weights.codes
        group_size = codes.group_size or 0
        used, segments = [], []
        for name in weights.matrices:
            used += [f"{name}.plane.{i}" for i in range(1, allocation[name][0].planes + 1)]
            for segment in allocation[name]:
                used.append(f"{name}.scales.{segment.planes}")
                first = 0 if codes.kind == "progressive" else block_range(segment)[0]
                segments.append((name, *segment, first, group_size))
        used += [name for name in tensors if not is_code(name)]
        return {name: tensors[name] for name in used}, segments

    def model_bytes(self, allocation: Allocation) -> int:
        """Every byte needed to translate, tokenizer aside."""
        _, weights, tensors, _ = self.mapped(allocation)
        return model_bytes(self.config.architecture, weights.codes.group_size, allocation, Vectors.of(tensors))

    def union_bytes(self, allocations: Iterable[Allocation]) -> int:
        """Every byte needed to translate with each of these, what several of them share counted once."""
        sharing: dict[str, list[Allocation]] = {}
        for allocation in allocations:
            sharing.setdefault(self.mapped(allocation).file, []).append(allocation)
        return sum(self._shared_bytes(self.mapped(group[0]), group) for group in sharing.values())

    def _shared_bytes(self, mapped: Mapped, group: Sequence[Allocation]) -> int:
        """Of allocations that one file serves."""
        architecture, group_size = self.config.architecture, mapped.weights.codes.group_size
        size = Vectors.of(mapped.tensors).bytes(architecture)
        for name, (_, columns) in matrix_shapes(architecture).items():
            segments = [segment for allocation in group for segment in allocation[name]]
            size += matrix_plane_bytes(sorted(segments, key=lambda segment: -segment.planes), columns)
            scaled = {(segment.planes, row) for segment in segments for row in range(*block_range(segment), BLOCK_ROWS)}
            size += sum(2 * planes * num_groups(columns, group_size) * BLOCK_ROWS for planes, _ in scaled)
        return size

    def bits_per_weight(self, allocation: Allocation) -> float:
        """Bits of planes for each weight of the coded matrices."""
        return bits_per_weight(self.config.architecture, allocation)


def is_code(tensor: str) -> bool:
    """Whether it holds planes or scales; the others are vectors."""
    return ".plane." in tensor or ".scales." in tensor


def open_model(path: str | os.PathLike[str], *, verify: bool = True) -> ModelDirectory:
    """Opens a model directory.

    Args:
        path: the directory.
        verify: also compare the checksums and look for numbers that are not finite, which reads every byte.

    Raises:
        ModelError: with a sentence, whatever is wrong.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise ModelError(f"{directory}: there is no such directory.")
    config_path = directory / CONFIG_FILE
    config = _decode_config(config_path)
    for name in config.checked_files:
        _require_file(directory / name)
        if verify and _sha256(directory / name) != config.checksums[name]:
            raise ModelError(f"{directory / name}: the sha256 differs from the one that {CONFIG_FILE} states.")
    vocabulary = _read_vocabulary(directory / VOCABULARY_FILE, config.architecture)
    stored = None if config.codes.kind == "progressive" else config.default_configuration
    main = _map_weights(directory, config, WEIGHTS_FILE, Weights(config.codes, config.matrices), stored, verify=verify)
    specialised = {
        name: _map_weights(directory, config, weights_file(name), weights, name, verify=verify)
        for name, weights in config.specialised.items()
    }
    opened = ModelDirectory(directory, config, vocabulary, main, types.MappingProxyType(specialised))
    for name, configuration in config.configurations.items():
        expected = opened.model_bytes(configuration.allocation)
        if configuration.bytes != expected:
            raise ModelError(
                f"{config_path}: configurations.{name}.bytes is {configuration.bytes}, "
                f"but its allocation makes {expected}."
            )
    if verify:
        opened.release_pages()  # the pages just read are resident only where they are used again
    return opened


def _map_weights(
    directory: Path, config: ModelConfig, file: str, weights: Weights, stored: str | None, *, verify: bool
) -> Mapped:
    """One weight file; `stored` is the configuration that its codes are specialised to, None for progressive ones."""
    path = directory / file
    _require_file(path)
    try:
        mapped = map_weights(path)
        entries = mapped.entries
        vectors = Vectors("output.bias" in entries, A_VECTOR in entries and entries[A_VECTOR].dtype == "F16")
        tensors = mapped.tensors(weight_specs(config, weights, stored, vectors))
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    for name, tensor in tensors.items():
        if verify and not all_finite(tensor):
            raise ModelError(f"{path}: the tensor {name!r} holds numbers that are not finite.")
    return Mapped(file, weights, types.MappingProxyType(tensors), mapped.memory)


def weight_specs(config: ModelConfig, weights: Weights, stored: str | None, vectors: Vectors) -> dict[str, TensorSpec]:
    """`tensor_specs` of one weight file of a model."""
    allocation = None if stored is None else config.configurations[stored].allocation
    return tensor_specs(config.architecture, weights.codes, allocation, vectors)


# --- reading config.json and vocab.json -------------------------------------------------------------------------------


def _require_file(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path}: the file is missing.")
    if not path.is_file():
        raise ModelError(f"{path}: this is not a regular file.")


def _sha256(path: Path) -> str:
    _require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """A JSON file."""
    try:
        return parse_json(_read_bytes(path))
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None


def _read_bytes(path: Path) -> bytes:
    """Of a JSON file."""
    _require_file(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{path}: the file is larger than {MAX_JSON_BYTES} bytes.")
    return path.read_bytes()


def _decode_config(path: Path) -> ModelConfig:
    document = read_json(path)
    if isinstance(document, dict) and document.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format_version is {document['format_version']!r} and this program reads {FORMAT_VERSION}; "
            "write the directory again with `python -m models quantize`."
        )
    try:
        config: ModelConfig = decode_json(ModelConfig, document, "the document")
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    if fault := config_fault(config):
        raise ModelError(f"{path}: {fault}.")
    return config


def config_fault(config: ModelConfig) -> str | None:
    """What contradicts itself in a config.json of the right types: a sentence without its full stop, or None."""
    return (
        architecture_fault(config.architecture)
        or _names_fault(config)
        or _ids_fault(config)
        or _codes_fault(config)
        or next(filter(None, (_configuration_fault(config, name) for name in config.configurations)), None)
    )


def architecture_fault(architecture: Architecture) -> str | None:
    """What is impossible about an architecture, as a sentence without its full stop; None if nothing."""
    limits = {
        "source_vocab_size": MAX_VOCABULARY,
        "target_vocab_size": MAX_VOCABULARY,
        "encoder_layers": MAX_LAYERS,
        "decoder_layers": MAX_LAYERS,
    }
    for name, value in asdict(architecture).items():
        limit = limits.get(name, MAX_WIDTH)
        if type(value) is int and not 1 <= value <= limit:
            return f"architecture.{name} is {value}, outside 1 to {limit}"
    for heads in ("encoder_heads", "decoder_heads"):
        if architecture.d_model % getattr(architecture, heads):
            return f"architecture.d_model is {architecture.d_model}, which {heads} must divide"
    if architecture.d_model % 2:
        return "architecture.d_model must be even, half sines and half cosines of the positions"
    if not 0 < architecture.norm_epsilon < 1:
        return "architecture.norm_epsilon must lie between 0 and 1"
    if architecture.shared_vocabulary and architecture.source_vocab_size != architecture.target_vocab_size:
        return "a shared vocabulary has one size, but source_vocab_size and target_vocab_size differ"
    return None


def _names_fault(config: ModelConfig) -> str | None:
    for name in (config.name, *config.configurations):
        if not NAME.fullmatch(name):
            return f"{name!r} is not a name: letters, digits, '.', '_' and '-' make one"
    if not config.source_languages or not config.target_languages:
        return "source_languages and target_languages must each name a language"
    if unknown := sorted(config.target_tokens.keys() - set(config.target_languages)):
        return f"target_tokens has {unknown[0]!r}, which is not one of target_languages"
    return None


def _ids_fault(config: ModelConfig) -> str | None:
    source, target = config.architecture.source_vocab_size, config.architecture.target_vocab_size
    ids = config.ids
    limits = [("eos", ids.eos, min(source, target)), ("pad", ids.pad, target), ("unk_source", ids.unk_source, source)]
    limits += [("unk_target", ids.unk_target, target), ("decoder_start", ids.decoder_start, target)]
    limits += [("suppressed", token, target) for token in ids.suppressed]
    for name, token, size in limits:
        if not 0 <= token < size:
            return f"ids.{name} is {token}, outside the vocabulary of {size}"
    if ids.eos in ids.suppressed:
        return "ids.suppressed holds eos, so that no translation could end"
    return None


def _codes_fault(config: ModelConfig) -> str | None:
    if config.default_configuration not in config.configurations:
        return f"default_configuration is {config.default_configuration!r}, which configurations does not have"
    for name, weights in config.specialised.items():
        if name not in config.configurations or weights_file(name) == WEIGHTS_FILE:
            return f"specialised has {name!r}, which is not the name of a configuration with weights of its own"
        if weights.codes.kind != "specialised":
            return f"specialised.{name}.codes.kind must be 'specialised'"
        if fault := _weights_fault(config.architecture, weights, f"specialised.{name}."):
            return fault
    allocations = [dict(config.configurations[name].allocation) for name in config.specialised]
    if any(allocation in allocations[:n] for n, allocation in enumerate(allocations)):
        return "two of the files in specialised are for the same allocation"
    others = config.configurations.keys() - config.specialised.keys() - {config.default_configuration}
    if config.codes.kind == "specialised" and others:
        return "specialised codes serve one configuration, but configurations has several"
    if config.checksums.keys() != set(config.checked_files):
        return f"checksums must state {', '.join(config.checked_files)} and nothing else"
    return _weights_fault(config.architecture, Weights(config.codes, config.matrices), "")


def _weights_fault(architecture: Architecture, weights: Weights, where: str) -> str | None:
    codes = weights.codes
    if not 1 <= codes.depth <= MAX_PLANES:
        return f"{where}codes.depth is {codes.depth}, outside 1 to {MAX_PLANES}"
    if codes.group_size is not None and (codes.group_size < 1 or codes.group_size % WORD_COLUMNS):
        return f"{where}codes.group_size is {codes.group_size}, not a multiple of {WORD_COLUMNS}"
    shapes = matrix_shapes(architecture)
    if unexpected := sorted(shapes.keys() ^ weights.matrices.keys()):
        state = "missing" if unexpected[0] in shapes else "unknown"
        return f"the field {where}matrices.{unexpected[0]} is {state}"
    errors = codes.depth if codes.kind == "progressive" else 1
    for name, matrix in weights.matrices.items():
        if (matrix.rows, matrix.columns) != shapes[name]:
            return (
                f"{where}matrices.{name} is {matrix.rows} x {matrix.columns}, "
                f"but the architecture makes it {shapes[name]}"
            )
        if len(matrix.error) != errors:
            return f"{where}matrices.{name}.error has {len(matrix.error)} entries instead of {errors}"
    return None


def _configuration_fault(config: ModelConfig, name: str) -> str | None:
    configuration = config.configurations[name]
    where, codes = "", config.codes
    if name in config.specialised:
        where, codes = f"specialised.{name}.", config.specialised[name].codes
    if fault := allocation_fault(config.architecture, codes.depth, configuration.allocation):
        return f"configurations.{name}: {fault}"
    deepest = max(segments[0].planes for segments in configuration.allocation.values())
    if codes.kind == "specialised" and deepest != codes.depth:
        return f"{where}codes.depth is {codes.depth}, but the stored allocation has {deepest} planes at most"
    bits = bits_per_weight(config.architecture, configuration.allocation)
    if not math.isclose(configuration.bits_per_weight, bits, abs_tol=1e-6):
        return (
            f"configurations.{name}.bits_per_weight is {configuration.bits_per_weight}, but its allocation makes {bits}"
        )
    return None


@dataclass(frozen=True)
class _VocabularyRows:
    """vocab.json as JSON has it."""

    source: tuple[tuple[str, int], ...]
    target: tuple[tuple[str, int], ...] | None


def _read_vocabulary(path: Path, architecture: Architecture) -> Vocabulary:
    document = _read_bytes(path)
    try:
        vocabulary = scan(document)
        if vocabulary is None:
            rows: _VocabularyRows = decode_json(_VocabularyRows, parse_json(document), "the document")
            vocabulary = Vocabulary(Words.of(rows.source), None if rows.target is None else Words.of(rows.target))
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    if (vocabulary.target is None) != architecture.shared_vocabulary:
        raise ModelError(f"{path}: target must be null if and only if the vocabulary is shared.")
    sides = [("source", vocabulary.source, architecture.source_vocab_size)]
    if vocabulary.target is not None:
        sides.append(("target", vocabulary.target, architecture.target_vocab_size))
    for side, words, size in sides:
        if len(words) != size:
            raise ModelError(f"{path}: {side} has {len(words)} pieces, but the model has {size} rows.")
    return vocabulary


# --- writing ----------------------------------------------------------------------------------------------------------


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _config_bytes(config: ModelConfig) -> bytes:
    """One line a field, matrix and allocated matrix: small, and a diff of two versions reads well."""
    text = json.dumps(asdict(config), indent=1, ensure_ascii=False)
    # Lists of numbers on one line.
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text)
    return (text + "\n").encode()


def write_model(
    path: str | os.PathLike[str],
    config: ModelConfig,
    tensors: Mapping[str, Array],
    vocabulary: Vocabulary,
    files: Mapping[str, bytes],
    *,
    specialised: Mapping[str, Mapping[str, Array]] = types.MappingProxyType({}),
    overwrite: bool = False,
) -> None:
    """Writes a model directory under a new name, checks it, and renames it to `path`.

    A reader never sees half a directory, and one that has the old files mapped keeps them.

    Args:
        path: the directory to be.
        config: its checksums are filled in here.
        tensors: name -> array of the main weight file, in any order.
        vocabulary: the pieces, row by row.
        files: name -> content of the SentencePiece models and README.md.
        specialised: configuration -> tensors of the weights that are specialised to it.
        overwrite: replace a directory that exists.
    """
    target = Path(path)
    if target.is_symlink() or (target.exists() and not (overwrite and target.is_dir())):
        raise ModelError(f"{target}: this exists already.")
    target.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    try:
        new.chmod(0o755)
        stored = None if config.codes.kind == "progressive" else config.default_configuration
        _write_weights(new / WEIGHTS_FILE, config, Weights(config.codes, config.matrices), stored, tensors)
        for name, weights in config.specialised.items():
            _write_weights(new / weights_file(name), config, weights, name, specialised[name])
        _write_file(new / VOCABULARY_FILE, vocabulary.to_json())
        for name, content in files.items():
            _write_file(new / name, content)
        checksums = {name: _sha256(new / name) for name in config.checked_files}
        _write_file(new / CONFIG_FILE, _config_bytes(replace(config, checksums=checksums)))
        open_model(new)
        _sync_directory(new)
        _move_into_place(new, target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _write_weights(
    path: Path, config: ModelConfig, weights: Weights, stored: str | None, tensors: Mapping[str, Array]
) -> None:
    specs = weight_specs(config, weights, stored, Vectors.of(tensors))
    rank = {name: n for n, name in enumerate(specs)}
    write_weights(path, dict(sorted(tensors.items(), key=lambda item: rank.get(item[0], len(rank)))))


def _move_into_place(new: Path, target: Path) -> None:
    """Renames `new` to `target`; an old directory goes out of the way first, and back if that fails."""
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
        target.replace(old)
    try:
        new.rename(target)
    except OSError:
        if old is not None:
            old.rename(target)
        raise
    _sync_directory(target.parent)
    if old is not None:
        shutil.rmtree(old)


def write_config(path: str | os.PathLike[str], config: ModelConfig) -> None:
    """Replaces config.json of an existing directory at once, for facts measured later; the weights stay untouched."""
    if fault := config_fault(config):
        raise ModelError(f"{Path(path) / CONFIG_FILE}: {fault}.")
    descriptor, name = tempfile.mkstemp(prefix=f".{CONFIG_FILE}.", dir=path)
    os.close(descriptor)
    new = Path(name)
    try:
        _write_file(new, _config_bytes(config))
        new.chmod(0o644)
        new.replace(Path(path) / CONFIG_FILE)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        raise
    _sync_directory(Path(path))
