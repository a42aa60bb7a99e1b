"""Quantization-aware training of binary codes with a straight-through estimator (STE).

Forward, each weight of a row with planes b_1..b_q and scales alpha becomes the nearest of the row's 2^q signed sums.
Backward, the rounding counts as the identity, so with G the gradient of the rounded weights

    dw       = G where |w| <= clip * outer level, else 0: a weight beyond the levels can't come nearer by growing
    dalpha_i = <G, b_i> / sqrt(columns * 2^(q-1))     (the divisor: Esser et al. 2020, LSQ; it keeps the gradient of
                                                       one scale, a sum over columns, as large as that of a weight)

The levels are symmetric about 0, so only their non-negative half is searched, by |w|. A prefix code takes its planes
from the scales of the whole depth and its values from the scales of the prefix.

Shapes: w [rows, columns], alpha [planes, rows] (as a model directory stores them for one group), half = 2^(planes-1).
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.codes.bcq import BinaryCode, sign_patterns

# Weights that are looked up at a time: the results of a step stay in the cache.
CHUNK_WEIGHTS = 1 << 16
SIGN_BIT = -(1 << 31)


class Levels(NamedTuple):
    """The non-negative half of the levels of each row, rising.

    Attributes:
        middles: [rows, half - 1], between neighbours.
        signs: [rows, half, planes], the planes of each level; the level of opposite sign has the opposite planes.
        outer: [rows, 1], the largest.
    """

    middles: Tensor
    signs: Tensor
    outer: Tensor


def half_levels(alpha: Tensor) -> Levels:
    """Return the levels of the rows with these scales."""
    patterns = sign_patterns(len(alpha))
    patterns = patterns[:, patterns[0] > 0].to(alpha.device)
    sums = alpha.t() @ patterns
    levels, order = sums.abs().sort(dim=1)
    # A sum below 0 stands for its opposite: the lowest bit says nothing of the sign of a weight once scales overlap.
    flips = torch.where(sums < 0, -1.0, 1.0).gather(1, order)
    return Levels((levels[:, 1:] + levels[:, :-1]) / 2, patterns.t()[order] * flips[:, :, None], levels[:, -1:])


def _chunks(w: Tensor) -> list[slice]:
    step = max(1, CHUNK_WEIGHTS // w.shape[1])
    return [slice(begin, begin + step) for begin in range(0, len(w), step)]


def _give_sign(x: Tensor, w: Tensor) -> None:
    """Negate x in place where w is negative."""
    x.view(torch.int32).bitwise_xor_(w.view(torch.int32).bitwise_and(SIGN_BIT))


class _Coded(torch.autograd.Function):
    """The rounding of the module's docstring.

    Comparisons write 0.0 and 1.0, which are then multiplied: torch.where and masks of bool take five times as long.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, alpha: Tensor, depth_alpha: Tensor, clip: float) -> Tensor:
        middles, signs, outer = half_levels(depth_alpha)
        signs = signs[:, :, : len(alpha)]
        values = torch.einsum("rhk,kr->rh", signs, alpha)
        steps = values.diff(dim=1)
        result = torch.empty_like(w)
        for part in _chunks(w):
            size, value = w[part].abs(), result[part]
            value.copy_(values[part, :1].expand_as(value))
            beyond = torch.empty_like(size)
            for j in range(middles.shape[1]):
                torch.gt(size, middles[part, j : j + 1], out=beyond)
                value += beyond.mul_(steps[part, j : j + 1])
            _give_sign(value, w[part])
        ctx.save_for_backward(w, middles, signs, outer * clip)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        w, middles, signs, limit = ctx.saved_tensors
        grad_w, sums = torch.empty_like(w), w.new_zeros(len(w), signs.shape[1])
        for part in _chunks(w):
            size = w[part].abs()
            within = torch.le(size, limit[part], out=torch.empty_like(size))
            torch.mul(grad[part], within, out=grad_w[part])
            upright, beyond = grad[part].clone(), within
            _give_sign(upright, w[part])
            # Of the weights at level j or beyond; the difference of neighbours belongs to one level.
            sums[part, 0] = upright.sum(1)
            for j in range(middles.shape[1]):
                torch.gt(size, middles[part, j : j + 1], out=beyond)
                sums[part, j + 1] = beyond.mul_(upright).sum(1)
        sums[:, :-1] -= sums[:, 1:].clone()
        scale = 1 / math.sqrt(w.shape[1] * signs.shape[1])
        return grad_w, torch.einsum("rhk,rh->kr", signs, sums) * scale, None, None


class _Halved(torch.autograd.Function):
    """Scales as a file holds them, float16; the gradient passes."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor) -> Tensor:
        return alpha.half().float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def coded(w: Tensor, alpha: Tensor, depth_alpha: Tensor | None = None, clip: float = 1.0) -> Tensor:
    """Return w rounded to its codes: float32 [rows, columns], differentiable in w and alpha.

    Args:
        w: the weights in training.
        alpha: scales of the code, [planes, rows].
        depth_alpha: scales of the whole depth if `alpha` is for a prefix of its planes.
        clip: the gradient reaches weights up to this times the outer level.
    """
    alpha = _Halved.apply(alpha)
    depth = alpha.detach() if depth_alpha is None else depth_alpha.detach().half().float()
    return _Coded.apply(w, alpha, depth, clip)


@torch.no_grad()
def binary_code(w: Tensor, scales: dict[int, Tensor], depth_alpha: Tensor | None = None) -> BinaryCode:
    """Return the code that `coded` rounds to, to be stored: planes by `depth_alpha` or the deepest scales [k, rows]."""
    depth = max(scales)
    middles, signs, _ = half_levels((scales[depth] if depth_alpha is None else depth_alpha).half().float())
    bits = torch.empty(depth, *w.shape, dtype=torch.bool)
    for part in _chunks(w):
        level = (w[part].abs()[:, :, None] > middles[part, None]).sum(2)
        planes = signs[part].gather(1, level[:, :, None].expand(-1, -1, depth))
        bits[:, part] = ((planes > 0) ^ w[part].signbit()[:, :, None]).permute(2, 0, 1)
    return BinaryCode(bits, {k: alpha.half()[:, None] for k, alpha in scales.items()}, None)
