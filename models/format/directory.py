"""The model directory, opened and checked. The server reads it with this, so there is no numpy in it.

`docs/design.md` describes the format. Whatever a directory holds that is not expected is a `ModelError`, one sentence
that names the file and the fault; what passes may be handed to the engine without another look.
"""

import mmap
import os
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from kernels.engine import Engine, InvalidModel, MatrixSegment
from kernels.tensor import Tensor
from models.format.faults import allocation_fault, config_fault
from models.format.files import read_json, require_file, sha256
from models.format.layout import (
    A_VECTOR,
    Vectors,
    bits_per_weight,
    block_range,
    is_code,
    matching,
    matrix_plane_bytes,
    matrix_shapes,
    model_bytes,
    num_groups,
    weight_specs,
)
from models.format.schema import (
    BLOCK_ROWS,
    CONFIG_FILE,
    FORMAT_VERSION,
    MAX_PLANES,
    SHORTLIST_FILE,
    VOCABULARY_FILES,
    WEIGHTS_FILE,
    Allocation,
    ModelConfig,
    ModelError,
    Segment,
    UnavailableConfiguration,
    Weights,
    weights_file,
)
from models.format.shortlist import MappedShortlist, read_shortlist
from models.format.typed_json import decode_json
from models.format.vocabulary import Vocabulary, read_vocabulary
from models.format.weights import all_finite, map_weights, release_pages


class FileState(NamedTuple):
    """What tells that a file was written to after it was opened."""

    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return the present state of a file. Raises OSError."""
        stat = path.stat()
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns)


class Mapped(NamedTuple):
    """A mapped weight file.

    Attributes:
        file: its name.
        weights: its record in config.json.
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
        shortlist: shortlist.safetensors; None if there is none.
        mapped_files: the states of the files that are mapped, by path; none where they were read into memory.
    """

    path: Path
    config: ModelConfig
    vocabulary: Vocabulary
    main: Mapped
    specialised: Mapping[str, Mapped]
    shortlist: MappedShortlist | None
    mapped_files: Mapping[Path, FileState]

    def altered_file(self) -> Path | None:
        """Return a mapped file that was written to in place since it was opened.

        The engine then computes with what the file holds now, or the process ends where it has become shorter. A file
        that was removed or replaced by another is not one: who has it mapped keeps the old content.
        """
        for path, opened in self.mapped_files.items():
            try:
                state = FileState.of(path)
            except OSError:
                continue
            if state.inode == opened.inode and state != opened:
                return path
        return None

    def release_pages(self) -> None:
        """Make the mapped files' pages non-resident; what is still in use comes back at its next touch."""
        for mapped in (self.main, *self.specialised.values()):
            release_pages(mapped.memory)
        if self.shortlist is not None:
            release_pages(self.shortlist.memory)

    def mapped(self, allocation: Allocation) -> Mapped:
        """Return the weight file that serves an allocation: one that is specialised to it, else the main one."""
        for name, mapped in self.specialised.items():
            if dict(self.config.configurations[name].allocation) == dict(allocation):
                return mapped
        return self.main

    def version(self, allocation: Allocation) -> str:
        """Return 12 hex digits of the checksum of the weights that serve an allocation."""
        return self.config.checksums[self.mapped(allocation).file][:12]

    def allocation(self, configuration: str) -> Allocation:
        """Return the allocation of a configuration.

        Raises:
            UnavailableConfiguration: config.json does not name it.
        """
        if configuration not in self.config.configurations:
            known = ", ".join(sorted(self.config.configurations))
            raise UnavailableConfiguration(f"There is no configuration {configuration!r}; this model has {known}.")
        return self.config.configurations[configuration].allocation

    def resolve(self, planes: Mapping[str, int]) -> Allocation:
        """Make an allocation from ordered globs over matrix names or blocks; the last match wins.

        What no glob matches keeps the planes of the default configuration.

        Raises:
            UnavailableConfiguration: a glob matches nothing, or this directory can't serve the allocation.
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
        """Check that this directory can serve an allocation.

        Raises:
            UnavailableConfiguration: it can't.
        """
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

    def engine(self, allocation: Allocation | None = None) -> Engine:
        """Build the engine of an allocation over the mapped tensors; None = that of the default configuration.

        Raises:
            UnavailableConfiguration: this directory can't serve the allocation.
            ModelError: the engine refuses what the directory holds.
        """
        if allocation is None:
            allocation = self.allocation(self.config.default_configuration)
        tensors, segments = self.engine_inputs(allocation)
        if self.shortlist is not None:
            tensors |= self.shortlist.tensors
        try:
            return Engine(asdict(self.config.architecture), asdict(self.config.ids), tensors, segments)
        except InvalidModel as error:
            raise ModelError(f"{self.path}: the engine refuses it: {error}") from None

    def engine_inputs(self, allocation: Allocation) -> tuple[dict[str, Tensor], list[MatrixSegment]]:
        """Return the tensors that an allocation uses, and the segments of its matrices.

        Raises:
            UnavailableConfiguration: this directory can't serve the allocation.
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
                segments.append(MatrixSegment(name, *segment, first, group_size))
        used += [name for name in tensors if not is_code(name)]
        return {name: tensors[name] for name in used}, segments

    def model_bytes(self, allocation: Allocation) -> int:
        """Count every byte needed to translate with an allocation, tokenizer aside."""
        _, weights, tensors, _ = self.mapped(allocation)
        return model_bytes(self.config.architecture, weights.codes.group_size, allocation, Vectors.of(tensors))

    def union_bytes(self, allocations: Iterable[Allocation]) -> int:
        """Count every byte needed to translate with each of several allocations; what they share counts once."""
        sharing: dict[str, list[Allocation]] = {}
        for allocation in allocations:
            sharing.setdefault(self.mapped(allocation).file, []).append(allocation)
        return sum(self._shared_bytes(self.mapped(group[0]), group) for group in sharing.values())

    def _shared_bytes(self, mapped: Mapped, group: Sequence[Allocation]) -> int:
        """Count the bytes of allocations that one file serves."""
        architecture, group_size = self.config.architecture, mapped.weights.codes.group_size
        size = Vectors.of(mapped.tensors).bytes(architecture)
        for name, (_, columns) in matrix_shapes(architecture).items():
            segments = [segment for allocation in group for segment in allocation[name]]
            size += matrix_plane_bytes(sorted(segments, key=lambda segment: -segment.planes), columns)
            scaled = {(segment.planes, row) for segment in segments for row in range(*block_range(segment), BLOCK_ROWS)}
            size += sum(2 * planes * num_groups(columns, group_size) * BLOCK_ROWS for planes, _ in scaled)
        return size

    def bits_per_weight(self, allocation: Allocation) -> float:
        """Return the bits of planes for each weight of the coded matrices."""
        return bits_per_weight(self.config.architecture, allocation)


