"""The loss against torch's cross entropy and divergence."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its customary name

from models.train.loss import mean_loss

ROWS, WORDS = 30, 11


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_loss_and_gradient_are_those_of_torch(smoothing, share):
    generator = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(ROWS, WORDS, generator=generator, requires_grad=True) for _ in range(2))
    labels = torch.randint(0, WORDS, (ROWS,), generator=generator)
    mine = mean_loss(logits, labels, smoothing=smoothing, teacher=teacher.detach() if share else None, share=share)
    # the distribution that both parts stand for together, whose entropy has no gradient
    smoothed = (1 - smoothing) * F.one_hot(labels, WORDS) + smoothing / WORDS
    target = ((1 - share) * smoothed + share * teacher.softmax(1)).detach()
    entropy = -(teacher.softmax(1) * teacher.log_softmax(1)).sum(1).mean()
    expected = F.cross_entropy(logits, target) - share * entropy
    torch.testing.assert_close(mine, expected)
    for one, other in zip(*(torch.autograd.grad(loss, [logits]) for loss in (mine, expected)), strict=True):
        torch.testing.assert_close(one, other)
