"""Warm start: a retraining begins with an earlier one's weights and scales, plus the teacher's weight delta.

The fp32 model that codes were distilled from may be trained further. A retraining from the new model need not start
afresh: the old run's weights, plus the difference between the new teacher and the old one, are already near it (task
arithmetic: Ilharco et al. 2023, arXiv 2212.04089), and the scales still fit.

A configuration of more planes can begin as one of fewer. Weights of few planes lie on few values, for which the scales
of least error of further planes are 0, and planes of no scale hardly learn; noise spreads the weights again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.codes.bit_config import BitConfig, find_config
from models.format.directory import ModelDirectory, open_model
from models.format.layout import block_range
from models.format.schema import Allocation, Segment
from models.format.vocabulary import Vocabulary
from models.marian.checkpoint import Checkpoint
from models.marian.coded import dequantize
from models.marian.read import read_checkpoint
from models.marian.rows import sort_rows
from models.train.recipe import Codes, RecipeError, located
from models.train.state import averages


@dataclass(frozen=True)
class WarmStart:
    """Weights and scales of an earlier retraining, of the configuration in training or of a wider one.

    Attributes:
        tensors: first values of matrices and vectors; a model directory has no biases of the output that are all 0.
        allocation: of the codes.
        learned: their scales, `M.scales.k` -> [planes, rows]; of progressive codes those of every prefix.
    """

    tensors: Mapping[str, Tensor]
    allocation: Allocation
    learned: Mapping[str, Tensor]

    def scales(self, name: str, segments: Sequence[Segment]) -> dict[int, Tensor] | None:
        """Return planes -> scales [planes, rows] of a matrix's segments; None if the earlier segments are others."""
        if list(self.allocation[name]) != list(segments):
            return None
        return {segment.planes: self.learned[f"{name}.scales.{segment.planes}"] for segment in segments}

    def nested(self, name: str, depth: int) -> dict[int, Tensor]:
        """Return planes -> scales [planes, rows] of every prefix of a matrix's progressive codes."""
        return {planes: self.learned[f"{name}.scales.{planes}"] for planes in range(1, depth + 1)}


def read_warm_start(
    codes: Codes, base: BitConfig, checkpoint: Checkpoint, vocabulary: Vocabulary, shared: Path, seed: int
) -> WarmStart | None:
    """Read the warm start of a recipe; None if it begins with the checkpoint.

    Args:
        codes: of the recipe.
        base: the configuration in training.
        checkpoint: the fp32 model, its rows sorted by the counts of their pieces.
        vocabulary: its pieces, with their counts.
        shared: the folder of corpus/ and checkpoint/.
        seed: of the noise.

    Raises:
        RecipeError: the codes are missing, or belong to another model or configuration.
    """
    if codes.begin is None:
        if codes.begin_config or codes.begin_teacher:
            raise RecipeError(
                "codes.begin_config and codes.begin_teacher are of a warm start: add codes.begin, or --begin DIR."
            )
        return None
    path = located(codes.begin, shared)
    config = find_config(codes.begin_config) if codes.begin_config else base
    allocation = config.allocation(checkpoint.architecture)
    values = averages(path)
    if values is None:
        warm_start = _of_model(path, codes, config.name, allocation, checkpoint, vocabulary)
    else:
        warm_start = _of_run(path, codes, config.name, allocation, values)
    if codes.spread:
        warm_start = _spread(warm_start, base.allocation(checkpoint.architecture), codes.spread, seed)
    if codes.begin_teacher is None:
        return warm_start
    teacher = _sorted_alike(read_checkpoint(located(codes.begin_teacher, shared)), checkpoint, vocabulary)
    if teacher is None:
        raise RecipeError(f"{codes.begin_teacher}: the former teacher is not such a model, or has other pieces.")
    moved = {
        name: value + (checkpoint.tensors[name] - teacher.tensors[name]) for name, value in warm_start.tensors.items()
    }
    return replace(warm_start, tensors=moved)


