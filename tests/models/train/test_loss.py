"""The fused loss against torch's cross entropy and divergence, and their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its customary name

from models.train import loss
from models.train.loss import Output, mean_loss

ROWS, WORDS, WIDTH = 30, 11, 6


def output(seed: int, *, bias: bool = True) -> Output:
    generator = torch.Generator().manual_seed(seed)
    states, weight = (torch.randn(n, WIDTH, generator=generator, requires_grad=True) for n in (ROWS, WORDS))
    return Output(states, weight, torch.randn(WORDS, generator=generator) if bias else None)


def log_probabilities(of: Output) -> torch.Tensor:
    return F.linear(of.states, of.weight, of.bias).log_softmax(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [256, 7])
def test_loss_and_gradients_are_those_of_torch(monkeypatch, smoothing, share, bias, rows):
    monkeypatch.setattr(loss, "BLOCK_ROWS", rows)
    student, teacher = output(0, bias=bias), output(1)
    labels = torch.randint(0, WORDS, (ROWS,), generator=torch.Generator().manual_seed(2))
    mine = mean_loss(student, labels, smoothing=smoothing, teacher=teacher, share=share)
    entropy = F.cross_entropy(F.linear(student.states, student.weight, student.bias), labels, label_smoothing=smoothing)
    divergence = F.kl_div(
        log_probabilities(student), log_probabilities(teacher).detach(), log_target=True, reduction="batchmean"
    )
    expected = (1 - share) * entropy + share * divergence
    torch.testing.assert_close(mine, expected)
    inputs = [student.states, student.weight]
    for one, other in zip(
        torch.autograd.grad(2.5 * mine, inputs), torch.autograd.grad(2.5 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_bf16_products_are_near():
    student, teacher = output(0), output(1)
    labels = torch.arange(ROWS) % WORDS
    exact, rough = (
        mean_loss(student, labels, smoothing=0.1, teacher=teacher, share=0.5, products=kind)
        for kind in (torch.float32, torch.bfloat16)
    )
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)
    exact_grad, rough_grad = (torch.autograd.grad(each, student.weight)[0] for each in (exact, rough))
    assert (rough_grad - exact_grad).norm() < 0.02 * exact_grad.norm()
