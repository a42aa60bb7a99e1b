"""Training and retraining of tiny models: they learn, resume to the same bits, and end in what the engine computes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.__main__ import main
from models.codes.bcq import specialised
from models.codes.bit_config import find_config
from models.format.directory import open_model
from models.format.schema import Ids
from models.marian.imported import write_checkpoint
from models.marian.marian import write_marian
from models.marian.read import read_checkpoint
from models.marian.rows import piece_counts, sort_rows
from models.marian.transformer import Transformer
from models.text.lines import DataError
from models.train.dataset import Corpus, Encoder, Part, Side, read_corpus
from models.train.full_precision import Plain, reversed_checkpoint, train_recipe
from models.train.loop import Training, Until
from models.train.recipe import (
    RECIPES,
    Batches,
    RecipeError,
    RetrainRecipe,
    Source,
    TrainRecipe,
    located,
    read_recipe,
)
from models.train.retrain import Retraining, Target, retrain_recipe
from models.train.schedule import Schedule
from models.train.state import TrainingError
from models.train.warm_start import read_warm_start
from tests.models.conftest import sentences
from tests.models.quantize.test_export import dequantize

COMMON = """
description = "a toy"
label_smoothing = 0.1
[init]
checkpoint = "checkpoint/tiny"
[batches]
tokens = 200
lengths = [8, 12, 16, 24, 40]
[validation]
set = "valid/toy"
sentences = 20
bleu_sentences = 3
every_tokens = 4000
[run]
threads = 1
log_steps = 5
[[sources]]
name = "toy"
licence = "none"
"""
TRAIN = (
    COMMON
    + """
[optimizer]
ema = 0.9
[schedule]
tokens = 8000
warmup_tokens = 200
rate = 3e-3
"""
)
RETRAIN = (
    """
distillation = 0.5
"""
    + COMMON
    + """
[optimizer]
ema = 0.9
[codes]
config = "paper-2.5"
method = "ste"
text = ["toy"]
[[phases]]
name = "embedding"
code = ["*embedding"]
schedule = { tokens = 3000, warmup_tokens = 100, rate = 2e-3 }
[[phases]]
name = "rest"
code = ["*"]
schedule = { tokens = 4000, warmup_tokens = 100, rate = 2e-3 }
"""
)


@pytest.fixture
def shared(tmp_path, tiny_checkpoint) -> Path:
    """Make a corpus whose translation repeats its source, and the tiny model."""
    root = tmp_path / "shared"
    for name in ("checkpoint", "corpus/train", "corpus/valid"):
        (root / name).mkdir(parents=True)
    write_checkpoint(tiny_checkpoint, root / "checkpoint/tiny")
    lines = sentences(400, 1)
    source = root / "corpus/train/toy.tsv"
    source.write_text("".join(f"{a}\t{a}\n" for a in lines[20:]), encoding="utf-8")
    _compress(source)
    for language in ("en", "de"):
        (root / f"corpus/valid/toy.{language}").write_text("".join(f"{a}\n" for a in lines[:20]), encoding="utf-8")
    return root


def _compress(path: Path) -> None:
    import lzma

    with lzma.open(path.with_suffix(".tsv.xz"), "wb") as file:
        file.write(path.read_bytes())
    path.unlink()


def written(tmp_path: Path, text: str, name: str = "toy") -> str:
    path = tmp_path / f"{name}.toml"
    path.write_text(text)
    return str(path)


def log(out: Path, kind: str) -> list[dict]:
    return [line for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if line["kind"] == kind]


def state(out: Path) -> tuple[dict[str, torch.Tensor], dict]:
    (path,) = out.glob("state-*")
    return load_file(path / "tensors.safetensors"), json.loads((path / "state.json").read_text())


def assert_same_state(a: Path, b: Path) -> None:
    (tensors_a, numbers_a), (tensors_b, numbers_b) = state(a), state(b)
    assert numbers_a == numbers_b
    assert tensors_a.keys() == tensors_b.keys()
    for name, tensor in tensors_a.items():
        assert torch.equal(tensor, tensors_b[name]), name


# --- training ---------------------------------------------------------------------------------------------------------


def test_training_learns_and_writes_a_marian_directory(tmp_path, shared, capsys):
    from transformers import MarianMTModel

    out = tmp_path / "run"
    assert main(["train", written(tmp_path, TRAIN), "--shared", str(shared), "--out", str(out)]) == 0
    losses = [line["loss"] for line in log(out, "training")]
    assert losses[-1] < losses[0] - 0.5
    measured = log(out, "validation")
    assert measured[-1]["loss"] < measured[0]["loss"]
    assert {"bleu", "tokens", "version"} <= measured[0].keys()
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in out.glob(".*")] == []
    # what was written is the average that was measured, and transformers reads it
    trained = read_checkpoint(out / "model")
    average = {name[8:]: t for name, t in state(out)[0].items() if name.startswith("average/")}
    assert all(torch.equal(trained.tensors[name], tensor) for name, tensor in average.items())
    ours = Transformer.from_tensors(trained.architecture, trained.tensors)
    theirs = MarianMTModel.from_pretrained(out / "model").eval()
    source, target = torch.tensor([[5, 9, 12, 40, 0]]), torch.tensor([[trained.ids.decoder_start, 7, 8, 20]])
    with torch.no_grad():
        expected = theirs(input_ids=source, decoder_input_ids=target).logits
        assert torch.allclose(ours(source, target), expected, atol=1e-4)
    assert main(["quantize", str(out / "model"), str(tmp_path / "coded"), "--config", "flat-4"]) == 0


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("shared_vocabulary", [True, False])
def test_a_marian_directory_reads_back_as_it_was(tmp_path, tiny_checkpoint, norm, shared_vocabulary):
    from tests.models.conftest import random_tensors

    architecture = dataclasses.replace(tiny_checkpoint.architecture, norm=norm, shared_vocabulary=shared_vocabulary)
    checkpoint = dataclasses.replace(
        tiny_checkpoint,
        architecture=architecture,
        target_pieces=None if shared_vocabulary else tiny_checkpoint.source_pieces,
        tensors=random_tensors(architecture),
    )
    write_marian(checkpoint, tmp_path / "marian")
    write_marian(checkpoint, tmp_path / "marian")  # replaces
    back = read_checkpoint(tmp_path / "marian")
    assert back.tensors.keys() == checkpoint.tensors.keys()
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in checkpoint.tensors.items())
    assert dataclasses.replace(back, tensors={}) == dataclasses.replace(checkpoint, tensors={})


def test_a_kept_checkpoint_is_the_trained_one_in_float16(tmp_path, tiny_checkpoint):
    write_marian(tiny_checkpoint, tmp_path / "run")
    assert main(["keep", str(tmp_path / "run"), str(tmp_path / "kept")]) == 0
    stored = load_file(tmp_path / "kept/model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    back = read_checkpoint(tmp_path / "kept")
    for name, tensor in tiny_checkpoint.tensors.items():
        assert torch.equal(back.tensors[name], tensor.half().float())
    assert dataclasses.replace(back, tensors={}) == dataclasses.replace(tiny_checkpoint, tensors={})


def test_a_fresh_model_has_the_shape_that_the_recipe_asks_for(tmp_path, shared):
    shape = '[init]\nfresh = true\nshape = { encoder_layers = 1, d_model = 32, autoregression = "ssru" }\n'
    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN.replace("[init]\n", shape)))
    train_recipe(recipe, shared, tmp_path / "run")
    trained = read_checkpoint(tmp_path / "run/model").architecture
    assert (trained.encoder_layers, trained.d_model, trained.decoder_layers) == (1, 32, 1)
    assert trained.autoregression == "ssru"
    losses = [line["loss"] for line in log(tmp_path / "run", "training")]
    assert losses[-1] < losses[0]


KILLED = """
import os, sys, tests.models.conftest
from pathlib import Path
from models.train.recipe import read_recipe, TrainRecipe, RetrainRecipe
from models.train import full_precision as train
from models.train import retrain
kind, recipe, shared, out, step = sys.argv[1:]
make = {"train": train.Plain, "retrain": retrain.Retraining}[kind]
after = make.after_step
def kill(self, number):
    after(self, number)
    if number == int(step):
        os.kill(os.getpid(), 9)
