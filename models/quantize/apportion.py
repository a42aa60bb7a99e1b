"""Planes for a budget: each goes where it lowers the predicted divergence most.

With the prices of `models.quantize.fisher` the divergence of an allocation is a sum over rows of price times squared
error, and each further plane divides the error by a factor that a sample of the matrix's rows tells. Given a price of
a bit, every matrix takes the planes that cost least in all; bisection finds the price that keeps to the budget
(Lagrange). Rows of a vocabulary are sorted by frequency and take planes block by block, which never rise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from models.codes import bcq
from models.format.layout import is_vocabulary, matrix_shapes
from models.format.schema import BLOCK_ROWS, MAX_PLANES, Allocation, Segment
from models.marian.checkpoint import Checkpoint
from models.quantize.allocate import AllocationError

Floats = npt.NDArray[np.float64]
SAMPLED_ROWS = 64
STEEPEST, STEPS = 60.0, 50  # of the bisection: largest logarithm of the price of a bit, halvings


@dataclass(frozen=True)
class Curve:
    """The predicted divergence of a matrix by planes.

    Attributes:
        divergence: [planes, blocks], nats a target token with 1, 2, ... planes.
        columns: weights of a row.
        rows: of the matrix.
        block: rows of a block; the last may have fewer.
    """

    divergence: Floats
    columns: int
    rows: int
    block: int

    def segments(self, price: float) -> tuple[Segment, ...]:
        """Return the planes of least cost, given the price of a bit."""
        planes = np.arange(1, MAX_PLANES + 1)[:, None]
        best = (self.divergence + price * planes * self.block * self.columns).argmin(0) + 1
        edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
        return tuple(
            Segment(begin * self.block, min(end * self.block, self.rows), int(best[begin]))
            for begin, end in pairwise(edges)
        )

    def of(self, segments: tuple[Segment, ...]) -> float:
        """Return the divergence of an allocation whose segments begin with blocks."""
        return float(
            sum(self.divergence[s.planes - 1, s.begin // self.block : -(-s.end // self.block)].sum() for s in segments)
        )


def curves(checkpoint: Checkpoint, prices: Mapping[str, Tensor]) -> dict[str, Curve]:
    """Predict the divergence of every matrix by its planes.

    Args:
        checkpoint: its rows sorted by frequency.
        prices: matrix -> [rows], as `models.quantize.fisher` has them.
    """
    result = {}
    generator = torch.Generator().manual_seed(0)
    shapes = matrix_shapes(checkpoint.architecture)
    for name, (rows, columns) in tqdm(shapes.items(), desc="predicting errors", unit="matrix"):
        weights = checkpoint.tensors[name]
        sample = weights[torch.randperm(rows, generator=generator)[:SAMPLED_ROWS]]
        errors = [
            bcq.specialised(sample, planes, solver="refined").error(sample, planes)
            for planes in range(1, MAX_PLANES + 1)
        ]
        block = BLOCK_ROWS if is_vocabulary(name) else rows
        costs = np.zeros(-(-rows // block) * block)
        costs[:rows] = (prices[name] * weights.square().sum(1)).numpy()
        result[name] = Curve(np.outer(errors, _falling(costs.reshape(-1, block).sum(1))), columns, rows, block)
    return result


def apportion(curves: Mapping[str, Curve], fits: Callable[[Allocation], bool]) -> dict[str, tuple[Segment, ...]]:
    """Return the allocation of least predicted divergence that fits.

    Raises:
        AllocationError: not even one plane everywhere fits.
    """
    low, high = -STEEPEST, STEEPEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(_at(curves, middle)) else (middle, high)
    found = _at(curves, high)
    if not fits(found):
        raise AllocationError("The budget is below that of one plane for every weight.")
    return found


def predicted(curves: Mapping[str, Curve], allocation: Allocation) -> float:
    """Return the predicted divergence of an allocation that `apportion` made, in nats a target token."""
    return sum(curve.of(allocation[name]) for name, curve in curves.items())


def _at(curves: Mapping[str, Curve], log_price: float) -> dict[str, tuple[Segment, ...]]:
    return {name: curve.segments(float(np.exp(log_price))) for name, curve in curves.items()}


def _falling(values: Floats) -> Floats:
    """Return the falling sequence with the least squared difference (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values.tolist():
        total, count = value, 1
        while pools and pools[-1][0] * count < total * pools[-1][1]:
            last, number = pools.pop()
            total, count = total + last, count + number
        pools.append((total, count))
    return np.concatenate([np.full(count, total / count) for total, count in pools])
