"""The output layer and the loss in one pass, a block of rows at a time, so that the logits never leave the cache.

For a row of states x, with z = x W' + b over n words and p = softmax(z), the loss is that of a target distribution q:

    q    = (1 - share) * ((1 - smoothing) * onehot(label) + smoothing / n) + share * softmax(teacher's z)
    loss = (1 - share) * cross entropy with label smoothing + share * KL(teacher || student),   averaged over the rows
    dz   = (p - q) / rows                                                       (the entropy of q has no gradient)

The gradients of x and W are made with the loss, block by block. Separate passes of torch (log_softmax in float32, its
gradient, gather, mean) over [2400, 8000] words went through 77 MB about ten times a step.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

BLOCK_ROWS = 256  # of 8,000 words: 8 MB; 128 to 512 take the same time within 2 %


class Output(NamedTuple):
    """An output layer and what it reads.

    Attributes:
        states: [rows, d_model], the decoder's states at the places of the labels.
        weight: [words, d_model].
        bias: [words], takes no gradient; None for zeros.
    """

    states: Tensor
    weight: Tensor
    bias: Tensor | None

    def as_type(self, kind: torch.dtype) -> "Output":
        """Return the same with states and weights of another type, in which products are made."""
        return Output(self.states.to(kind), self.weight.to(kind), self.bias)

    def log_probabilities(self, rows: slice) -> Tensor:
        """Return float32 [rows, words] of a block of rows."""
        logits = (self.states[rows] @ self.weight.t()).float()
        if self.bias is not None:
            logits += self.bias
        return logits.log_softmax(1)


def mean_loss(
    student: Output,
    labels: Tensor,
    *,
    smoothing: float = 0.0,
    teacher: Output | None = None,
    share: float = 0.0,
    products: torch.dtype = torch.float32,
) -> Tensor:
    """Return the mean loss of a row, differentiable in the student's states and weight.

    Args:
        student: the output layer in training.
        labels: [rows], ids of words, none of them negative.
        smoothing: share of the labels' probability that all words get alike, 0 to below 1.
        teacher: over the same words, for a share of more than 0.
        share: of the divergence from the teacher in the loss, 0 to 1.
        products: type that matrices are multiplied in; bfloat16 where the CPU has such products.
    """
    loss: Tensor = _MeanLoss.apply(
        student.states, student.weight, student.bias, labels, smoothing, teacher if share else None, share, products
    )
    return loss


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        teacher: Output | None,
        share: float,
        products: torch.dtype,
    ) -> Tensor:
        student = Output(states, weight, bias).as_type(products)
        teacher = teacher and teacher.as_type(products)
        rows, words = len(labels), len(weight)
        total = states.new_zeros(())
        grad_states = torch.empty_like(states)
        grad_weight = torch.zeros_like(weight)
        for begin in range(0, rows, BLOCK_ROWS):
            block = slice(begin, begin + BLOCK_ROWS)
            label = labels[block, None]
            student_log = student.log_probabilities(block)
            right = student_log.gather(1, label)
            smooth = smoothing * student_log.mean(1, keepdim=True) if smoothing else 0.0
            total -= (1 - share) * ((1 - smoothing) * right + smooth).sum()
            if teacher is None:
                grad = student_log.exp_()
            else:
                teacher_log = teacher.log_probabilities(block)
                difference = teacher_log - student_log
                likely = teacher_log.exp_()
                total += share * torch.dot(likely.flatten(), difference.flatten())
                grad = student_log.exp_().sub_(likely, alpha=share)
            if smoothing:
                grad -= (1 - share) * smoothing / words
            grad.scatter_add_(1, label, grad.new_full(label.shape, -(1 - share) * (1 - smoothing)))
            grad = grad.mul_(1 / rows).to(products)
            grad_states[block] = grad @ student.weight
            if products == torch.float32:
                grad_weight.addmm_(grad.t(), student.states[block])
            else:
                grad_weight += grad.t() @ student.states[block]
        ctx.save_for_backward(grad_states, grad_weight)
        return total / rows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_weight = ctx.saved_tensors
        return grad_states * grad, grad_weight * grad, None, None, None, None, None, None
