"""Error compensation: codes whose error at the output of the matrix is least, rather than that of each weight.

The inputs of a matrix are correlated, so what the rounding of one column does to the output can largely be undone by
columns that are not rounded yet (Frantar et al. 2022, GPTQ, arXiv:2210.17323). The levels that a weight may take are
the 2^planes sums of its row's scales, so this serves any binary code. Then the scales are fitted again in the same
metric.

Shapes: W [rows, columns], H [columns, columns] = mean of x x^T over the inputs x, alpha [planes, groups, rows], and per
weight the rank of its level among the sorted sums. A row with the error e has the output error e H e^T.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from models.codes.bcq import Advance, BinaryCode, sign_patterns, unheard

# GPTQ's damping: the part of the mean of H's diagonal that is added to the diagonal. It regularises directions that the
# calibration text does not have.
DAMPING = 0.01
# GPTQ sweeps, each over the levels that the one before fitted.
ROUNDS = 2
# Passes of coordinate descent after each sweep.
DESCENTS = 1
# Columns between two updates of all the others.
BLOCK_COLUMNS = 64
# Floats that a chunk of rows may take in its largest arrays.
CHUNK_VALUES = 1 << 24


def compensate(code: BinaryCode, weights: Tensor, moment: Tensor, advance: Advance = unheard) -> BinaryCode:
    """Return a code with the same scale sets and less output error at full depth; prefixes are fitted to its planes.

    Args:
        code: of the weights. Its scales at full depth give the first levels.
        weights: [rows, columns].
        moment: H [columns, columns].
        advance: hears of so many weights more that are done.
    """
    metric = _metric_of(moment)
    planes, rows, columns = code.bits.shape
    groups = code.scales[planes].shape[1]
    step = max(1, CHUNK_VALUES // max(groups << planes, planes * groups * columns))
    parts = []
    for begin in range(0, rows, step):
        some = weights[begin : begin + step]
        parts.append(_compensate_rows(_rows(code, begin, step), some, metric))
        advance(some.numel())
    scales = {k: torch.cat([part.scales[k] for part in parts], dim=2) for k in code.scales}
    return replace(code, bits=torch.cat([part.bits for part in parts], dim=1), scales=scales)


class _Metric(NamedTuple):
    """A moment as the sweep needs it.

    Attributes:
        H: [columns, columns], damped, float64.
        order: of the columns, by falling H_jj.
        factor: U [columns, columns] in that order, the upper Cholesky factor of H^-1, float32.
    """

    H: Tensor
    order: Tensor
    factor: Tensor


def _metric_of(moment: Tensor) -> _Metric:
    """Damp a moment [columns, columns] and factor it."""
    H = moment.to(torch.float64, copy=True)
    H.diagonal().add_(DAMPING * H.diagonal().mean())
    order = H.diagonal().argsort(descending=True, stable=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(H[order][:, order]))
    return _Metric(H, order, torch.linalg.cholesky(inverse, upper=True).float())


def output_error(error: Tensor, H: Tensor) -> Tensor:
    """Return e H e^T of each row e: float64 [rows]."""
    return ((error.double() @ H.double()) * error.double()).sum(1)


def _rows(code: BinaryCode, begin: int, count: int) -> BinaryCode:
    part = slice(begin, begin + count)
    return replace(code, bits=code.bits[:, part], scales={k: s[:, :, part] for k, s in code.scales.items()})


def _compensate_rows(code: BinaryCode, W: Tensor, metric: _Metric) -> BinaryCode:
    """Sweep, fit the scales, sweep again; keep the best code of each row."""
    planes, H = len(code.bits), metric.H
    best = current = replace(code, scales=fit_scales(code, W, H))
    best_error = output_error(W - best.dequantize(planes), H)
    for _ in range(ROUNDS):
        current = replace(code, bits=_gptq_sweep(current, W, metric))
        current = replace(current, scales=fit_scales(current, W, H))
        error = output_error(W - current.dequantize(planes), H)
        better, best_error = error < best_error, torch.minimum(error, best_error)
        best = replace(
            code,
            bits=torch.where(better[:, None], current.bits, best.bits),
            scales={k: torch.where(better, scales, best.scales[k]) for k, scales in current.scales.items()},
        )
    return best


# --- planes for given levels ------------------------------------------------------------------------------------------


def _gptq_sweep(code: BinaryCode, W: Tensor, metric: _Metric) -> Tensor:
    """Choose planes for the levels of the code by one GPTQ sweep: bool [planes, rows, columns].

    Columns are rounded by falling H_jj. After column j was rounded with the error e, the columns to come lower the
    output error most by moving by -e * U_j / U_jj (Frantar et al. 2022, 4). Coordinate descent then takes each column
    again, given all others. Columns are kept as rows, so that each step reads and writes in one run.
    """
    planes, columns = len(code.bits), W.shape[1]
    patterns = sign_patterns(planes)
    levels, order = torch.einsum("kgr,kl->grl", code.scales[planes].float(), patterns).sort(dim=2)
    middles = ((levels[:, :, 1:] + levels[:, :, :-1]) / 2).contiguous()
    width = code.group_size or columns

    def nearest(wanted: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """Rank and value of the nearest level of each row: [rows]."""
        group = column // width
        rank = torch.searchsorted(middles[group], wanted[:, None])
        return rank[:, 0], levels[group].gather(1, rank)[:, 0]

    H, factor, swept = metric.H.float(), metric.factor, metric.order.tolist()
    wanted = W.t().contiguous()
    rest = wanted[metric.order]
    ranks, values = torch.empty_like(wanted, dtype=torch.long), torch.empty_like(wanted)
    diagonal = factor.diagonal().tolist()
    for begin in range(0, columns, BLOCK_COLUMNS):
        end = min(begin + BLOCK_COLUMNS, columns)
        errors = torch.empty(end - begin, len(W))
        for j in range(begin, end):
            column = swept[j]
            ranks[column], values[column] = nearest(rest[j], column)
            errors[j - begin] = (rest[j] - values[column]) / diagonal[j]
            rest[j + 1 : end].addr_(factor[j, j + 1 : end], errors[j - begin], alpha=-1)
        rest[end:].addmm_(factor[begin:end, end:].t(), errors, alpha=-1)
    diagonal = H.diagonal().tolist()
    for _ in range(DESCENTS):
        slope = H @ (wanted - values)
        for begin in range(0, columns, BLOCK_COLUMNS):
            end = min(begin + BLOCK_COLUMNS, columns)
            moves = torch.empty(end - begin, len(W))
            for j in range(begin, end):
                old = values[j].clone()
                ranks[j], values[j] = nearest(old + slope[j] / diagonal[j], j)
                moves[j - begin] = values[j] - old
                slope[j:end].addr_(H[j, j:end], moves[j - begin], alpha=-1)
            slope[end:].addmm_(H[begin:end, end:].t(), moves, alpha=-1)
    numbers = torch.stack([order[c // width].gather(1, ranks[c, :, None])[:, 0] for c in range(columns)], dim=1)
    return torch.stack([(numbers >> i) & 1 == 1 for i in range(planes)])


# --- scales for given planes ------------------------------------------------------------------------------------------


def fit_scales(code: BinaryCode, W: Tensor, H: Tensor) -> dict[int, Tensor]:
    """Fit the scales of each prefix for the least output error: k -> float16 [k, groups, rows].

    Least squares over all groups of a row at once: with D [planes * groups, columns], a row for each plane and
    group that is 0 outside of the group, alpha = (D H D^T)^-1 D H w. Planes come first in the order of the unknowns, so
    a leading part of the Cholesky factor belongs to a prefix.
    """
    planes, rows, columns = code.bits.shape
    width = code.group_size or columns
    groups = code.scales[planes].shape[1]
    filled = groups * width
    B = torch.zeros(rows, planes, filled, dtype=torch.float64)
    B[:, :, :columns] = torch.where(code.bits, 1.0, -1.0).transpose(0, 1)
    metric = torch.zeros(filled, filled, dtype=torch.float64)
    metric[:columns, :columns] = H
    B = B.unflatten(2, (groups, width))
    spread = torch.einsum("rkgw,gwc->rkgc", B, metric.view(groups, width, filled)).flatten(1, 2)
    gram = torch.einsum("rukw,rjkw->rujk", spread.unflatten(2, (groups, width)), B).flatten(2)
    gram.diagonal(dim1=1, dim2=2).mul_(1 + 1e-9).add_(1e-30)
    projection = spread[:, :, :columns] @ W.double()[:, :, None]
    factor = torch.linalg.cholesky(gram)
    solved = torch.linalg.solve_triangular(factor, projection, upper=False)
    return {
        k: torch.linalg.solve_triangular(factor[:, : k * groups, : k * groups].mT, solved[:, : k * groups], upper=True)
        .view(rows, k, groups)
        .permute(1, 2, 0)
        .half()
        for k in code.scales
    }