def open_model(path: str | os.PathLike[str], *, verify: bool = True, in_memory: bool = False) -> ModelDirectory:
    """Open a model directory.

    Args:
        path: the directory.
        verify: also compare the checksums and look for numbers that are not finite, which reads every byte.
        in_memory: read the weights and the vocabulary instead of mapping their files, which may then be written to.

    Raises:
        ModelError: something is wrong; one sentence.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise ModelError(f"{directory}: there is no such directory.")
    config_path = directory / CONFIG_FILE
    config = _decode_config(config_path)
    names = () if in_memory else (*config.weight_files, config.vocabulary_file, SHORTLIST_FILE)
    states = {}
    for name in config.checked_files:
        require_file(directory / name)
        if name in names:
            states[directory / name] = FileState.of(directory / name)
        if verify and sha256(directory / name) != config.checksums[name]:
            raise ModelError(f"{directory / name}: the sha256 differs from the one that {CONFIG_FILE} states.")
    vocabulary = read_vocabulary(directory / config.vocabulary_file, config.architecture, in_memory=in_memory)
    shortlist = None
    if config.shortlist is not None:
        shortlist = read_shortlist(directory / SHORTLIST_FILE, config.architecture, in_memory=in_memory)
    stored = None if config.codes.kind == "progressive" else config.default_configuration
    how = {"verify": verify, "in_memory": in_memory}
    main = _map_weights(directory, config, WEIGHTS_FILE, Weights(config.codes, config.matrices), stored, **how)
    specialised = {
        name: _map_weights(directory, config, weights_file(name), weights, name, **how)
        for name, weights in config.specialised.items()
    }
    others = types.MappingProxyType(specialised)
    opened = ModelDirectory(directory, config, vocabulary, main, others, shortlist, states)
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
    directory: Path,
    config: ModelConfig,
    file: str,
    weights: Weights,
    stored: str | None,
    *,
    verify: bool,
    in_memory: bool,
) -> Mapped:
    """Map one weight file; `stored` is the configuration that its codes are specialised to, None for progressive."""
    path = directory / file
    require_file(path)
    try:
        mapped = map_weights(path, in_memory=in_memory)
        entries = mapped.entries
        vectors = Vectors("output.bias" in entries, A_VECTOR in entries and entries[A_VECTOR].dtype == "F16")
        tensors = mapped.tensors(weight_specs(config, weights, stored, vectors))
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    for name, tensor in tensors.items():
        if verify and not all_finite(tensor):
            raise ModelError(f"{path}: the tensor {name!r} holds numbers that are not finite.")
    return Mapped(file, weights, types.MappingProxyType(tensors), mapped.memory)


def _decode_config(path: Path) -> ModelConfig:
    document = read_json(path)
    version = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version not in VOCABULARY_FILES:
        advice = (
            "a newer release of it may"
            if version > FORMAT_VERSION
            else "write the directory again with `python -m models quantize`"
        )
        raise ModelError(
            f"{path}: format_version is {version}, which this program does not read "
            f"({', '.join(map(str, VOCABULARY_FILES))}); {advice}."
        )
    try:
        config: ModelConfig = decode_json(ModelConfig, document, "the document")
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    if fault := config_fault(config):
        raise ModelError(f"{path}: {fault}.")
    return config
