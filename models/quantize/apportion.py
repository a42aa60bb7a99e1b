"""Planes for a budget: each plane goes where it saves most of the predicted divergence.

With the prices of `models.quantize.fisher` the divergence of an allocation is a sum over rows: price times squared error,
which falls with each plane by a factor that a sample of the matrix's rows tells. For a price of a bit, every matrix takes
the planes that cost least in all; the price of a bit follows from the budget by bisection. Rows of a vocabulary, sorted by
frequency, take planes of their own, block by block, that never rise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.codes import bcq
from models.format.layout import matrix_shapes
from models.format.schema import BLOCK_ROWS, MAX_PLANES, Allocation, Segment
from models.marian.checkpoint import Checkpoint

SAMPLED_ROWS = 64


class _Curve(NamedTuple):
    """The predicted divergence of a matrix: [planes, blocks of rows], and the weights of each block [blocks]."""

    loss: np.ndarray
    weights: np.ndarray
    rows: int


def curves(checkpoint: Checkpoint, rows: Mapping[str, Tensor]) -> dict[str, _Curve]:
    result = {}
    generator = torch.Generator().manual_seed(0)
    for name, (count, columns) in matrix_shapes(checkpoint.architecture).items():
        W = checkpoint.tensors[name]
        sample = W[torch.randperm(count, generator=generator)[:SAMPLED_ROWS]]
        factors = [_relative_error(sample, planes) for planes in range(1, MAX_PLANES + 1)]
        energy = rows[name] * W.square().sum(1)
        size = BLOCK_ROWS if _is_vocabulary(name) else count
        blocks = -(-count // size)
        padded = torch.zeros(blocks * size, dtype=torch.float64)
        padded[:count] = energy
        sums = padded.view(blocks, size).sum(1).numpy()
        if _is_vocabulary(name):
            sums = _falling(sums)
        weights = np.full(blocks, float(size * columns))
        weights[-1] = (count - (blocks - 1) * size) * columns
        result[name] = _Curve(np.outer(factors, sums), weights, count)
    return result


def _is_vocabulary(name: str) -> bool:
    return name == "output" or name.endswith("embedding")


def _relative_error(sample: Tensor, planes: int) -> float:
    return bcq.specialised(sample, planes, solver="refined").error(sample, planes)


def _falling(values: np.ndarray) -> np.ndarray:
    """Return the falling sequence with the least squared difference (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values.tolist():
        total, count = value, 1
        while pools and pools[-1][0] * count < total * pools[-1][1]:
            last, number = pools.pop()
            total, count = total + last, count + number
        pools.append((total, count))
    return np.concatenate([np.full(count, total / count) for total, count in pools])


def apportion(curves: Mapping[str, _Curve], fits: Callable[[Allocation], bool]) -> dict[str, tuple[Segment, ...]]:
    """Return the allocation of least predicted divergence that fits."""
    low, high = -60.0, 20.0  # logarithm of the price of a bit
    while high - low > 1e-3:
        middle = (low + high) / 2
        if fits(_at(curves, np.exp(middle))):
            high = middle
        else:
            low = middle
    return _at(curves, np.exp(high))


def predicted(curves: Mapping[str, _Curve], allocation: Allocation) -> float:
    total = 0.0
    for name, curve in curves.items():
        size = -(-curve.rows // len(curve.weights))
        for s in allocation[name]:
            first, last = s.begin // (BLOCK_ROWS if len(curve.weights) > 1 else size), -(-s.end // (BLOCK_ROWS if len(curve.weights) > 1 else size))
            total += curve.loss[s.planes - 1, first:last].sum()
    return total


def _at(curves: Mapping[str, _Curve], price: float) -> dict[str, tuple[Segment, ...]]:
    return {name: _segments(curve, price) for name, curve in curves.items()}


def _segments(curve: _Curve, price: float) -> tuple[Segment, ...]:
    planes = np.arange(1, MAX_PLANES + 1)[:, None]
    best = (curve.loss + price * planes * curve.weights).argmin(0) + 1
    # Falling prices make falling planes; the weights of a block are the same but for the last.
    best = np.minimum.accumulate(best)
    edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
    size = BLOCK_ROWS if len(best) > 1 else curve.rows
    return tuple(
        Segment(begin * size, min(end * size, curve.rows), int(best[begin])) for begin, end in zip(edges, edges[1:], strict=False)
    )