def _spread(warm_start: WarmStart, allocation: Allocation, share: float, seed: int) -> WarmStart:
    """Add noise to the weights of the rows that get more planes, uniform up to `share` of their smallest scale."""
    generator = torch.Generator().manual_seed(seed)
    tensors = dict(warm_start.tensors)
    for name, segments in allocation.items():
        before = warm_start.allocation[name]
        smallest = torch.cat([warm_start.learned[f"{name}.scales.{s.planes}"].abs().amin(0) for s in before])
        reach = torch.where(_planes(segments) > _planes(before), share * smallest, 0.0)[:, None]
        noise = torch.rand(tensors[name].shape, generator=generator) * 2 - 1
        tensors[name] = tensors[name] + reach * noise
    return replace(warm_start, tensors=tensors)


def _planes(segments: Sequence[Segment]) -> Tensor:
    """Return the number of planes of each row: [rows]."""
    return torch.cat([torch.full((s.end - s.begin,), s.planes) for s in segments])


def _sorted_alike(teacher: Checkpoint, checkpoint: Checkpoint, vocabulary: Vocabulary) -> Checkpoint | None:
    """Return the teacher, rows in the order of the checkpoint; None if it is another model or reads text otherwise."""
    if teacher.architecture != checkpoint.architecture or teacher.spm != checkpoint.spm:
        return None
    source, target = dict(vocabulary.source), dict(vocabulary.target_pieces)
    try:
        source_counts = [source[piece] for piece in teacher.source_pieces]
        target_counts = None if teacher.target_pieces is None else [target[piece] for piece in teacher.target_pieces]
    except KeyError:
        return None
    result, pieces = sort_rows(teacher, source_counts, target_counts)
    return result if pieces == vocabulary else None


def _of_model(
    path: Path, codes: Codes, config: str, allocation: Allocation, checkpoint: Checkpoint, vocabulary: Vocabulary
) -> WarmStart:
    """Return the values of a model directory's codes."""
    model = open_model(path)
    model.check(allocation)
    kind = "progressive" if codes.prefix else "specialised"
    if model.mapped(allocation).weights.codes.kind != kind or model.config.architecture != checkpoint.architecture:
        raise RecipeError(f"{path}: this has no {kind} codes of {config!r} for such a checkpoint.")
    if model.vocabulary != vocabulary:
        raise RecipeError(f"{path}: its pieces, or their order, are not those of the checkpoint.")
    return of_codes(model, allocation)


def of_codes(model: ModelDirectory, allocation: Allocation) -> WarmStart:
    """Return the values and scales of the codes of a model directory."""
    mapped = model.mapped(allocation)
    is_nested = mapped.weights.codes.kind == "progressive"
    scales = {}
    for name, segments in allocation.items():
        for segment in segments:
            first = 0 if is_nested else block_range(segment)[0]  # progressive codes have scales for all rows
            for planes in range(1 if is_nested else segment.planes, segment.planes + 1):
                key = f"{name}.scales.{planes}"
                rows = np.asarray(mapped.tensors[key])[:, 0, segment.begin - first : segment.end - first]
                scales[key] = torch.from_numpy(rows.astype(np.float32))
    return WarmStart(dequantize(model, allocation), allocation, scales)


def _of_run(path: Path, codes: Codes, config: str, allocation: Allocation, values: Mapping[str, Tensor]) -> WarmStart:
    """Return the averages of a run, before they are coded."""
    scales = {name: value for name, value in values.items() if ".scales." in name}
    wanted = {
        f"{name}.scales.{planes}": (planes, segment.end - segment.begin)
        for name, segments in allocation.items()
        for segment in segments
        for planes in range(1 if codes.prefix else segment.planes, segment.planes + 1)
    }
    if {name: tuple(value.shape) for name, value in scales.items()} != wanted:
        raise RecipeError(f"{path}: this run's scales are not those of {config!r}.")
    return WarmStart({name: value for name, value in values.items() if name not in scales}, allocation, scales)
