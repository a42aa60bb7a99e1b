"""Learned codes against levels searched one by one, and their gradients against finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from models.codes.straight_through import binary_code, coded

ROWS, COLUMNS = 5, 32


def problem(planes: int, seed: int = 0, rows: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw weights and scales, the scales unordered and not all positive."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, COLUMNS, generator=generator)
    alpha = torch.randn(planes, rows, generator=generator).half().float()
    return w, alpha


def nearest(w: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Find the nearest of all signed sums, by trying each."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=len(alpha))))
    sums = alpha.t() @ signs.t()
    closest = (w[:, :, None] - sums[:, None]).abs().argmin(2)
    return sums.gather(1, closest)


@pytest.mark.parametrize("planes", [1, 2, 3, 4, 6])
def test_a_weight_is_seen_as_the_nearest_of_the_signed_sums(planes):
    w, alpha = problem(planes, rows=300)  # more than one chunk of rows for the longer ones
    w = torch.cat([w] * 16, dim=1)
    assert torch.allclose(coded(w, alpha), nearest(w, alpha), atol=1e-5)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_the_stored_code_is_what_was_seen(planes):
    w, alpha = problem(planes)
    w[0, :4] = torch.tensor([0.0, -0.0, 1e-30, -1e-30])
    alpha += 1e-4  # not a float16: the file rounds, and so does the training
    code = binary_code(w, {planes: alpha})
    assert torch.allclose(code.dequantize(planes), coded(w, alpha), atol=1e-6)
    assert code.scales[planes].dtype == torch.float16


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_the_gradient_of_a_scale_is_that_of_the_output_times_the_stated_factor(planes):
    w, alpha = problem(planes)
    direction = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    alpha.requires_grad_()
    (coded(w, alpha) * direction).sum().backward()
    # with the planes held fixed the output is linear in the scales, so one difference is exact
    bits = binary_code(w, {planes: alpha.detach()}).bits
    for i in range(planes):
        plane = torch.where(bits[i], 1.0, -1.0)
        expected = (plane * direction).sum(1) / math.sqrt(COLUMNS * 2 ** (planes - 1))
        assert torch.allclose(alpha.grad[i], expected, rtol=1e-4, atol=1e-5)


def test_the_scale_gradient_agrees_with_finite_differences():
    """Where no weight changes its level, the loss differs by the gradient."""
    w, _ = problem(2)
    alpha = torch.tensor([[1.0], [0.25]]).expand(2, ROWS).clone()
    w[(w.abs() - 1.0).abs() < 0.05] = 0.5
    target = torch.zeros_like(w)
    scaled = alpha.clone().requires_grad_()
    (coded(w, scaled) - target).square().sum().backward()
    factor = 1 / math.sqrt(COLUMNS * 2)
    for i, r in itertools.product(range(2), range(ROWS)):
        step = torch.zeros_like(alpha)
        step[i, r] = 2**-6  # float16 holds it exactly
        up, down = ((coded(w, alpha + s) - target).square().sum() for s in (step, -step))
        assert scaled.grad[i, r].item() == pytest.approx(((up - down) / 2**-5).item() * factor, rel=1e-3, abs=1e-3)


def test_weights_beyond_the_outer_level_get_no_gradient():
    w = torch.tensor([[0.1, -0.4, 1.49, 1.51, -1.51, -7.0]]).requires_grad_()
    alpha = torch.tensor([[1.0], [0.5]])
    coded(w, alpha).sum().backward()
    assert w.grad.tolist() == [[1, 1, 1, 0, 0, 0]]
    w.grad = None
    coded(w, alpha, clip=2.0).sum().backward()
    assert w.grad.tolist() == [[1, 1, 1, 1, 1, 0]]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_prefix_takes_its_planes_from_the_whole_depth(k):
    w, depth_alpha = problem(3)
    alpha = problem(k, seed=5)[1].requires_grad_()
    direction = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    seen = coded(w, alpha, depth_alpha)
    code = binary_code(w, {3: depth_alpha, k: alpha.detach()}) if k < 3 else None
    planes = torch.where(binary_code(w, {3: depth_alpha}).bits[:k], 1.0, -1.0)
    assert torch.allclose(seen, torch.einsum("kr,krc->rc", alpha, planes), atol=1e-6)
    if code:
        assert torch.allclose(code.dequantize(k), seen, atol=1e-6)
    (seen * direction).sum().backward()
    expected = (planes * direction).sum(2) / math.sqrt(COLUMNS * 4)
    assert torch.allclose(alpha.grad, expected, rtol=1e-4, atol=1e-5)
