"""The output layer and its loss against torch's cross entropy and divergence."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its customary name

from models.train.loss import ROWS, Output, mean_loss

WIDTH, WORDS = 8, 11


def outputs(rows: int, biased: bool) -> tuple[Output, Output, torch.Tensor]:
    """Return the output layers of a student and a teacher, and labels."""
    generator = torch.Generator().manual_seed(0)
    bias = torch.randn(WORDS, generator=generator) if biased else None
    student, teacher = (
        Output(
            torch.randn(rows, WIDTH, generator=generator, requires_grad=True),
            torch.randn(WORDS, WIDTH, generator=generator, requires_grad=True),
            bias,
        )
        for _ in range(2)
    )
    return student, teacher, torch.randint(0, WORDS, (rows,), generator=generator)


def by_torch(student: Output, teacher: Output, labels: torch.Tensor, smoothing: float, share: float) -> torch.Tensor:
    logits, taught = (F.linear(each.states, each.weight, each.bias) for each in (student, teacher))
    # the distribution that both parts stand for together, whose entropy has no gradient
    smoothed = (1 - smoothing) * F.one_hot(labels, WORDS) + smoothing / WORDS
    target = ((1 - share) * smoothed + share * taught.softmax(1)).detach()
    entropy = -(taught.softmax(1) * taught.log_softmax(1)).sum(1).mean()
    return F.cross_entropy(logits, target) - share * entropy.detach()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rows", [1, 30, ROWS, 2 * ROWS + 5])
def test_loss_and_gradients_are_those_of_torch(rows, share, smoothing, biased):
    student, teacher, labels = outputs(rows, biased)
    mine = mean_loss(student, labels, smoothing=smoothing, teacher=teacher if share else None, share=share)
    expected = by_torch(student, teacher, labels, smoothing, share)
    torch.testing.assert_close(mine, expected)
    for one, other in zip(*(torch.autograd.grad(3 * loss, student[:2]) for loss in (mine, expected)), strict=True):
        torch.testing.assert_close(one, other)


def test_products_of_bf16_are_near_those_of_float32():
    student, teacher, labels = outputs(2 * ROWS, biased=True)
    narrow = mean_loss(student, labels, smoothing=0.1, teacher=teacher, share=0.5, dtype=torch.bfloat16)
    wide = by_torch(student, teacher, labels, smoothing=0.1, share=0.5)
    torch.testing.assert_close(narrow, wide, rtol=0.01, atol=0)
    for one, other in zip(*(torch.autograd.grad(loss, student[:2]) for loss in (narrow, wide)), strict=True):
        assert (one - other).norm() < 0.01 * other.norm()
