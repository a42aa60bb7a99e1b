"""Calibration: two streams through the network, and codes that make up for the codes before them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from models.codes import bcq
from models.codes.compensate import compensate
from models.evaluate.divergence import Divergence
from models.format.layout import is_vocabulary, matrix_shapes
from models.marian.batches import encode, in_order
from models.marian.checkpoint import Checkpoint
from models.quantize.calibrate import calibrate, output_moment, read_batches
from models.text.lines import DataError, Line
from tests.models.conftest import random_tensors, sentences


def batches_of(checkpoint: Checkpoint, count: int, tokens: int, seed: int = 1):
    lines = [Line(a, b) for a, b in zip(sentences(count, seed), sentences(count, seed + 50), strict=True)]
    return in_order(encode(checkpoint, lines), checkpoint.ids, tokens)


def gathered(checkpoint: Checkpoint, tokens: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Walk with codes that are the wanted matrices themselves; return these, the moments and the biases."""
    wanted, moments = {}, {}

    def solve(name: str, weights: Tensor, moment: Tensor) -> Tensor:
        wanted[name], moments[name] = weights, moment
        return weights

    batches = batches_of(checkpoint, 40, tokens)
    biases = calibrate(checkpoint, batches, output_moment(checkpoint, batches), solve)
    return wanted, moments, biases


def lively(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    """Return random weights whose layer norms pass the states on as large as they are in trained models."""
    architecture = dataclasses.replace(checkpoint.architecture, **changes)
    tensors = {n: t + n.endswith("norm.gain") for n, t in random_tensors(architecture).items()}
    return dataclasses.replace(checkpoint, architecture=architecture, tensors=tensors)


@pytest.fixture(params=[{"norm": "post"}, {"norm": "pre"}, {"autoregression": "ssru"}], ids=["post", "pre", "ssru"])
def either_kind(request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint) -> Checkpoint:
    return lively(tiny_checkpoint, **request.param)


def test_codes_without_an_error_leave_the_model_as_it_is(either_kind: Checkpoint) -> None:
    wanted, moments, biases = gathered(either_kind, 200)
    assert wanted.keys() == moments.keys() == matrix_shapes(either_kind.architecture).keys()
    unbiased = {name for name in wanted if is_vocabulary(name) or name.endswith(".candidate")}
    assert biases.keys() == {f"{name}.bias" for name in wanted.keys() - unbiased}
    divergence = Divergence(either_kind, batches_of(either_kind, 40, 200, seed=3))
    assert divergence.measure({**either_kind.tensors, **wanted, **biases})["loss"] < 1e-5


def test_padding_is_not_read(either_kind: Checkpoint) -> None:
    _, batched, _ = gathered(either_kind, 400)
    _, single, _ = gathered(either_kind, 1)  # a batch a sentence has no padding
    for name, moment in single.items():
        assert (batched[name] - moment).norm() < 0.01 * moment.norm()


def test_codes_make_up_for_the_codes_before_them(either_kind: Checkpoint) -> None:
    calibration, held_out = batches_of(either_kind, 150, 500), batches_of(either_kind, 50, 500, seed=9)
    states = output_moment(either_kind, calibration)
    moments: dict[str, Tensor] = {}

    def plain(name: str, weights: Tensor, moment: Tensor) -> Tensor:
        moments[name] = moment
        return weights

    def coded(name: str, weights: Tensor, moment: Tensor) -> Tensor:
        return compensate(bcq.specialised(weights, 2), weights, moment).dequantize(2)

    calibrate(either_kind, calibration, states, plain)
    alone = {name: coded(name, either_kind.tensors[name], moment) for name, moment in moments.items()}
    codes: dict[str, Tensor] = {}

    def kept(name: str, weights: Tensor, moment: Tensor) -> Tensor:
        codes[name] = coded(name, weights, moment)
        return codes[name]

    biases = calibrate(either_kind, calibration, states, kept)
    divergence = Divergence(either_kind, held_out)
    before = divergence.measure({**either_kind.tensors, **alone})
    after = divergence.measure({**either_kind.tensors, **codes, **biases})
    assert after["loss"] < 0.95 * before["loss"]
    nothing = divergence.measure(either_kind.tensors)
    assert nothing["loss"] == pytest.approx(0, abs=1e-6)
    assert nothing["agreement"] == 1


def test_text_without_translations_is_refused(tmp_path: Path, tiny_checkpoint: Checkpoint) -> None:
    (tmp_path / "plain.txt").write_text("ba de\n")
    with pytest.raises(DataError, match="source TAB target"):
        read_batches(tiny_checkpoint, [tmp_path / "plain.txt"], 1)
