"""Prices of errors and planes for a budget, against errors that are made and budgets that are searched through."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.evaluate.divergence import Divergence
from models.format.faults import allocation_fault
from models.format.layout import bits_per_weight, matrix_shapes
from models.marian.checkpoint import Checkpoint
from models.quantize.allocate import AllocationError
from models.quantize.apportion import Curve, apportion, curves, predicted
from models.quantize.fisher import prices
from tests.models.quantize.test_calibrate import batches_of, lively


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    return lively(tiny_checkpoint)


@pytest.fixture(scope="module")
def rows(checkpoint: Checkpoint) -> Mapping[str, torch.Tensor]:
    return prices(checkpoint, batches_of(checkpoint, 60, 500)).rows


def test_prices_predict_the_divergence_of_small_errors(
    checkpoint: Checkpoint, rows: Mapping[str, torch.Tensor]
) -> None:
    assert rows.keys() == matrix_shapes(checkpoint.architecture).keys()
    assert all((price > 0).any() and torch.isfinite(price).all() for price in rows.values())
    divergence = Divergence(checkpoint, batches_of(checkpoint, 60, 500))
    weights, price = checkpoint.tensors["embedding"], rows["embedding"]
    generator = torch.Generator().manual_seed(0)
    dear = price > price.median()
    for some in (dear, ~dear):  # rows are read, and predicted
        noise = 0.02 * some[:, None] * torch.randn(weights.shape, generator=generator)
        moved = divergence.measure({**checkpoint.tensors, "embedding": weights + noise})["loss"]
        # A price has the geometric mean of a moment's eigenvalues; white errors cost the arithmetic one.
        assert 0.5 < moved / (price @ noise.square().sum(1)).item() < 4


def test_the_matrices_of_an_ssru_have_prices_too(tiny_checkpoint: Checkpoint) -> None:
    checkpoint = lively(tiny_checkpoint, autoregression="ssru")
    batches = batches_of(checkpoint, 60, 500)
    rows, divergence = prices(checkpoint, batches).rows, Divergence(checkpoint, batches)
    assert rows.keys() == matrix_shapes(checkpoint.architecture).keys()
    for name in ("decoder.0.ssru.forget", "decoder.0.ssru.candidate"):
        weights = checkpoint.tensors[name]
        noise = 0.02 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0))
        moved = divergence.measure({**checkpoint.tensors, name: weights + noise})["loss"]
        assert 1 < moved / (rows[name] @ noise.square().sum(1)).item() < 10  # arithmetic and geometric means, as above


@given(
    costs=st.lists(st.floats(1e-6, 1.0), min_size=3, max_size=3),
    budget=st.integers(3, 18),
)
def test_no_allocation_of_the_same_bits_diverges_less(costs: list[float], budget: int) -> None:
    errors = 0.3 ** np.arange(1, 9)
    made = {f"m{n}": Curve(np.outer(errors, [cost]), 1, 1, 1) for n, cost in enumerate(costs)}

    def spent(planes: dict[str, int]) -> int:
        return sum(planes.values())

    found = apportion(made, lambda allocation: spent({n: s[0].planes for n, s in allocation.items()}) <= budget)
    planes = {name: segments[0].planes for name, segments in found.items()}
    assert spent(planes) <= budget
    divergence = predicted(made, found)
    for other in itertools.product(range(1, 9), repeat=3):
        if sum(other) <= spent(planes):
            assert sum(c * errors[q - 1] for c, q in zip(costs, other, strict=True)) > divergence * (1 - 1e-9) - 1e-15


def test_budgets_are_kept_and_used(checkpoint: Checkpoint, rows: Mapping[str, torch.Tensor]) -> None:
    by_planes, architecture = curves(checkpoint, rows), checkpoint.architecture
    for bits in (1.5, 2.0, 3.3, 8.0):  # a row of 48 weights is stored as 64
        allocation = apportion(by_planes, lambda each, most=bits: bits_per_weight(architecture, each) <= most)
        assert allocation_fault(architecture, 8, allocation) is None
        assert bits - 0.5 < bits_per_weight(architecture, allocation) <= bits
    with pytest.raises(AllocationError, match="below that of one plane"):
        apportion(by_planes, lambda each: bits_per_weight(architecture, each) <= 0.9)
