"""The output layer and the loss of a training: labels, and the predictions of a teacher.

Logits of a batch are four times as large as all else that a step keeps. So they are made, turned into their gradient
and forgotten a few rows at a time, while they are in the cache. The target of a row is one distribution q, a mix of its
smoothed label and of the teacher's prediction t, so there is one formula for the loss and one for its gradient:

    q        = share * t + (1 - share) * ((1 - smoothing) * onehot(label) + smoothing / pieces)
    loss     = share * sum(t * log t) - sum(q * log p)
    gradient = p - q

Of 2,450 rows and 8,000 pieces in bf16 that takes 112 ms, where torch's cross entropy of all rows takes 265 (two cores
with AMX). In fp32 products are most of it, and both take as long.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

ROWS = 512  # made at a time: 16 MB of float32 logits for 8,000 pieces; 256 take as long, 128 and all at once more


class Output(NamedTuple):
    """The output layer of a model, and what it reads.

    Attributes:
        states: of the decoder, [rows, d_model].
        weight: [pieces, d_model].
        bias: [pieces], which is not trained; None for zeros.
    """

    states: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def cast(self, dtype: torch.dtype) -> "Output":
        """Return the layer for products of a type; its bias stays as it is."""
        return Output(self.states.to(dtype), self.weight.to(dtype), self.bias)

    def logits(self, rows: slice) -> Tensor:
        """Return the logits of some rows, float32 [rows, pieces], in memory of their own."""
        logits = (self.states[rows] @ self.weight.t()).float()
        return logits if self.bias is None else logits.add_(self.bias)


def mean_loss(
    student: Output,
    labels: Tensor,
    *,
    smoothing: float = 0.0,
    teacher: Output | None = None,
    share: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the mean loss of a row: cross entropy of the labels, and by a share KL(teacher || student).

    Args:
        student: states and weight of the student, which get gradients.
        labels: [rows], ids of pieces.
        smoothing: share of a label's probability that all pieces get alike, 0 to below 1.
        teacher: of the same rows and pieces; None for labels alone.
        share: of the divergence from the teacher in the loss, 0 to 1.
        dtype: of the products; softmax and sums are of float32.
    """
    share = share if teacher is not None else 0.0
    loss = _MeanLoss.apply(student.states, student.weight, student.bias, labels, teacher, smoothing, share, dtype)
    return cast(Tensor, loss)


class _MeanLoss(torch.autograd.Function):
    """`mean_loss`, whose gradients are made with the loss."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        teacher: Output | None,
        smoothing: float,
        share: float,
        dtype: torch.dtype,
    ) -> Tensor:
        student = Output(states, weight, bias).cast(dtype)
        taught = teacher.cast(dtype) if teacher is not None and share else None
        count, pieces = len(states), len(weight)
        by_label, by_all = (1 - share) * (1 - smoothing), (1 - share) * smoothing / pieces
        states_gradient, weight_gradient = torch.empty_like(student.states), torch.zeros_like(weight)
        total = torch.zeros((), device=states.device)
        for begin in range(0, count, ROWS):
            rows = slice(begin, begin + ROWS)
            logits, label = student.logits(rows), labels[rows, None]
            total -= by_label * logits.gather(1, label).sum()
            if by_all:
                total -= by_all * logits.sum()
            if taught is not None:
                log_teacher = taught.logits(rows).log_softmax(1)
                prediction = log_teacher.exp()
                total += share * torch.dot(prediction.flatten(), log_teacher.sub_(logits).flatten())
            # p - q, in the memory of the logits
            top = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(top).exp_()
            sums = exponentials.sum(1, keepdim=True)
            total += (top + sums.log()).sum()
            gradient = exponentials.mul_(1 / (count * sums))
            if taught is not None:
                gradient.sub_(prediction, alpha=share / count)
            if by_all:
                gradient.sub_(by_all / count)
            gradient.scatter_add_(1, label, torch.full_like(label, -by_label / count, dtype=gradient.dtype))
            narrow = gradient.to(dtype)
            torch.mm(narrow, student.weight, out=states_gradient[rows])
            weight_gradient += narrow.t() @ student.states[rows]
        ctx.save_for_backward(states_gradient.to(states.dtype), weight_gradient)
        return total / count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_weight = (saved * gradients[0] for saved in ctx.saved_tensors)
        return of_states, of_weight, None, None, None, None, None, None
