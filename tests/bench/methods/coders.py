"""Ways to code a matrix in few bits, each as a function of the matrix, its planes and the moment of its inputs.

Shapes: W [rows, columns], H [columns, columns] = mean of x x^T over the inputs x. A coder returns what stands for W,
and the bits that this takes, scales and all other side information counted. The sources are in docs/methods.md.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from models.codes.bcq import BinaryCode, specialised
from models.codes.compensate import DAMPING, compensate, output_error

# [rows, columns], planes, [columns, columns] -> [rows, columns], bits
Coder = Callable[[Tensor, int, Tensor], tuple[Tensor, float]]
FLOAT = 16  # bits of a scale


def plain(W: Tensor, planes: int, H: Tensor) -> tuple[Tensor, float]:
    """Code each row for the least error of its weights: alternating binary codes."""
    return specialised(W, planes, solver="refined").dequantize(planes), _bits(W, planes)


def weighted(W: Tensor, planes: int, H: Tensor) -> tuple[Tensor, float]:
    """Weight the error of each column by the mean square of its inputs (SqueezeLLM without its sparse part)."""
    code = specialised(W, planes, solver="refined", importance=H.diagonal().float())
    return code.dequantize(planes), _bits(W, planes)


def compensated(W: Tensor, planes: int, H: Tensor) -> tuple[Tensor, float]:
    """Code by a GPTQ sweep over the levels of binary codes: what `compress` does."""
    return _compensated(W, planes, H).dequantize(planes), _bits(W, planes)


def sparse(W: Tensor, planes: int, H: Tensor, share: float = 0.0045) -> tuple[Tensor, float]:
    """Keep the weights of largest weighted magnitude in float16, and code the rest (SqueezeLLM's dense and sparse)."""
    score = W.abs() * H.diagonal().clamp_min(0).sqrt().float()
    kept = score >= score.flatten().kthvalue(W.numel() - max(1, round(share * W.numel())) + 1).values
    dense = W.masked_fill(kept, 0.0)
    largest = dense.abs().amax(1, keepdim=True)
    dense = torch.where(kept, W.clamp(-largest, largest), dense)
    coded, bits = compensated(dense, planes, H)
    index = math.ceil(math.log2(W.shape[1]))
    count = int(kept.sum())
    # What the codes lose at all other places is made up for by the sparse part, whose values are free.
    return torch.where(kept, W.half().float(), coded), bits + count * (FLOAT + index) + 32 * len(W)


def rotated(W: Tensor, planes: int, H: Tensor) -> tuple[Tensor, float]:
    """Code W Q, with Q a Hadamard matrix of random signs over the inputs (QuIP#, FrameQuant with a frame of 1.0)."""
    Q = _hadamard(W.shape[1])
    coded, bits = _turned(W, planes, H, Q)
    return coded, bits + W.shape[1]


def framed(W: Tensor, planes: int, H: Tensor, redundancy: float = 1.1) -> tuple[Tensor, float]:
    """Code W P, with P [columns, 1.1 columns] a random tight frame, rows clipped at two deviations (FrameQuant)."""
    columns = W.shape[1]
    P = _frame(columns, round(redundancy * columns))
    return _turned(W, planes, H, P, deviations=2.0)


def transformed(W: Tensor, planes: int, H: Tensor) -> tuple[Tensor, float]:
    """Take the best of four transforms of the inputs: none, Hadamard, Hadamard of random signs, cosine."""
    best, least, bits = W, math.inf, 0.0
    columns = W.shape[1]
    for Q in (torch.eye(columns), _hadamard(columns, signs=False), _hadamard(columns), _cosine(columns)):
        coded, bits = _turned(W, planes, H, Q)
        error = output_error(W - coded, H).sum().item()
        if error < least:
            best, least = coded, error
    return best, bits + 2


def two_sided(W: Tensor, planes: int, H: Tensor) -> tuple[Tensor, float]:
    """Scale the columns to the same power before coding, and back after (OneBit's vector of the input side)."""
    scale = W.square().mean(0).sqrt().clamp_min(1e-8).half().float()
    coded, bits = compensated(W / scale, planes, scale.double()[:, None] * H.double() * scale.double())
    return coded * scale, bits + FLOAT * W.shape[1]


def vectors(W: Tensor, planes: int, H: Tensor) -> tuple[Tensor, float]:
    """Code groups of columns by codebooks of 2^8 entries, 2^6 at three bits, with GPTQ's errors passed on (GPTVQ)."""
    width = {1: 8, 2: 4, 3: 2, 4: 2}[planes] if planes <= 4 else 1
    if width == 1 or W.shape[1] % width:
        return compensated(W, planes, H)
    scale = W.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    N = W / scale
    entries = 1 << (planes * width)
    importance = H.diagonal().float().clamp_min(1e-12)
    book = _codebook(N.view(-1, width), importance.view(-1, width).repeat(len(W), 1), entries)
    damped = H.double() + DAMPING * H.double().diagonal().mean() * torch.eye(len(H), dtype=torch.float64)
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).float()
    rest, coded = N.clone(), torch.empty_like(N)
    for begin in range(0, W.shape[1], width):
        end = begin + width
        block = factor[begin:end, begin:end]
        # The error of a group, whitened by its own block of the factor, is what is left to pay.
        inverse = torch.linalg.inv(block)
        chosen = _nearest_entry(rest[:, begin:end] @ inverse, book @ inverse)
        coded[:, begin:end] = book[chosen]
        errors = (rest[:, begin:end] - coded[:, begin:end]) @ inverse
        rest[:, end:] -= errors @ factor[begin:end, end:]
    return coded * scale, planes * W.numel() + FLOAT * (len(W) + book.numel())