make.after_step = kill
if kind == "train":
    train.train_recipe(read_recipe(TrainRecipe, recipe), Path(shared), Path(out))
else:
    retrain.retrain_recipe(read_recipe(RetrainRecipe, recipe), Path(shared), Path(out))
"""
PNR = RETRAIN.replace('method = "ste"', 'method = "pnr"\nperiod = 7\nsolver = "greedy"').replace("ema = 0.9\n", "")
PREFIX = RETRAIN.replace('"paper-2.5"', '"flat-3"').replace('method = "ste"', 'method = "ste"\nprefix = true')
EIGHT_BIT = TRAIN.replace("ema = 0.9", 'ema = 0.9\nkind = "adamw8bit"')


@pytest.mark.parametrize(
    ("kind", "text"),
    [("train", TRAIN), ("train", EIGHT_BIT), ("retrain", RETRAIN), ("retrain", PNR), ("retrain", PREFIX)],
    ids=["train", "8-bit states", "ste", "pnr", "prefix"],
)
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, shared, kind, text):
    for tokens, fewer in (("3000", "1000"), ("4000", "1500"), ("8000", "3000")):
        text = text.replace(f"tokens = {tokens}", f"tokens = {fewer}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run = train_recipe if kind == "train" else retrain_recipe
    each = written(tmp_path, text)
    recipe = read_recipe(TrainRecipe if kind == "train" else RetrainRecipe, each)
    total = run(recipe, shared, whole).step
    # A checkpoint now and then is no part of the result, so the killed run may write more of them.
    often = written(tmp_path, text.replace("[run]", "[run]\ncheckpoint_minutes = 1e-9"), "often")
    command = [sys.executable, "-c", KILLED, kind, often, str(shared), str(killed), str(total // 2)]
    done = subprocess.run(command, check=False, capture_output=True, cwd=Path(__file__).parents[3])
    assert done.returncode == -9, done.stderr.decode()[-2000:]
    assert state(killed)[1]["progress"]["step"] == total // 2 - 1
    with (killed / "log.jsonl").open("a") as file:
        file.write('{"kind": "trai')
    run(read_recipe(type(recipe), each), shared, killed)
    assert_same_state(whole, killed)
    for name in ("training", "validation"):
        steps = [line["step"] for line in log(killed, name)]
        assert steps == [line["step"] for line in log(whole, name)]
    for path in (whole / "model").iterdir():
        assert path.read_bytes() == (killed / "model" / path.name).read_bytes(), path.name


def test_a_run_stops_after_the_steps_that_it_was_given_and_goes_on(tmp_path, shared):
    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN))
    assert train_recipe(recipe, shared, tmp_path / "parts", until=Until(steps=11)).step == 11
    progress = train_recipe(recipe, shared, tmp_path / "parts")
    assert progress == train_recipe(recipe, shared, tmp_path / "whole")
    assert_same_state(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("rate = 3e-3", "rate = 2e-3", "schedule.rate"),
        ("[run]", "[run]\nseed = 2", "run.seed"),
        ("tokens = 8000", "tokens = 9000", "schedule.tokens"),  # a cosine decays from the first token
        ('name = "toy"', 'name = "toy"\ncap = 50', "sources"),
        ("warmup_tokens = 200", "warmup_tokens = 100", "schedule.warmup_tokens"),
        ("label_smoothing = 0.1", "label_smoothing = 0.2", "label_smoothing"),
    ],
)
def test_another_recipe_does_not_go_on_with_a_run(tmp_path, shared, old, new, field):
    train_recipe(read_recipe(TrainRecipe, written(tmp_path, TRAIN)), shared, tmp_path / "run", until=Until(steps=2))
    other = read_recipe(TrainRecipe, written(tmp_path, TRAIN.replace(old, new), "other"))
    with pytest.raises(TrainingError, match=rf"started with another recipe \({field} changed\)"):
        train_recipe(other, shared, tmp_path / "run")


STABLE = TRAIN.replace("rate = 3e-3", "rate = 3e-3\ndecay_tokens = 2000")  # stable until 6000


@pytest.mark.parametrize(
    "schedule",
    ["tokens = 9000", "tokens = 7500", 'tokens = 9000\nshape = "sqrt"', "tokens = 9000\nfloor = 0.5"],
)
def test_a_stable_run_may_end_otherwise(tmp_path, shared, schedule):
    """Its steps are those of a run that was to end so from the start."""
    started, whole = tmp_path / "started", tmp_path / "whole"
    train_recipe(read_recipe(TrainRecipe, written(tmp_path, STABLE)), shared, started, until=Until(steps=15))
    assert state(started)[1]["progress"]["tokens"] < 5500
    changed = read_recipe(TrainRecipe, written(tmp_path, STABLE.replace("tokens = 8000", schedule), "changed"))
    train_recipe(changed, shared, started)
    train_recipe(changed, shared, whole)
    assert_same_state(started, whole)


def test_a_stable_run_may_go_on_with_other_sources_in_a_new_epoch(tmp_path, shared):
    train_recipe(read_recipe(TrainRecipe, written(tmp_path, STABLE)), shared, tmp_path / "run", until=Until(steps=15))
    (tmp_path / "more.tsv").write_text("".join(f"{a}\t{a}\n" for a in sentences(300, 7)))
    table = f'[[sources]]\nname = "{tmp_path / "more.tsv"}"\nlicence = "none"\n[optimizer]'
    other = read_recipe(TrainRecipe, written(tmp_path, STABLE.replace("[optimizer]", table), "other"))
    progress = train_recipe(other, shared, tmp_path / "run", until=Until(steps=3))
    assert (progress.step, progress.epoch, progress.batch) == (18, 1, 3)


def test_a_run_that_decays_may_not_end_otherwise(tmp_path, shared):
    train_recipe(read_recipe(TrainRecipe, written(tmp_path, STABLE)), shared, tmp_path / "run")
    assert state(tmp_path / "run")[1]["progress"]["tokens"] > 8000
    longer = read_recipe(TrainRecipe, written(tmp_path, STABLE.replace("tokens = 8000", "tokens = 20000"), "longer"))
    with pytest.raises(TrainingError, match=r"another recipe \(schedule.tokens changed\)"):
        train_recipe(longer, shared, tmp_path / "run")


def test_a_decay_begins_from_any_state_of_a_stable_run(tmp_path, shared):
    """The rates are 1 - sqrt, the weights those of AdamW with the moments taken over, and the average stays as old."""
    stable, out = tmp_path / "stable", tmp_path / "decay"
    main(["train", written(tmp_path, STABLE, "stable"), "--shared", str(shared), "--out", str(stable), "--steps", "12"])
    before, numbers = state(stable)
    schedule = 'warmup_tokens = 0\nrate = 3e-3\nshape = "sqrt"\ndecay_tokens = 3000\nfloor = 0.1'
    text = STABLE.replace("warmup_tokens = 200\nrate = 3e-3\ndecay_tokens = 2000", schedule)
    text = text.replace("tokens = 8000", "tokens = 3000").replace("log_steps = 5", "log_steps = 1")
    recipe = written(tmp_path, text, "decay")
    arguments = ["train", recipe, "--shared", str(shared), "--out", str(out), "--continue", str(stable)]
    assert main([*arguments, "--steps", "1"]) == 0
    after, moved = state(out)
    assert (moved["progress"]["step"], moved["progress"]["epoch"]) == (13, numbers["progress"]["epoch"] + 1)
    # one step of AdamW by hand, from the moments of the other run
    read = read_recipe(TrainRecipe, recipe)
    checkpoint = read_checkpoint(shared / "checkpoint/tiny")
    corpus = read_corpus(checkpoint, read.sources, shared / "corpus", read.batches, read.run.seed)
    plain = Plain(read, dataclasses.replace(checkpoint, tensors={**checkpoint.tensors, **_of(before, "parameters")}))
    plain.loss(corpus.batch(corpus.epoch(moved["progress"]["epoch"])[0]), 12).backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters.values(), 1.0)
    for name, weights in plain.parameters.items():
        first = 0.9 * before[f"optimizer/{name}/exp_avg"] + 0.1 * weights.grad
        second = 0.98 * before[f"optimizer/{name}/exp_avg_sq"] + 0.02 * weights.grad**2
        step = first / (1 - 0.9**13) / ((second / (1 - 0.98**13)).sqrt() + 1e-9)
        decay = 0.01 if weights.dim() == 2 else 0.0
        expected = weights.detach() * (1 - 3e-3 * decay) - 3e-3 * step
        torch.testing.assert_close(after[f"parameters/{name}"], expected, atol=2e-6, rtol=1e-4)
        average = torch.lerp(before[f"average/{name}"], after[f"parameters/{name}"], 1 - min(0.9, 14 / 23))
        torch.testing.assert_close(after[f"average/{name}"], average)
    # the rest of the decay
    assert main(arguments) == 0
    lines = log(out, "training")
    tokens = [0, *(line["tokens"] for line in lines[:-1])]
    assert len(lines) > 5
    for line, seen in zip(lines, tokens, strict=True):
        assert line["rate"] == pytest.approx(3e-3 * (1 - 0.9 * (seen / 3000) ** 0.5))
    assert log(out, "validation")[-1]["loss"] < log(stable, "validation")[-1]["loss"]


def _of(tensors: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{kind}/"): t for name, t in tensors.items() if name.startswith(f"{kind}/")}


def test_a_state_without_its_recipe_is_for_another_run_to_begin_with(tmp_path, shared):
    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN))
    train_recipe(recipe, shared, tmp_path / "run", until=Until(steps=2))
    (path,) = (tmp_path / "run").glob("state-*/state.json")
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "recipe"}))
    with pytest.raises(TrainingError, match="its recipe was not recorded; begin a new run from it with --continue"):
        train_recipe(recipe, shared, tmp_path / "run")
    progress = train_recipe(recipe.beginning_with(run=tmp_path / "run"), shared, tmp_path / "on", until=Until(steps=1))
    assert (progress.step, progress.epoch, progress.batch) == (3, 1, 1)


def test_a_run_can_not_begin_with_the_state_of_another_model(tmp_path, shared, capsys):
    arguments = ["train", written(tmp_path, TRAIN), "--shared", str(shared), "--out"]
    begin = ["--continue", str(tmp_path / "first")]
    assert main([*arguments, str(tmp_path / "none"), *begin]) == 2
    assert "there is no state of a run to begin with" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "first"), "--steps", "1"]) == 0
    small = TRAIN.replace("[init]\n", "[init]\nfresh = true\nshape = { d_model = 32 }\n")
    other = ["train", written(tmp_path, small, "small"), "--shared", str(shared), "--out", str(tmp_path / "small")]
    assert main([*other, *begin]) == 2
    assert "the state is one of another model" in capsys.readouterr().err
    eight = ["train", written(tmp_path, EIGHT_BIT, "eight"), "--shared", str(shared), "--out", str(tmp_path / "eight")]
    assert main([*eight, *begin]) == 2
    assert "the state is one of adamw, not of adamw8bit" in capsys.readouterr().err


# --- data -------------------------------------------------------------------------------------------------------------


def toy_corpus(caps: list[int | None], repeats: list[int]) -> Corpus:
    random = np.random.default_rng(0)

    def side(lengths: list[int]) -> Side:
        ids = [np.append(random.integers(1, 50, n), 0) for n in lengths]
        return Side(np.concatenate(ids).astype(np.int32), np.array(lengths) + 1)

    parts = [
        Part(side([n % 7 + 1 for n in range(60)]), side([n % 5 + 1 for n in range(60)]), cap, repeat)
        for cap, repeat in zip(caps, repeats, strict=True)
    ]
    ids = Ids(eos=0, pad=59, unk_source=1, unk_target=1, decoder_start=59, suppressed=(59,))
    return Corpus(ids, Batches(64, (3, 5, 8)), 1, parts)


def test_an_epoch_takes_each_source_as_often_as_the_mix_says():
    corpus = toy_corpus([10, None], [2, 1])
    rows = np.concatenate(corpus.epoch(0))
    counts = np.bincount(rows, minlength=120)
    assert (counts[:60] > 0).sum() == 10  # the cap
    assert counts[:60][counts[:60] > 0].min() >= 2
    assert counts[60:].min() >= 1
    assert {len(batch) for batch in corpus.epoch(0)} == {64 // 3 // 8 * 8, 8}  # a few fixed shapes
    other = np.concatenate(corpus.epoch(1))
    assert set(rows[rows < 60]) != set(other[other < 60])  # drawn anew
    assert all(map(np.array_equal, corpus.epoch(1), toy_corpus([10, None], [2, 1]).epoch(1)))


def test_a_batch_holds_the_sentences_and_masks_the_rest():
    corpus = toy_corpus([None], [1])
    rows = corpus.epoch(0)[0]
    batch = corpus.batch(rows)
    assert batch.target.shape == batch.labels.shape
    for side, of_rows in ((batch.source, 7), (batch.target, 5)):  # each as long as its longest sentence, and even
        longest = max(row % of_rows + 2 for row in rows)
        assert side.shape == (len(rows), longest + longest % 2)
    for n, row in enumerate(rows):
        length = row % 5 + 2
        label = batch.labels[n]
        assert label[length - 1] == 0  # eos
        assert (label[length:] == -100).all()
        assert batch.target[n, 0] == 59
        assert torch.equal(batch.target[n, 1:length], label[: length - 1])
        assert batch.source_mask[n].sum() == row % 7 + 2
    assert batch.tokens == (batch.labels >= 0).sum()


def test_like_lengths_make_a_batch():
    """Source, then target rise within a batch; only the last batch of each of three buckets is filled up again."""
    falls = 0
    for rows in toy_corpus([None], [5]).epoch(0):
        lengths = [(row % 7 + 2, row % 5 + 2) for row in rows.tolist()]
        falls += sum(one > other for one, other in itertools.pairwise(lengths))
    assert falls <= 3


def test_text_becomes_the_ids_that_evaluate_reads(tiny_checkpoint):
    reader = tiny_checkpoint.source_tokenizer()
    texts = ["bade figo", "☃ ba", "hühühü"]
    source, target = Encoder(tiny_checkpoint)(texts, texts)
    for n, text in enumerate(texts):
        assert list(source[n]) == list(target[n]) == [*reader.encode(text), 0]


def test_text_without_translations_is_refused(tmp_path, shared, tiny_checkpoint):
    (tmp_path / "plain.tsv").write_text("only one side\n")
    with pytest.raises(DataError, match="has 1 fields"):
        read_corpus(tiny_checkpoint, [Source(str(tmp_path / "plain.tsv"), "none")], shared, Batches(64, (8,)), 1)


def test_the_other_direction_is_learnt_from_the_same_text(tmp_path, tiny_checkpoint, shared):
    pairs = [("bade figo", "figo figo ba"), ("ba", "bade"), ("figo ba", "bade bade bade")]
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    forward, backward = (
        read_corpus(
            tiny_checkpoint,
            [Source(str(tmp_path / "pairs.tsv"), "none")],
            shared,
            Batches(64, (8, 16)),
            1,
            reverse=turned,
        ).batch(np.arange(3))
        for turned in (False, True)
    )
    assert not torch.equal(forward.source, backward.source)
    for one, other in ((forward, backward), (backward, forward)):
        assert torch.equal(one.labels.masked_fill(one.labels < 0, 0), other.source)
        assert torch.equal(one.labels >= 0, other.source_mask)


def test_a_reversed_checkpoint_is_a_start_with_its_languages_exchanged(tmp_path, shared, capsys):
    out = tmp_path / "run"
    text = TRAIN.replace("[init]", "reverse_pairs = true\n[init]\nreverse = true")
    assert main(["train", written(tmp_path, text), "--shared", str(shared), "--out", str(out), "--steps", "1"]) == 0
    started, ended = read_checkpoint(shared / "checkpoint/tiny"), read_checkpoint(out / "model")
    assert ended.source_languages == started.target_languages != started.source_languages == ended.target_languages
    assert ended.source_pieces == started.source_pieces
    capsys.readouterr()

    apart = dataclasses.replace(started, target_pieces=started.source_pieces)
    with pytest.raises(RecipeError, match="share their vocabulary"):
        reversed_checkpoint(apart)


# --- retraining -------------------------------------------------------------------------------------------------------


def retraining(recipe: RetrainRecipe, shared: Path) -> tuple[Retraining, Corpus]:
    """Make the objective and its data as `retrain_recipe` does."""
    checkpoint = read_checkpoint(shared / recipe.init.checkpoint)
    texts = [shared / "corpus/train/toy.tsv.xz"]
    checkpoint, vocabulary = sort_rows(checkpoint, *piece_counts(checkpoint, texts))
    target = Target("tiny", find_config(recipe.codes.config), (), vocabulary, (), "")
    corpus = read_corpus(checkpoint, recipe.sources, shared / "corpus", recipe.batches, 1)
    warm_start = read_warm_start(recipe.codes, target.base, checkpoint, vocabulary, shared, recipe.run.seed)
    return Retraining(recipe, checkpoint, target, warm_start), corpus


def test_a_sample_of_all_words_changes_nothing(tmp_path, shared):
    losses = []
    for words in (0, 10_000, 40):
        recipe = written(tmp_path, f"sampled_words = {words}\n" + RETRAIN, str(words))
        retrain_recipe(read_recipe(RetrainRecipe, recipe), shared, tmp_path / f"out-{words}", until=Until(steps=5))
        losses.append(state(tmp_path / f"out-{words}")[0]["parameters/embedding"])
    whole, all_words, sample = losses
    assert torch.allclose(whole, all_words, atol=1e-5)
    assert not torch.allclose(whole, sample, atol=1e-5)


@pytest.mark.parametrize("text", [RETRAIN, PNR, PREFIX], ids=["ste", "pnr", "prefix"])
def test_what_was_validated_is_what_the_engine_computes_with(tmp_path, shared, text):
    recipe = read_recipe(RetrainRecipe, written(tmp_path, text))
    out = tmp_path / "run"
    retrain_recipe(recipe, shared, out)
    # what is measured is the average, or the weights themselves
    kind = "average/" if recipe.optimizer.ema else "parameters/"
    values = {name.removeprefix(kind): t for name, t in state(out)[0].items() if name.startswith(kind)}
    model = open_model(out / "model")
    objective, _ = retraining(recipe, shared)
    objective.enter(len(recipe.phases) - 1, resumed=True)
    for label, tensors in objective.versions(values):
        name = f"flat-{label[0]}" if recipe.codes.prefix else recipe.codes.config
        stored = dequantize(model, name)
        for matrix, weights in stored.items():
            assert torch.allclose(weights, tensors[matrix], atol=1e-6), matrix
        engine = model.engine(model.allocation(name))
        source, target = [5, 9, 12, 33, 0], [model.config.ids.decoder_start, 7, 8, 20]
        with torch.inference_mode():
            network = Transformer.from_tensors(model.config.architecture, tensors)
            expected = network(torch.tensor([source]), torch.tensor([target]))[0].numpy()
        difference = np.abs(engine.logits(source, target) - expected).max()
        assert difference <= 5e-2 * expected.std()  # as tests/kernels/test_engine.py has it where bytes are used


def test_retraining_learns_and_evaluate_runs_on_the_result(tmp_path, shared, capsys):
    pytest.importorskip("kernels._engine", reason="the engine is not built")
    out = tmp_path / "run"
    assert main(["retrain", written(tmp_path, RETRAIN), "--shared", str(shared), "--out", str(out)]) == 0
    last_phase = [line["loss"] for line in log(out, "training") if line["phase"] == 1]
    assert last_phase[-1] < last_phase[0]
    card = (out / "model/README.md").read_text()
    assert "| toy | none |" in card
    assert open_model(out / "model").config.codes.solver == "ste, distilled"
    valid = [str(shared / f"corpus/valid/toy.{language}") for language in ("en", "de")]
    arguments = ["evaluate", str(out / "model"), "--source", valid[0], "--reference", valid[1]]
    assert main([*arguments, "--json", str(tmp_path / "result.json")]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["configuration"] == "paper-2.5"


def test_phases_code_and_freeze_what_they_say(tmp_path, shared):
    text = RETRAIN.replace('code = ["*"]', 'code = ["*"]\nfreeze = ["embedding", "decoder.*.ffn.norm"]')
    objective, corpus = retraining(read_recipe(RetrainRecipe, written(tmp_path, text)), shared)
    before = {name: p.detach().clone() for name, p in objective.parameters.items()}
    before |= {name: value.half().float() for name, value in before.items() if value.dim() == 1}  # as a file has them
    started = objective.enter(0, resumed=False)
    assert {name.partition(".scales.")[0] for name in started} == {"embedding"}

    def versions() -> dict[str, torch.Tensor]:
        return dict(objective.versions({n: p.detach() for n, p in objective.parameters.items()}))[""]

    def differing() -> set[str]:
        return {name for name, tensor in versions().items() if name in before and not torch.equal(tensor, before[name])}

    assert differing() == {"embedding"}
    batch = corpus.batch(corpus.epoch(0)[0])
    objective.loss(batch, 0).backward()
    grads = {name for name, p in objective.parameters.items() if p.grad is not None}
    uncoded = {n for n in objective.parameters if ".scales." in n and not n.startswith("embedding")}
    assert grads == objective.parameters.keys() - uncoded
    objective.enter(1, resumed=False)
    assert {"encoder.0.ffn.inner", "decoder.0.encoder_attention.key", "embedding"} <= differing()
    for parameter in objective.parameters.values():
        parameter.grad = None
    objective.loss(batch, 0).backward()
    still = {name for name, p in objective.parameters.items() if p.grad is None}
    frozen = {n for n in objective.parameters if n.startswith(("embedding", "decoder.0.ffn.norm"))}
    assert still == frozen
    assert {"embedding.scales.4", "embedding"} <= frozen


def test_pnr_replaces_the_weights_every_period(tmp_path, shared):
    objective, _ = retraining(read_recipe(RetrainRecipe, written(tmp_path, PNR)), shared)
    objective.enter(0, resumed=False)
    embedding = objective.parameters["embedding"]
    assert len(embedding[-1].detach().abs().unique()) == 1  # one plane: one magnitude
    with torch.no_grad():
        embedding += torch.randn_like(embedding) * 0.01
    objective.after_step(6)
    assert len(embedding[-1].detach().abs().unique()) > 1
    objective.after_step(7)
    assert len(embedding[-1].detach().abs().unique()) == 1
    inner = objective.parameters["encoder.0.ffn.inner"]
    assert len(inner[0].detach().abs().unique()) > 16  # not coded in this phase


@pytest.mark.parametrize(("keep", "wanted"), [("least_loss", (1, 2, 2)), ("last", (1, 2, 3))])
def test_the_result_is_the_best_on_the_mean_of_all_widths_or_the_last(tmp_path, keep, wanted):
    """The first width alone was best before training, so it would keep what was not trained."""
    losses = iter([(1.70, 3.0), (1.74, 2.0), (1.71, 2.5)])
    writes: list[Path] = []

    class Widths:
        parameters = {"w": torch.nn.Parameter(torch.ones(2))}  # noqa: RUF012 - a mapping that nobody changes
        schedules = (Schedule(1, 0, 1e-3),)

        def enter(self, phase: int, *, resumed: bool) -> list[str]:
            return []

        def versions(self, values):
            yield from (("a width", {"loss": torch.tensor(loss)}) for loss in next(losses))

        def write(self, values, path: Path) -> None:
            writes.append(path)

    class Losses:
        def measure(self, tensors, *, bleu: bool) -> dict[str, float]:
            return {"loss": tensors["loss"].item()}

    recipe = read_recipe(RetrainRecipe, written(tmp_path, PREFIX))
    recipe = dataclasses.replace(recipe, validation=dataclasses.replace(recipe.validation, keep=keep))
    training = Training(recipe, Widths(), Losses(), tmp_path / "run")
    counts = [len(writes)]
    for _ in range(2):
        training.validate()
        counts.append(len(writes))
    assert counts == list(wanted)


def test_prefix_training_draws_every_number_of_planes(tmp_path, shared):
    objective, _ = retraining(read_recipe(RetrainRecipe, written(tmp_path, PREFIX)), shared)
    drawn = [objective.method.planes(step) for step in range(60)]
    assert set(drawn) == {1, 2, 3}
    assert drawn == [objective.method.planes(step) for step in range(60)]


# --- recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_read_and_leave_out_what_may_not_ship(path):
    kind = TrainRecipe if path.stem.startswith("base") else RetrainRecipe
    recipe = read_recipe(kind, path.stem)
    names = {source.name for source in recipe.sources}
    kept_out = {"multi30k", "newstest08-12", "progit", "mucow", "contrawsd", "stsb_mt", "amazon_mt_eval"}
    assert not names & (kept_out | {"adobe_campaign_docs", "wmt22_chat_dev"})
    assert all(source.licence for source in recipe.sources)
    if kind is RetrainRecipe:
        find_config(recipe.codes.config)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("label_smoothing", "label_smothing = 0.1\nlabel_smoothing", "the field label_smothing is unknown"),
        ("rate = 3e-3", "rate = 3e-3\nfloors = 1", "the field schedule.floors is unknown"),
        ("rate = 3e-3", "rate = 3e-3\ndecay_tokens = 8001", "decay_tokens must be at most schedule.tokens"),
        ("rate = 3e-3", 'rate = 3e-3\nshape = "step"', "schedule.shape must be one of 'cosine', 'linear' or 'sqrt'"),
        ("[schedule]", "[scedule]", "the field scedule is unknown"),
        ("[init]", "[init]\nshape = { d_model = 32 }", "init.shape belongs to a fresh model"),
        ('name = "toy"', 'name = "toy"\ncap = 0', "sources[0].cap must be more than 0"),
        ('licence = "none"', "", "the field sources[0].licence is missing"),
        ("threads = 1", "threads = 0", "run.threads must be more than 0"),
        ("threads = 1", 'threads = "1"', "run.threads must be a whole number"),
        ("[8, 12, 16", "[12, 8, 16", "batches.lengths must rise"),
        ("ema = 0.9", "ema = 1.0", "optimizer.ema"),
        ("ema = 0.9", 'ema = 0.9\nkind = "sgd"', "optimizer.kind must be one of"),
        ("[init]", "name = 1\n[init]", "the field name is unknown"),
        ("[init]", "[init", "not valid TOML"),
    ],
)
def test_a_faulty_recipe_is_refused_by_name(tmp_path, shared, capsys, old, new, sentence):
    assert TRAIN.count(old) >= 1
    path = written(tmp_path, TRAIN.replace(old, new, 1))
    assert main(["train", path, "--shared", str(shared), "--out", str(tmp_path / "run")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('code = ["*"]', 'code = ["encoder.*"]', "No phase codes the matrix 'decoder.0.self_attention.query'"),
        ('code = ["*"]', 'code = ["*"]\nfreeze = ["nothing"]', "freezes 'nothing', which matches no tensor"),
        ('method = "ste"', 'method = "ste"\nprefix = true', "wants a flat configuration"),
        ('method = "ste"', 'method = "pnr"', "makes no sense"),
        ('config = "paper-2.5"', 'config = "none"', "There is no configuration 'none'"),
        ("distillation = 0.5", "distillation = 2.0", "distillation must be at most 1"),
        ("[init]", "[init]\nreverse = true", "leave init.fresh, init.reverse and init.run out"),
        ("distillation = 0.5", "distillation = 0.5\nsampled_words = -1", "sampled_words must be 0 or more"),
    ],
)
def test_a_faulty_retraining_is_refused(tmp_path, shared, capsys, old, new, sentence):
    assert RETRAIN.count(old) == 1
    path = written(tmp_path, RETRAIN.replace(old, new))
    assert main(["retrain", path, "--shared", str(shared), "--out", str(tmp_path / "run")]) == 2
    assert sentence in capsys.readouterr().err


def test_a_run_may_begin_with_another_checkpoint(tmp_path, shared, capsys):
    path = written(tmp_path, TRAIN.replace("checkpoint/tiny", "checkpoint/none"))
    arguments = ["train", path, "--shared", str(shared), "--out", str(tmp_path / "run"), "--steps", "1"]
    assert main(arguments) == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert main([*arguments, "--checkpoint", str(shared / "checkpoint/tiny")]) == 0
    assert state(tmp_path / "run")[1]["progress"]["step"] == 1


def test_retraining_goes_on_from_codes_that_were_learnt(tmp_path, shared, capsys):
    short = RETRAIN.replace("tokens = 4000,", "tokens = 1500,")
    arguments = ["retrain", written(tmp_path, short), "--shared", str(shared)]
    assert main([*arguments, "--out", str(tmp_path / "first")]) == 0
    again = [*arguments, "--begin", str(tmp_path / "first/model")]
    assert main([*again, "--out", str(tmp_path / "second"), "--steps", "1"]) == 0
    end, begin = log(tmp_path / "first", "validation")[-1], log(tmp_path / "second", "validation")
    assert begin[0]["loss"] == pytest.approx(end["loss"], abs=2e-3)
    recipe = read_recipe(RetrainRecipe, written(tmp_path, short.replace('["*embedding"]', '["*"]'), "all"))
    first = open_model(tmp_path / "first/model")
    codes = dataclasses.replace(recipe.codes, begin=str(tmp_path / "first/model"))
    objective, _ = retraining(dataclasses.replace(recipe, codes=codes), shared)
    objective.enter(0, resumed=False)
    (_, tensors), *_ = objective.versions({n: p.detach() for n, p in objective.parameters.items()})
    for name, value in dequantize(first, "paper-2.5").items():
        torch.testing.assert_close(tensors[name], value, atol=1e-6, rtol=0)
    other = ["retrain", written(tmp_path, short.replace("paper-2.5", "flat-2"), "other"), "--shared", str(shared)]
    assert main([*other, "--begin", str(tmp_path / "first/model"), "--out", str(tmp_path / "third")]) == 2
    assert "specialised to the configuration 'paper-2.5' and serve no other" in capsys.readouterr().err


def test_nested_codes_go_on_from_progressive_ones(tmp_path, shared, capsys):
    """Every prefix of planes has the values it had; codes of the other kind are refused."""
    nested = PREFIX.replace('["*embedding"]', '["*"]').replace("tokens = 4000,", "tokens = 1500,")
    path, common = written(tmp_path, nested), ["--shared", str(shared), "--out"]
    quantized = tmp_path / "quantized"
    checkpoint, text = shared / "checkpoint/tiny", shared / "corpus/train/toy.tsv.xz"
    quantize = ["quantize", str(checkpoint), str(quantized), "--max-planes", "3", "--config", "flat-3"]
    assert main([*quantize, "--text", str(text), "--calibrate", str(text)]) == 0
    assert main(["retrain", path, "--begin", str(quantized), *common, str(tmp_path / "first")]) == 0
    assert set(open_model(tmp_path / "first/model").config.configurations) == {"flat-1", "flat-2", "flat-3"}
    for begin in (quantized, tmp_path / "first/model"):
        recipe = read_recipe(RetrainRecipe, path)
        objective, _ = retraining(
            dataclasses.replace(recipe, codes=dataclasses.replace(recipe.codes, begin=str(begin))), shared
        )
        objective.enter(0, resumed=False)
        model = open_model(begin)
        for label, tensors in objective.versions({n: p.detach() for n, p in objective.parameters.items()}):
            for name, value in dequantize(model, f"flat-{label[0]}").items():
                torch.testing.assert_close(tensors[name], value, atol=1e-6, rtol=0)
    assert (
        main(["retrain", path, "--begin", str(tmp_path / "first"), *common, str(tmp_path / "on"), "--steps", "1"]) == 0
    )
    flat = written(tmp_path, RETRAIN.replace('"paper-2.5"', '"flat-3"'), "flat")
    assert main(["retrain", flat, "--begin", str(quantized), *common, str(tmp_path / "third")]) == 2
    assert "has no specialised codes of 'flat-3'" in capsys.readouterr().err


def test_scales_alone_may_learn(tmp_path, shared, capsys):
    """Planes, biases and norms stay what they were."""
    first, checkpoint = tmp_path / "first", shared / "checkpoint/tiny"
    text = ["--text", str(shared / "corpus/train/toy.tsv.xz")]
    assert main(["quantize", str(checkpoint), str(first), "--max-planes", "3", "--config", "flat-3", *text]) == 0
    recipe = PREFIX.replace('["*embedding"]', '["*"]').replace("prefix = true", 'prefix = true\nlearn = "scales"')
    arguments = ["retrain", written(tmp_path, recipe), "--shared", str(shared), "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "wants the codes to begin with" in capsys.readouterr().err
    assert main([*arguments, "--begin", str(first)]) == 0
    before, after = (open_model(path).main.tensors for path in (first, tmp_path / "run/model"))
    assert before.keys() == after.keys()
    is_same = {name: np.array_equal(before[name], after[name]) for name in before}
    assert all(is_same[name] for name in before if ".scales." not in name)
    assert not any(is_same[name] for name in before if ".scales." in name)


def test_retraining_begins_with_the_values_of_a_wider_configuration(tmp_path, shared, capsys):
    """Matrices of as many planes keep their learnt scales, the others get those of least error for the values."""
    short = RETRAIN.replace("tokens = 4000,", "tokens = 1500,")
    common = ["--shared", str(shared), "--out"]
    assert main(["retrain", written(tmp_path, short), *common, str(tmp_path / "first")]) == 0
    narrow = short.replace('"paper-2.5"', '"paper-1.3"').replace("[codes]", '[codes]\nbegin_config = "paper-2.5"')
    second = ["retrain", written(tmp_path, narrow, "narrow"), *common, str(tmp_path / "second")]
    assert main(second) == 2
    assert "add codes.begin, or --begin DIR" in capsys.readouterr().err
    assert main([*second, "--begin", str(tmp_path / "first/model"), "--steps", "1"]) == 0
    recipe = read_recipe(RetrainRecipe, written(tmp_path, narrow.replace('["*embedding"]', '["*"]'), "all"))
    codes = dataclasses.replace(recipe.codes, begin=str(tmp_path / "first/model"))
    objective, _ = retraining(dataclasses.replace(recipe, codes=codes), shared)
    objective.enter(0, resumed=False)
    model = open_model(tmp_path / "first/model")
    wide, thin = (find_config(name).allocation(model.config.architecture) for name in ("paper-2.5", "paper-1.3"))
    same = {name for name in thin if thin[name] == wide[name]}
    assert thin.keys() - same == {"embedding"}
    (_, tensors), *_ = objective.versions({n: p.detach() for n, p in objective.parameters.items()})
    for name, value in dequantize(model, "paper-2.5").items():
        if name in thin.keys() - same:
            parts = [(value[s.begin : s.end], s.planes) for s in thin[name]]
            value = torch.cat([specialised(part, planes).dequantize(planes) for part, planes in parts])
        torch.testing.assert_close(tensors[name], value, atol=1e-6 if name in same else 2e-3, rtol=0)


def test_retraining_begins_near_the_values_of_a_narrower_configuration(tmp_path, shared):
    """Rows that get more planes are spread, so that all their planes have scales; the others begin as they were."""
    first = RETRAIN.replace("tokens = 4000,", "tokens = 1500,").replace('"paper-2.5"', '"paper-1.3"')
    common = ["--shared", str(shared), "--out"]
    assert main(["retrain", written(tmp_path, first), *common, str(tmp_path / "first")]) == 0
    codes = f'[codes]\nbegin = "{tmp_path}/first/model"\nbegin_config = "paper-1.3"\nspread = 0.2'
    wide = first.replace('"paper-1.3"', '"paper-2.5"').replace("[codes]", codes).replace('["*embedding"]', '["*"]')
    objective, _ = retraining(read_recipe(RetrainRecipe, written(tmp_path, wide, "wide")), shared)
    objective.enter(0, resumed=False)
    model = open_model(tmp_path / "first/model")
    narrow, segments = (
        find_config(n).allocation(model.config.architecture)["embedding"] for n in ("paper-1.3", "paper-2.5")
    )
    before, weights = dequantize(model, "paper-1.3"), {n: p.detach() for n, p in objective.parameters.items()}
    planes = [torch.cat([torch.full((s.end - s.begin,), s.planes) for s in each]) for each in (narrow, segments)]
    wider = planes[1] > planes[0]
    assert wider.any()
    moved = (weights["embedding"] - before["embedding"]).abs()
    assert torch.equal(moved.amax(1) > 0, wider)
    assert (moved[wider].amax(1) <= 0.2 * before["embedding"][wider].abs().amax(1)).all()
    assert all(weights[f"embedding.scales.{s.planes}"].abs().min() > 0 for s in segments)


def test_retraining_goes_on_from_a_run_and_moves_with_its_teacher(tmp_path, shared, capsys):
    short = RETRAIN.replace("tokens = 4000,", "tokens = 1500,").replace('["*embedding"]', '["*"]')
    first, old = tmp_path / "first", shared / "checkpoint/tiny"
    assert main(["retrain", written(tmp_path, short), "--shared", str(shared), "--out", str(first)]) == 0
    learnt = {name: value for name, value in state(first)[0].items() if name.startswith("average/")}
    assert main(["train", written(tmp_path, TRAIN, "on"), "--shared", str(shared), "--out", str(tmp_path / "on")]) == 0
    new = tmp_path / "on/model"
    recipe = read_recipe(RetrainRecipe, written(tmp_path, short)).beginning_with(checkpoint=new)
    teachers = [
        sort_rows(each, *piece_counts(each, [shared / "corpus/train/toy.tsv.xz"]))[0].tensors
        for each in (read_checkpoint(old), read_checkpoint(new))
    ]
    for teacher in (None, str(old)):
        codes = dataclasses.replace(recipe.codes, begin=str(first), begin_teacher=teacher)
        objective, _ = retraining(dataclasses.replace(recipe, codes=codes), shared)
        objective.enter(0, resumed=False)
        assert learnt.keys() == {f"average/{name}" for name in objective.parameters}
        for name, value in objective.parameters.items():
            by = teachers[1][name] - teachers[0][name] if teacher and ".scales." not in name else 0
            torch.testing.assert_close(value.detach(), learnt[f"average/{name}"] + by)
    assert any((teachers[0][name] != teachers[1][name]).any() for name in teachers[0])
    other = ["retrain", written(tmp_path, short.replace("paper-2.5", "flat-2"), "other"), "--shared", str(shared)]
    assert main([*other, "--begin", str(first), "--out", str(tmp_path / "third")]) == 2
    assert "this run's scales are not those of 'flat-2'" in capsys.readouterr().err


def test_a_mix_of_sources_is_named_and_read(tmp_path):
    text, tables = TRAIN.split("[[sources]]")[0], "[[sources]]" + TRAIN.split("[[sources]]")[1].split("[optimizer]")[0]
    mix = tmp_path / "mix.toml"
    mix.write_text(tables)
    named = f'sources = "{mix}"\n' + text + "[optimizer]" + TRAIN.split("[optimizer]")[1]
    inline, by_name = (read_recipe(TrainRecipe, written(tmp_path, t, n)) for t, n in ((TRAIN, "a"), (named, "b")))
    assert by_name.sources == inline.sources
    twice = read_recipe(TrainRecipe, written(tmp_path, named.replace(f'"{mix}"', f'["{mix}", "{mix}"]'), "d"))
    assert twice.sources == inline.sources * 2
    mix.write_text("sources = 3")
    with pytest.raises(RecipeError, match=r"mix.toml: sources must be \[\[sources\]\] tables"):
        read_recipe(TrainRecipe, written(tmp_path, named, "e"))
    with pytest.raises(
        RecipeError, match="has back-translated, by-people, distilled, distilled-de-en, everyday, general, shippable"
    ):
        read_recipe(TrainRecipe, written(tmp_path, named.replace(str(mix), "nonsense"), "c"))


def test_a_recipe_that_extends_another_says_what_differs(tmp_path):
    name = written(tmp_path, 'extends = "base"\nlabel_smoothing = 0.0\n[schedule]\ntokens = 300_000', "short")
    base, short = read_recipe(TrainRecipe, "base"), read_recipe(TrainRecipe, name)
    schedule = dataclasses.replace(base.schedule, tokens=300_000)
    assert short == dataclasses.replace(base, name="short", label_smoothing=0.0, schedule=schedule)


@pytest.mark.parametrize(
    ("extended", "sentence"),
    [
        ('"circle"', "circle extends a recipe itself"),
        ("3", "must be the name of a recipe"),
        ('"none"', "no such file"),
        ('"base-decay"', "base-decay extends a recipe itself; only one level is read"),
    ],
)
def test_a_recipe_that_can_not_extend_another_is_refused(tmp_path, monkeypatch, extended, sentence):
    monkeypatch.setattr("models.train.recipe.RECIPES", tmp_path)
    (tmp_path / "base-decay.toml").write_text((RECIPES / "base-decay.toml").read_text())
    with pytest.raises(RecipeError, match=sentence):
        read_recipe(TrainRecipe, written(tmp_path, f"extends = {extended}", "circle"))


def test_paths_of_a_recipe_are_in_the_repository_or_the_shared_folder(tmp_path):
    assert located("runs/base", tmp_path) == RECIPES.parents[2] / "runs/base"
    assert located("models/store/en-de", tmp_path) == RECIPES.parents[2] / "models/store/en-de"
    assert located("checkpoint/en-de-small", tmp_path) == tmp_path / "checkpoint/en-de-small"
    assert located("/somewhere/runs/base", tmp_path) == Path("/somewhere/runs/base")


def test_a_recipe_that_does_not_exist_names_those_that_do():
    with pytest.raises(RecipeError, match="has base, base-de-en, base-decay, best-1, best-1-distill, best-2"):
        read_recipe(TrainRecipe, "nonsense")
