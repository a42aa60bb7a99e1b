"""Three ways to train a matrix towards its binary codes.

StraightThrough   weights and scales are learned, the network sees the nearest code (straight-through estimator)
Nested            the same, for codes whose every prefix of planes is a model of its own
Replacement       pnr, the paper's: float weights train and are replaced by their codes every `period` steps
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from kernels.tensor import Array
from models.codes import bcq
from models.codes.straight_through import binary_code, coded
from models.format.schema import Allocation, Matrix, Segment
from models.quantize.export import pack_progressive, pack_specialised
from models.train.recipe import Codes, RecipeError
from models.train.warm_start import WarmStart

MatrixCodes = list[bcq.BinaryCode]  # one a segment; one of all rows if nested


class Method(Protocol):
    """A way to code matrices while they train.

    Attributes:
        kind: of the codes, as a model directory names it.
        scales: parameters of the method, `M.scales.k`.
        depth: most planes of a matrix.
    """

    kind: Literal["progressive", "specialised"]
    depth: int

    @property
    def scales(self) -> Mapping[str, nn.Parameter]: ...

    def begin(self, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> list[str]:
        """Begin to code matrices; return the names of the parameters that this gave new values."""

    def seen(self, name: str, weights: Tensor, step: int) -> Tensor:
        """Return what the network computes with in place of a coded matrix, differentiable."""

    def after_step(self, step: int, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> None:
        """Follow step number `step`, from 1, of the optimizer."""

    def codes(self, name: str, values: Mapping[str, Tensor]) -> MatrixCodes:
        """Return the codes of a matrix."""

    def versions(self, codes: Mapping[str, MatrixCodes]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield a label and the values of the coded matrices for each model that the codes hold, the best first."""

    def pack(self, name: str, weights: Tensor, codes: MatrixCodes) -> tuple[dict[str, Array], Matrix]:
        """Return the tensors of a model file, and shape and error of the matrix."""


def method_of(codes: Codes, allocation: Allocation, seed: int, warm_start: WarmStart | None) -> Method:
    """Return the method of a recipe.

    Args:
        codes: of the recipe.
        allocation: matrix -> its segments, by the bit configuration in training.
        seed: of the recipe.
        warm_start: learned scales to begin with.

    Raises:
        RecipeError: nested codes are asked for a configuration that is not flat, or have no scales to learn from.
    """
    if codes.method == "pnr":
        return Replacement(codes, allocation)
    if codes.prefix:
        return Nested(codes, allocation, seed, warm_start)
    return StraightThrough(codes, allocation, warm_start)


