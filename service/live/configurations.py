"""The configurations of a model as an administrator sees them: how to choose one, what it costs, how good it is."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from models.format.directory import ModelDirectory
from models.format.layout import is_code, matrix_bytes
from models.format.schema import Allocation, Configuration, UnavailableConfiguration

CUSTOM = "custom"  # explicit planes are named custom- and eight hex digits of their allocation
BLEU_TO_WARN = 2.0


class Choice(NamedTuple):
    """A configuration that its directory can serve: the name in replies, and its planes. Names are unique."""

    name: str
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class ConfigurationChoice:
    """An administrator's choice of a configuration: exactly one field is set.

    `planes` maps globs over matrices or blocks to numbers of planes, the last match wins.
    """

    name: str | None = None
    planes: Mapping[str, int] | None = None
    memory_budget_bytes: int | None = None


class Block(NamedTuple):
    """A block of the model, or one layer of it; planes are the counts in use, most first."""

    planes: list[int]
    bytes: int


def choose(directory: ModelDirectory, asked: ConfigurationChoice) -> Choice:
    """Find the configuration that was asked for.

    Raises:
        UnavailableConfiguration: the directory cannot serve it, or none fits the budget.
    """
    if asked.name is not None:
        return by_name(directory, asked.name)
    if asked.planes is not None:
        return by_planes(directory, asked.planes)
    if asked.memory_budget_bytes is not None:
        return by_budget(directory, asked.memory_budget_bytes)
    raise ValueError("One of name, planes and memory_budget_bytes must be set.")


def by_name(directory: ModelDirectory, name: str) -> Choice:
    """Choose a configuration of the directory. Raises UnavailableConfiguration."""
    allocation = directory.allocation(name)
    directory.check(allocation)
    return Choice(name, allocation)


def by_planes(directory: ModelDirectory, planes: Mapping[str, int]) -> Choice:
    """Choose planes by globs over matrices or blocks, the last match wins. Raises UnavailableConfiguration."""
    return _custom(directory.resolve(planes))


def by_allocation(directory: ModelDirectory, allocation: Allocation) -> Choice:
    """Choose planes row by row. Raises UnavailableConfiguration."""
    directory.check(allocation)
    return _custom(allocation)


def by_budget(directory: ModelDirectory, budget_bytes: int) -> Choice:
    """Choose the best measured BLEU among the configurations that fit; the largest where nothing was measured.

    Raises:
        UnavailableConfiguration: no configuration fits; the sentence names the smallest.
    """
    usable = {
        name: configuration
        for name, configuration in directory.config.configurations.items()
        if unavailable(directory, configuration) is None
    }
    fitting = {name: configuration for name, configuration in usable.items() if configuration.bytes <= budget_bytes}
    if not fitting:
        smallest = min(usable, key=lambda name: usable[name].bytes)
        raise UnavailableConfiguration(
            f"No configuration fits {budget_bytes} bytes; the smallest, {smallest}, takes {usable[smallest].bytes}."
        )
    best = max(fitting, key=lambda name: (_bleu_or_lowest(fitting[name].quality), fitting[name].bytes))
    return Choice(best, fitting[best].allocation)


def unavailable(directory: ModelDirectory, configuration: Configuration) -> str | None:
    """Say why the directory cannot serve the configuration; None if it can."""
    try:
        directory.check(configuration.allocation)
    except UnavailableConfiguration as error:
        return str(error)
    return None


def quality(directory: ModelDirectory, name: str) -> Mapping[str, Mapping[str, float]]:
    """Return the measured quality by test set; empty for explicit planes and where nothing was measured."""
    configuration = directory.config.configurations.get(name)
    return configuration.quality if configuration else {}


def warning(directory: ModelDirectory, name: str) -> str | None:
    """Return a sentence if the quality of the configuration is bad or unknown."""
    measured = bleu(quality(directory, name))
    if measured is None:
        return f"The quality of {name} has not been measured."
    figures = {other: bleu(configuration.quality) for other, configuration in directory.config.configurations.items()}
    best, best_bleu = max(
        ((other, figure) for other, figure in figures.items() if figure is not None), key=lambda item: item[1]
    )
    if best_bleu - measured <= BLEU_TO_WARN:
        return None
    return f"{name} translates badly: {measured:.1f} BLEU measured, where {best} has {best_bleu:.1f}."


def bleu(figures: Mapping[str, Mapping[str, float]]) -> float | None:
    """Return the mean BLEU over the test sets; None if unmeasured."""
    values = [metrics["bleu"] for metrics in figures.values() if "bleu" in metrics]
    return sum(values) / len(values) if values else None


def blocks(directory: ModelDirectory, allocation: Allocation) -> dict[str, tuple[Block, dict[int, Block]]]:
    """Return for each block the whole of it and its layers by number; the bytes add up to the model's."""
    cells: dict[tuple[str, int], tuple[set[int], int]] = {}

    def add(tensor: str, planes: set[int], size: int) -> None:
        key = _block_and_layer(tensor)
        known_planes, known_size = cells.get(key, (set(), 0))
        cells[key] = (known_planes | planes, known_size + size)

    _, weights, tensors, _ = directory.mapped(allocation)
    for name, matrix in weights.matrices.items():
        segments = allocation[name]
        size = matrix_bytes(segments, matrix.columns, weights.codes.group_size)
        add(name, {segment.planes for segment in segments}, size)
    for name, tensor in tensors.items():
        if not is_code(name):
            add(name, set(), tensor.nbytes)

    result: dict[str, tuple[Block, dict[int, Block]]] = {}
    for (block, layer), (planes, size) in cells.items():
        whole, layers = result.get(block, (Block([], 0), {}))
        whole = Block(sorted(planes.union(whole.planes), reverse=True), whole.bytes + size)
        if layer >= 0:
            layers[layer] = Block(sorted(planes, reverse=True), size)
        result[block] = (whole, layers)
    return result


def _block_and_layer(tensor: str) -> tuple[str, int]:
    """Split decoder.0.ffn.inner into ("decoder.ffn", 0); a tensor outside of the layers gets -1."""
    parts = tensor.split(".")
    if parts[0].endswith("embedding"):
        return "embedding", -1
    if parts[0] == "output":
        return "output", -1
    if parts[1] == "norm":  # the final norm of a pre-norm stack
        return f"{parts[0]}.norm", -1
    return f"{parts[0]}.{parts[2]}", int(parts[1])


def _custom(allocation: Allocation) -> Choice:
    digest = hashlib.sha256(repr(sorted(allocation.items())).encode()).hexdigest()
    return Choice(f"{CUSTOM}-{digest[:8]}", allocation)


def _bleu_or_lowest(figures: Mapping[str, Mapping[str, float]]) -> float:
    measured = bleu(figures)
    return -1.0 if measured is None else measured
