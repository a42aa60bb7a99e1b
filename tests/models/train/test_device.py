"""Devices: the settings of one, tried on the CPU; a state goes from one device to another."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
import torch

from models.__main__ import main
from models.codes.straight_through import coded
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.train import device as device_module
from models.train.dataset import Corpus, Encoder, Part
from models.train.device import Device
from models.train.feed import Feed
from models.train.full_precision import train_recipe
from models.train.loop import Until
from models.train.loss import mean_loss
from models.train.network import Network
from models.train.recipe import Batches, RecipeError, RetrainRecipe, Run, TrainRecipe, read_recipe
from models.train.retrain import retrain_recipe
from models.train.sampled_softmax import Sample
from models.train.state import TrainingError
from tests.models.conftest import sentences
from tests.models.train.test_training import RETRAIN, STABLE, TRAIN, log, shared, state, written

__all__ = ["shared"]  # a fixture


def corpus(checkpoint: Checkpoint, batches: Batches) -> Corpus:
    part = Part(*Encoder(checkpoint)(sentences(300, 1), sentences(300, 2)))
    return Corpus(checkpoint.ids, batches, 1, [part])


def gradients(checkpoint: Checkpoint, network: Network, parts: list[Batch]) -> dict[str, torch.Tensor]:
    """Compute the gradients of the mean loss of a label of all parts."""
    tensors = {n: t.clone().requires_grad_() for n, t in checkpoint.tensors.items() if n != "output.bias"}
    total = sum(part.tokens for part in parts)
    for part in parts:
        (network.loss(tensors, part, smoothing=0.1) * (part.tokens / total)).backward()
    return {name: tensor.grad for name, tensor in tensors.items()}


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tiny_checkpoint):
    """And a batch of four times as many sentences that of four batches together."""
    network = Network(tiny_checkpoint, Device(Run(precision="fp32")))
    text = corpus(tiny_checkpoint, Batches(200, (64,), multiple=4))
    whole = text.batch(text.epoch(0)[0])
    expected = gradients(tiny_checkpoint, network, [whole])
    with Feed(text, 4, torch.device("cpu")) as feed:
        feed.batches(0)
        parts = list(feed.take(0))
    plain = corpus(tiny_checkpoint, Batches(200, (64,)))
    assert {len(part.source) for part in parts} == {len(rows) for rows in plain.epoch(0)}
    assert sum(part.tokens for part in parts) == whole.tokens
    for name, gradient in gradients(tiny_checkpoint, network, parts).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("run", "tolerance"),
    [
        (Run(precision="bf16"), 0.05),
        pytest.param(Run(precision="fp32", compiled=True), 1e-4, marks=pytest.mark.campaign),  # traced for a minute
    ],
    ids=["bf16", "compiled"],
)
def test_the_gradients_are_nearly_those_of_plain_fp32(tiny_checkpoint, monkeypatch, run, tolerance):
    monkeypatch.setattr(device_module, "BACKEND", "aot_eager")  # the default one compiles C++ for minutes
    text = corpus(tiny_checkpoint, Batches(400, (8, 12, 16, 24, 64)))
    batches = [text.batch(rows) for rows in text.epoch(0)[:2]]
    assert len({batch.source.shape for batch in batches}) == 2
    plain = gradients(tiny_checkpoint, Network(tiny_checkpoint, Device(Run(precision="fp32"))), batches)
    others = gradients(tiny_checkpoint, Network(tiny_checkpoint, Device(run)), batches)
    errors = sum((gradient - plain[name]).square().sum() for name, gradient in others.items())
    assert errors < tolerance**2 * sum(gradient.square().sum() for gradient in plain.values())


LIKE_A_GPU = ["run.precision = 'bf16'", "run.parts = 2", "batches.multiple = 2"]


def test_a_run_with_the_settings_of_a_gpu_learns(tmp_path, shared):
    out = tmp_path / "run"
    options = [f"--set={line}" for line in [*LIKE_A_GPU, "schedule.rate = 4e-3"]]
    recipe = written(tmp_path, TRAIN.replace("log_steps = 5", "log_steps = 2"))
    assert main(["train", recipe, "--device", "cpu", "--shared", str(shared), "--out", str(out), *options]) == 0
    losses = [line["loss"] for line in log(out, "training")]
    assert losses[-1] < losses[0] - 0.3
    assert state(out)[1]["recipe"]["batches"]["multiple"] == 2


def test_a_state_goes_from_one_device_to_another_and_back(tmp_path, shared):
    """Whatever the device is, the same files say the same; a step of twice the batch begins a new epoch."""
    path = written(tmp_path, STABLE)
    plain = read_recipe(TrainRecipe, path)
    other = read_recipe(TrainRecipe, path, LIKE_A_GPU)
    out = tmp_path / "run"
    train_recipe(plain, shared, out, until=Until(steps=6))
    before = state(out)[0]
    progress = train_recipe(other, shared, out, until=Until(steps=2))
    assert (progress.step, progress.epoch, progress.batch) == (8, 1, 2)
    after = state(out)[0]
    assert after.keys() == before.keys()
    assert {t.dtype for t in after.values()} == {torch.float32}
    progress = train_recipe(plain, shared, out, until=Until(steps=2))
    assert (progress.step, progress.epoch, progress.batch) == (10, 2, 2)
    # a decaying run keeps the size of its batches, but not its device
    retraining = read_recipe(RetrainRecipe, written(tmp_path, RETRAIN, "re"))
    retrain_recipe(retraining, shared, tmp_path / "re", until=Until(steps=2))
    bf16 = dataclasses.replace(retraining, run=dataclasses.replace(retraining.run, precision="bf16", parts=2))
    assert retrain_recipe(bf16, shared, tmp_path / "re", until=Until(steps=2)).step == 4
    larger = dataclasses.replace(retraining, batches=dataclasses.replace(retraining.batches, multiple=2))
    with pytest.raises(TrainingError, match=r"\(batches.multiple changed\)"):
        retrain_recipe(larger, shared, tmp_path / "re")


def test_a_state_that_knows_fewer_fields_goes_on(tmp_path, shared):
    """A field that is new has the value that it had before it was one: its default."""
    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN))
    train_recipe(recipe, shared, tmp_path / "run", until=Until(steps=2))
    (path,) = tmp_path.glob("run/state-*/state.json")
    text = path.read_text()
    for field in ('"device": "cpu",', '"precision": "auto",', '"compiled": false,'):
        assert field in text
        text = text.replace(field, "")
    path.write_text(text)
    assert train_recipe(recipe, shared, tmp_path / "run", until=Until(steps=2)).step == 4


def test_a_call_ends_after_its_minutes_with_a_state(tmp_path, shared):
    recipe = written(tmp_path, TRAIN)
    arguments = ["train", recipe, "--shared", str(shared), "--out", str(tmp_path / "run"), "--minutes", "1e-9"]
    for step in (1, 2):
        assert main(arguments) == 0
        assert state(tmp_path / "run")[1]["progress"]["step"] == step


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["train", written(tmp_path, TRAIN), "--device", "cuda", "--shared", str(shared), "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "no CUDA device" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="a string has quotes"):
        read_recipe(TrainRecipe, written(tmp_path, TRAIN), ["run.device=cuda"])


class Elsewhere(Device):
    """A device that is not the CPU: `meta`, whose tensors have shapes alone and refuse those of another device."""

    def __init__(self) -> None:
        super().__init__(Run(precision="fp32"))
        self.torch = torch.device("meta")

    def products(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def test_all_that_a_step_makes_lies_on_its_device(tiny_checkpoint):
    text = corpus(tiny_checkpoint, Batches(200, (64,)))
    batch = text.batch(text.epoch(0)[0])
    there = Batch(*(each.to("meta") for each in batch[:4]), batch.tokens)
    network = Network(tiny_checkpoint, Elsewhere())
    tensors = {name: t.to("meta").requires_grad_() for name, t in tiny_checkpoint.tensors.items()}
    scales = torch.zeros(2, len(tensors["embedding"]), device="meta", requires_grad=True)
    labels, places = (torch.zeros(batch.tokens, dtype=torch.long, device="meta") for _ in range(2))
    sample = Sample(torch.zeros(20, dtype=torch.long, device="meta"), torch.zeros(20, device="meta"))
    seen = {**tensors, "embedding": coded(tensors["embedding"], scales)}
    # `loss` itself asks how many labels there are, which meta tensors don't know
    student, teacher = (network._output_of(each, there, places, sample) for each in (seen, tensors))
    mean_loss(student, sample.places(labels), smoothing=0.1, teacher=teacher, share=0.5).backward()
    assert {t.grad.device.type for name, t in tensors.items() if name != "output.bias"} == {"meta"}
    assert scales.grad.device.type == "meta"
    with pytest.raises(RuntimeError, match=r"meta|device"):
        network._output_of(tensors, batch, places, sample)