class StraightThrough:
    """The network sees the nearest code of learned scales; gradients pass straight through to weights and scales."""

    kind: Literal["progressive", "specialised"] = "specialised"

    def __init__(self, codes: Codes, allocation: Allocation, warm_start: WarmStart | None) -> None:
        self._clip, self._allocation, self._warm_start = codes.clip, allocation, warm_start
        self.depth = deepest(allocation)
        self.scales = {
            f"{name}.scales.{s.planes}": nn.Parameter(torch.zeros(s.planes, s.end - s.begin))
            for name, segments in allocation.items()
            for s in segments
        }

    @torch.no_grad()
    def begin(self, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> list[str]:
        """Begin with the learned scales of the warm start, or else with those of least error for the weights."""
        started = []
        with _progress(matrices, parameters) as bar:
            for name in matrices:
                segments, weights = self._allocation[name], parameters[name].detach()
                scales = self._warm_start and self._warm_start.scales(name, segments)
                if not scales:
                    parts = {s.planes: weights[s.begin : s.end].cpu() for s in segments}
                    scales = {
                        planes: bcq.specialised(part, planes, advance=bar.update).scales[planes][:, 0]
                        for planes, part in parts.items()
                    }
                for planes, alpha in scales.items():
                    self.scales[f"{name}.scales.{planes}"].copy_(alpha)
                    started.append(f"{name}.scales.{planes}")
        return started

    def seen(self, name: str, weights: Tensor, step: int) -> Tensor:
        """Return the nearest code of every segment."""
        segments = self._allocation[name]
        parts = torch.split(weights, [s.end - s.begin for s in segments])
        seen = [
            coded(part, self.scales[f"{name}.scales.{s.planes}"], clip=self._clip)
            for part, s in zip(parts, segments, strict=True)
        ]
        return torch.cat(seen) if len(seen) > 1 else seen[0]

    def after_step(self, step: int, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> None:
        """Do nothing after a step."""

    def codes(self, name: str, values: Mapping[str, Tensor]) -> MatrixCodes:
        """Return the code of every segment."""
        return [
            binary_code(values[name][s.begin : s.end], {s.planes: values[f"{name}.scales.{s.planes}"]})
            for s in self._allocation[name]
        ]

    def versions(self, codes: Mapping[str, MatrixCodes]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield the one model of these codes."""
        yield "", {name: dequantized(each, self._allocation[name]) for name, each in codes.items()}

    def pack(self, name: str, weights: Tensor, codes: MatrixCodes) -> tuple[dict[str, Array], Matrix]:
        """Pack specialised codes."""
        return pack_specialised(name, weights, self._allocation[name], codes)


class Nested:
    """Straight-through codes of which every prefix of planes has scales of its own; each step draws a width."""

    kind: Literal["progressive", "specialised"] = "progressive"

    def __init__(self, codes: Codes, allocation: Allocation, seed: int, warm_start: WarmStart | None) -> None:
        """Make scales for every prefix of planes.

        Args:
            codes: of the recipe.
            allocation: matrix -> its one segment, of the whole depth.
            seed: of the recipe.
            warm_start: learned scales to begin with.

        Raises:
            RecipeError: the configuration is not flat, or there are no scales to learn from.
        """
        if len({s.planes for segments in allocation.values() for s in segments}) > 1:
            raise RecipeError(f"codes.prefix wants a flat configuration, which {codes.config!r} is not.")
        if codes.learn == "scales" and not warm_start:
            raise RecipeError("codes.learn = 'scales' wants the codes to begin with: add codes.begin, or --begin DIR.")
        self._clip, self._learn, self._seed = codes.clip, codes.learn, seed
        self._warm_start, self.depth = warm_start, deepest(allocation)
        self.scales = {
            f"{name}.scales.{planes}": nn.Parameter(torch.zeros(planes, segments[-1].end))
            for name, segments in allocation.items()
            for planes in range(1, self.depth + 1)
        }

    def planes(self, step: int) -> int:
        """Return the number of planes of a step, a function of seed and step."""
        return int(np.random.default_rng([self._seed, step]).integers(1, self.depth, endpoint=True))

    @torch.no_grad()
    def begin(self, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> list[str]:
        """Begin with the learned scales of the warm start, or else with those of progressive codes of the weights."""
        started = []
        with _progress(matrices, parameters) as bar:
            for name in matrices:
                if self._warm_start:
                    scales = self._warm_start.nested(name, self.depth)
                else:
                    code = bcq.progressive(parameters[name].detach().cpu(), self.depth, advance=bar.update)
                    scales = {planes: alpha[:, 0] for planes, alpha in code.scales.items()}
                for planes, alpha in scales.items():
                    self.scales[f"{name}.scales.{planes}"].copy_(alpha)
                    started.append(f"{name}.scales.{planes}")
        return started

    def _depth_scales(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """Return the scales that planes follow from: where scales alone learn, those of the warm start."""
        if self._learn == "scales" and self._warm_start:
            values = self._warm_start.learned
        return values[f"{name}.scales.{self.depth}"]

    def seen(self, name: str, weights: Tensor, step: int) -> Tensor:
        """Return the code of the step's planes, which follow from scales of the whole depth."""
        alpha = self.scales[f"{name}.scales.{self.planes(step)}"]
        return coded(weights, alpha, self._depth_scales(name, self.scales), self._clip)

    def after_step(self, step: int, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> None:
        """Do nothing after a step."""

    def codes(self, name: str, values: Mapping[str, Tensor]) -> MatrixCodes:
        """Return the one nested code."""
        scales = {planes: values[f"{name}.scales.{planes}"] for planes in range(1, self.depth + 1)}
        return [binary_code(values[name], scales, self._depth_scales(name, values))]

    def versions(self, codes: Mapping[str, MatrixCodes]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield the model of every width, the widest first."""
        for planes in range(self.depth, 0, -1):
            yield f"{planes} planes", {name: code.dequantize(planes) for name, (code,) in codes.items()}

    def pack(self, name: str, weights: Tensor, codes: MatrixCodes) -> tuple[dict[str, Array], Matrix]:
        """Pack a progressive code."""
        return pack_progressive(name, weights, codes[0])


class Replacement:
    """Float weights train; every `period` steps their codes' values replace them (pnr)."""

    kind: Literal["progressive", "specialised"] = "specialised"

    def __init__(self, codes: Codes, allocation: Allocation) -> None:
        self.scales: dict[str, nn.Parameter] = {}
        self._solver, self._period, self._allocation = codes.solver, codes.period, allocation
        self.depth = deepest(allocation)

    @torch.no_grad()
    def begin(self, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> list[str]:
        """Replace the weights by the values of their codes."""
        for name in matrices:
            parameters[name].copy_(
                dequantized(self._solve(name, parameters[name].detach().cpu()), self._allocation[name])
            )
        return list(matrices)

    def seen(self, name: str, weights: Tensor, step: int) -> Tensor:
        """Return the weights themselves."""
        return weights

    def after_step(self, step: int, matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> None:
        """Replace the weights every `period` steps."""
        if step % self._period == 0:
            self.begin(matrices, parameters)

    def codes(self, name: str, values: Mapping[str, Tensor]) -> MatrixCodes:
        """Return the codes of the weights as they are."""
        return self._solve(name, values[name])

    def versions(self, codes: Mapping[str, MatrixCodes]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield the one model of these codes."""
        yield "", {name: dequantized(each, self._allocation[name]) for name, each in codes.items()}

    def pack(self, name: str, weights: Tensor, codes: MatrixCodes) -> tuple[dict[str, Array], Matrix]:
        """Pack specialised codes."""
        return pack_specialised(name, weights, self._allocation[name], codes)

    def _solve(self, name: str, weights: Tensor) -> MatrixCodes:
        return [
            bcq.specialised(weights[s.begin : s.end], s.planes, solver=self._solver) for s in self._allocation[name]
        ]


def _progress(matrices: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> "tqdm[object]":
    """Make the bar of the weights that a training's first scales are solved for: minutes at 58,000 words."""
    total = sum(parameters[name].numel() for name in matrices)
    return tqdm(total=total, desc="scales to begin with", unit="weight", unit_scale=True, leave=False)


def dequantized(codes: MatrixCodes, segments: Sequence[Segment]) -> Tensor:
    """Return the values of a matrix whose segments have these codes."""
    return torch.cat([code.dequantize(s.planes) for code, s in zip(codes, segments, strict=True)])


def deepest(allocation: Allocation) -> int:
    """Return the most planes of a matrix; its first segment has the most."""
    return max(segments[0].planes for segments in allocation.values())
