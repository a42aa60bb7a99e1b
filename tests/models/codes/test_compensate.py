"""Error compensation: never a worse output, and plain codes where inputs are not correlated."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.__main__ import main
from models.codes import bcq
from models.codes.bcq import BinaryCode
from models.codes.compensate import compensate, fit_scales, output_error
from models.format.directory import open_model
from models.marian.checkpoint import Checkpoint
from models.marian.imported import write_checkpoint


def correlated_moment(columns: int, seed: int) -> Tensor:
    """Return the mean of x x^T of inputs near a plane of few dimensions, one column far larger than the others."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2000, columns // 4, generator=generator) @ torch.randn(columns // 4, columns, generator=generator)
    x += torch.randn(2000, columns, generator=generator)
    x[:, 3] *= 10
    return (x.T @ x / len(x)).double()


def weights_of(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def plain_code(kind: str, weights: Tensor, group_size: int | None) -> BinaryCode:
    if kind == "progressive":
        return bcq.progressive(weights, 6, group_size=group_size)
    return bcq.specialised(weights, int(kind), group_size=group_size)


def total_error(code: BinaryCode, weights: Tensor, planes: int, moment: Tensor) -> float:
    return float(output_error(weights - code.dequantize(planes), moment).sum())


@pytest.mark.parametrize("group_size", [None, 32])
@pytest.mark.parametrize("kind", ["progressive", "1", "3"])
def test_output_error_falls(kind: str, group_size: int | None) -> None:
    weights, moment = weights_of(40, 100, seed=1), correlated_moment(100, seed=2)
    plain = plain_code(kind, weights, group_size)
    code = compensate(plain, weights, moment)
    assert code.bits.shape == plain.bits.shape
    assert {k: s.shape for k, s in code.scales.items()} == {k: s.shape for k, s in plain.scales.items()}
    for planes in plain.scales:
        assert total_error(code, weights, planes, moment) < total_error(plain, weights, planes, moment)
    depth = len(plain.bits)
    assert total_error(code, weights, depth, moment) < 0.6 * total_error(plain, weights, depth, moment)


@pytest.mark.parametrize("group_size", [None, 32])
def test_no_prefix_is_worse_for_its_scales_in_the_metric(group_size: int | None) -> None:
    weights, moment = weights_of(40, 100, seed=3), correlated_moment(100, seed=4)
    plain = bcq.progressive(weights, 6, group_size=group_size)
    fitted = BinaryCode(plain.bits, fit_scales(plain, weights, moment), group_size)
    for planes in plain.scales:
        before = output_error(weights - plain.dequantize(planes), moment)
        after = output_error(weights - fitted.dequantize(planes), moment)
        assert (after <= before * 1.001).all()


@pytest.mark.parametrize("kind", ["progressive", "3"])
def test_without_correlation_it_is_the_plain_code(kind: str) -> None:
    weights, moment = weights_of(40, 128, seed=5), torch.eye(128)
    plain = plain_code(kind, weights, None)
    code = compensate(plain, weights, moment)
    for planes in plain.scales:
        assert 0.8 < code.error(weights, planes) / plain.error(weights, planes) < 1.02
    fitted = fit_scales(plain, weights, moment.double())
    for planes, scales in plain.scales.items():
        torch.testing.assert_close(fitted[planes], scales, rtol=2e-3, atol=1e-5)


def test_a_row_does_not_depend_on_the_others() -> None:
    weights, moment = weights_of(40, 64, seed=6), correlated_moment(64, seed=7)
    whole = compensate(bcq.progressive(weights, 4), weights, moment)
    again = compensate(bcq.progressive(weights, 4), weights, moment)
    part = compensate(bcq.progressive(weights[:5], 4), weights[:5], moment)
    assert torch.equal(whole.bits, again.bits)
    assert all(torch.equal(whole.scales[k], again.scales[k]) for k in whole.scales)
    assert (whole.bits[:, :5] == part.bits).float().mean() > 0.99


def test_rows_of_zeros_and_inputs_that_never_fire() -> None:
    weights, moment = weights_of(16, 64, seed=8), correlated_moment(64, seed=9)
    weights[3] = 0
    moment[7], moment[:, 7] = 0, 0
    code = compensate(bcq.progressive(weights, 4), weights, moment)
    assert all(torch.isfinite(scales).all() for scales in code.scales.values())
    assert code.dequantize(4)[3].abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["progressive", "specialised"])
def test_quantize_compensates(tmp_path: Path, tiny_checkpoint: Checkpoint, text_file: Path, kind: str) -> None:
    write_checkpoint(tiny_checkpoint, tmp_path / "checkpoint")
    out = tmp_path / "model"
    arguments = ["quantize", str(tmp_path / "checkpoint"), str(out), "--config", "paper-2.5", "--kind", kind]
    assert main([*arguments, "--calibrate", str(text_file), "--calibration-pairs", "20"]) == 0
    assert open_model(out).config.codes.solver.endswith(", compensated")
