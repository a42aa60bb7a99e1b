"""A training carried to another machine: pack, train in pieces by the code of the pack, split, join."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.__main__ import main
from models.marian.read import read_checkpoint
from models.text.lines import DataError
from models.train import carry
from models.train.dataset import corpus_of
from models.train.recipe import TrainRecipe, read_recipe
from tests.models.train.test_training import TRAIN, shared, state, written

__all__ = ["shared"]  # a fixture


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_a_training_is_carried_there_and_back(tmp_path, shared):
    pack, run, parts, back = (tmp_path / name for name in ("pack", "run", "parts", "back"))
    assert main(["carry", "pack", written(tmp_path, TRAIN), str(pack), "--shared", str(shared), "--limit", "4"]) == 0
    assert size(pack) <= 4 << 20
    command = [sys.executable, "-m", "models", "carry"]
    moved = tmp_path / "there"
    pack.rename(moved)
    for step in (1, 2):  # a piece takes a step at least
        options = ["--minutes", "1e-9", "--device", "cpu", "--set", "run.threads=1"]
        subprocess.run([*command, "run", str(moved), str(run), *options], check=True, cwd=moved / "code")
        assert state(run)[1]["progress"]["step"] == step
    carry.split(moved, run, parts, most=0.02)
    assert len(list(parts.glob("part-*"))) > 3
    assert all(part.stat().st_size <= 0.02 * (1 << 20) for part in parts.glob("part-*"))
    assert main(["carry", "join", str(parts), str(back)]) == 0
    averages = {name[8:]: t for name, t in state(run)[0].items() if name.startswith("average/")}
    weights = read_checkpoint(back).tensors
    assert len(averages) > 20
    assert all(torch.equal(weights[name], tensor) for name, tensor in averages.items())


def test_the_text_of_a_pack_has_the_same_batches(tmp_path, shared):
    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN))
    assert carry.pack(recipe, shared, tmp_path / "pack") == {"toy": 380}
    checkpoint = read_checkpoint(shared / "checkpoint/tiny")
    here, there = (corpus_of(recipe, checkpoint, folder) for folder in (shared, tmp_path / "pack/shared"))
    for mine, theirs in zip(here.epoch(1), there.epoch(1), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here.batch(mine)[:4], there.batch(theirs)[:4], strict=True))
    # the weights are those of the checkpoint, in float16
    carried = read_checkpoint(tmp_path / "pack/shared/checkpoint/carried").tensors
    first = read_checkpoint(shared / "checkpoint/tiny").tensors
    assert all(torch.equal(carried[name], tensor.half().float()) for name, tensor in first.items())


def test_a_pack_samples_the_text_to_its_limit(tmp_path, shared):
    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN))
    carry.pack(recipe, shared, tmp_path / "whole")
    text = sum(file.stat().st_size for file in (tmp_path / "whole").rglob("*.pieces.xz"))
    limit = (size(tmp_path / "whole") - text / 2) / (1 << 20) + 0.02  # room of the manifest
    counts = carry.pack(recipe, shared, tmp_path / "half", limit=limit)
    assert 20 < counts["toy"] <= 380
    assert size(tmp_path / "half") <= limit * (1 << 20)
    with pytest.raises(DataError, match="no room for text"):
        carry.pack(recipe, shared, tmp_path / "none", limit=0.3)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("seed", range(4))
def test_what_was_damaged_on_the_way_is_refused_by_name(tmp_path, shared, seed):
    choose = random.Random(seed)
    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN))
    pack, run, parts = tmp_path / "pack", tmp_path / "run", tmp_path / "parts"
    carry.pack(recipe, shared, pack)
    carry.run(pack, run, carry.Until(steps=1))
    carry.split(pack, run, parts, most=0.05)
    part = choose.choice(sorted(parts.glob("part-*")))
    content = bytearray(part.read_bytes())
    content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
    part.write_bytes(content) if seed else part.unlink()
    with pytest.raises(DataError, match=rf"{part.name}: this part is missing or damaged"):
        carry.join(parts, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    carried = choose.choice([file for file in pack.rglob("*") if file.is_file() and file.name != "manifest.json"])
    carried.write_bytes(carried.read_bytes() + b"\0")
    with pytest.raises(DataError, match=f"{carried.name}: this is not what was packed"):
        carry.run(pack, run, carry.Until(steps=1))


def test_pieces_of_another_vocabulary_are_refused(tmp_path, shared):
    import dataclasses

    recipe = read_recipe(TrainRecipe, written(tmp_path, TRAIN))
    carry.pack(recipe, shared, tmp_path / "pack")
    checkpoint = read_checkpoint(shared / "checkpoint/tiny")
    pieces = list(checkpoint.source_pieces)
    np.random.default_rng(1).shuffle(pieces)
    with pytest.raises(DataError, match="another vocabulary"):
        corpus_of(recipe, dataclasses.replace(checkpoint, source_pieces=tuple(pieces)), tmp_path / "pack/shared")