# --- parts ------------------------------------------------------------------------------------------------------------


def _bits(W: Tensor, planes: int) -> float:
    return planes * (W.numel() + FLOAT * len(W))


def _turned(W: Tensor, planes: int, H: Tensor, Q: Tensor, deviations: float = math.inf) -> tuple[Tensor, float]:
    """Code W Q, each row clipped at some deviations, and turn the codes back."""
    D = W @ Q
    if deviations < math.inf:
        spread = deviations * D.std(1, keepdim=True)
        D = D.clamp(-spread, spread)
    coded, bits = compensated(D, planes, Q.T.double() @ H.double() @ Q.double())
    return coded @ Q.T, bits


def _compensated(W: Tensor, planes: int, H: Tensor) -> BinaryCode:
    return compensate(specialised(W, planes, solver="refined"), W, H)


@cache
def _hadamard(size: int, *, signs: bool = True) -> Tensor:
    """Return an orthogonal matrix: Hadamard blocks of the largest power of two in the size, of random signs."""
    block = size & -size
    H = torch.ones(1, 1)
    while len(H) < block:
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    Q = torch.block_diag(*[H / math.sqrt(block)] * (size // block))
    drawn = torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    return drawn[:, None] * Q if signs else Q


@cache
def _frame(size: int, wide: int) -> Tensor:
    drawn = torch.randn(wide, wide, generator=torch.Generator().manual_seed(1))
    return torch.linalg.qr(drawn)[0][:size].contiguous()


@cache
def _cosine(size: int) -> Tensor:
    n = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * (n[:, None] + 0.5) * n) * math.sqrt(2 / size)
    basis[:, 0] /= math.sqrt(2)
    return basis.float()


def _codebook(points: Tensor, weights: Tensor, entries: int, rounds: int = 12, sample: int = 40_000) -> Tensor:
    """Weighted k-means of a sample of points."""
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randperm(len(points), generator=generator)[:sample]
    points, weights = points[chosen], weights[chosen]
    book = points[:entries].clone()
    for _ in range(rounds):
        nearest = _nearest_entry(points, book)
        mass = torch.zeros_like(book).index_add_(0, nearest, weights)
        sums = torch.zeros_like(book).index_add_(0, nearest, weights * points)
        book = torch.where(mass > 0, sums / mass.clamp_min(1e-30), book)
    return book.half().float()


def _nearest_entry(points: Tensor, book: Tensor) -> Tensor:
    distances = book.square().sum(1) - 2 * points @ book.T
    return distances.argmin(1)


CODERS: dict[str, Coder] = {
    "plain": plain,
    "weighted": weighted,
    "compensated": compensated,
    "sparse": sparse,
    "rotated": rotated,
    "framed": framed,
    "transformed": transformed,
    "two-sided": two_sided,
    "vectors": vectors,
}
