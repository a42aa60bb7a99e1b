"""The whole road: from a Marian directory and text to a model directory that is served."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from models.__main__ import main
from models.compress.teacher import BEAM_SIZE, Teacher
from models.compress.text import prepare, read_all
from models.evaluate.evaluate import evaluate_engine
from models.format.directory import open_model
from models.marian.checkpoint import Checkpoint
from models.marian.marian import write_marian
from models.text.lines import DataError, read_lines
from tests.models.conftest import sentences
from tests.models.quantize.test_calibrate import lively


@pytest.fixture
def marian(tmp_path: Path, tiny_checkpoint: Checkpoint) -> Path:
    write_marian(lively(tiny_checkpoint), tmp_path / "marian")
    return tmp_path / "marian"


@pytest.fixture
def plain_text(tmp_path: Path) -> Path:
    path = tmp_path / "plain.txt"
    path.write_text("".join(f"{text}\n" for text in sentences(120, 4)))
    return path


def compress(*arguments: object) -> int:
    return main(["compress", *map(str, arguments), "--threads", "1"])


def test_plain_text_becomes_a_model_that_translates(
    tmp_path: Path, marian: Path, plain_text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    arguments = (marian, out, "--bits", 3, "--text", plain_text, "--minutes", 0, "--json", figures)
    assert compress(*arguments) == 0
    model = open_model(out)
    assert 2.4 < model.config.configurations[model.config.default_configuration].bits_per_weight <= 3
    ids = model.config.ids
    assert model.engine().translate([[5, 9, 12, ids.eos]], max_lengths=[10]).hypotheses[0][0].ids
    found = json.loads(figures.read_text())
    assert found["kl"] == found["calibrated_kl"]
    assert not found["referenced"]
    assert found["quality"] is None
    assert f"{found['kl']:.4f}" in (out / "README.md").read_text()
    assert not out.with_name("out.work").exists()
    assert "KL to fp32" in capsys.readouterr().out
    assert compress(*arguments) == 2
    assert "this exists already" in capsys.readouterr().err


def test_a_call_that_was_stopped_goes_on_and_trains(
    tmp_path: Path, marian: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, work, figures = tmp_path / "out", tmp_path / "out.work", tmp_path / "figures.json"
    work.mkdir()
    (work / "training.json").write_text('{"tokens": 10000}')  # as a call that was stopped in training leaves it
    arguments = [marian, out, "--bits", 2, "--text", text_file, "--minutes", 0, "--json", figures]
    assert compress(*arguments) == 0
    found = json.loads(figures.read_text())
    assert found["trained_tokens"] >= 10000
    assert found["kl"] <= found["calibrated_kl"] + 1e-3  # the least of the validations is kept, here without averages
    assert found["referenced"]
    assert found["quality"]["coded"].keys() == found["quality"]["fp32"].keys() > {"bleu", "chrf"}
    open_model(out)


def test_work_of_another_call_is_refused(
    tmp_path: Path, marian: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.work").mkdir()
    (tmp_path / "out.work/plan.json").write_text('{"goal": {"bits": 4.0}}')
    assert compress(marian, tmp_path / "out", "--text", text_file) == 2
    assert "an earlier call with another checkpoint and text and goal" in capsys.readouterr().err


def test_a_size_and_a_divergence_may_stand_for_bits(tmp_path: Path, marian: Path, text_file: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = ("--text", text_file, "--minutes", 0, "--json", figures)
    out = tmp_path / "out"
    assert compress(marian, out, "--size", "21.5kB", *arguments) == 0
    small = json.loads(figures.read_text())
    assert 19_000 < small["bytes"] <= 21_500
    assert compress(marian, out, "--max-loss", small["kl"] / 3, "--overwrite", *arguments) == 0
    near = json.loads(figures.read_text())
    assert near["kl"] <= small["kl"] / 3
    assert near["bytes"] > small["bytes"]


@pytest.mark.parametrize(
    "wrong", [("--bits", "0.5"), ("--bits", "x"), ("--size", "20 apples"), ("--minutes", "-1"), ("--max-loss", "0")]
)
def test_wrong_goals_are_refused(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compress("in", "out", "--text", "t", *wrong)
    assert wrong[0] in capsys.readouterr().err


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("ba de\n" * 50)
    with pytest.raises(DataError, match="has 1 different sentences"):
        read_all([few])


def test_each_source_of_several_targets_gets_a_token(tmp_path: Path, tiny_checkpoint: Checkpoint) -> None:
    pieces = (*tiny_checkpoint.source_pieces[:-3], ">>de<<", ">>fr<<", "<pad>")
    tokens = {"de": ">>de<<", "fr": ">>fr<<"}
    several = dataclasses.replace(
        tiny_checkpoint, source_pieces=pieces, target_languages=("de", "fr"), target_tokens=tokens
    )
    plain = tmp_path / "plain.txt"
    plain.write_text("".join(f"{text}\n" for text in sentences(40, 4)) + ">>fr<< ba de fi\n")
    (tmp_path / "work").mkdir()
    text = prepare(several, [plain], tmp_path / "work", target=None, seconds=0, threads=1)
    sources = [line.source for line in (*text.held_out, *read_lines(text.training))]
    assert {source.split()[0] for source in sources} == {">>de<<", ">>fr<<"}
    assert all(source.count(">>") == 1 for source in sources)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a}\t{b}\n" for a, b in zip(sentences(40, 4), sentences(40, 5), strict=True)))
    (tmp_path / "pairs").mkdir()
    with pytest.raises(DataError, match="--target LANGUAGE"):
        prepare(several, [pairs], tmp_path / "pairs", target=None, seconds=0, threads=1)
    marked = prepare(several, [pairs], tmp_path / "pairs", target="fr", seconds=0, threads=1)
    assert all(line.source.startswith(">>fr<< ") for line in read_lines(marked.training))


def test_plain_text_is_translated_with_a_beam_and_only_once(tmp_path: Path, tiny_checkpoint: Checkpoint) -> None:
    model = lively(tiny_checkpoint)
    texts = [*sentences(60, 4), "ba" * 300]
    teacher = Teacher(model, tmp_path / "teacher", threads=2)
    found = dict(teacher.translate(texts))
    assert found.keys() == set(texts)
    assert found.pop(texts[-1]) == ""  # longer than the model can read
    directory = open_model(tmp_path / "teacher")
    searched = evaluate_engine(directory, directory.config.default_configuration, list(found), BEAM_SIZE)
    assert list(found.values()) == searched["translations"]
    work, plain = tmp_path / "work", tmp_path / "plain.txt"
    work.mkdir()
    plain.write_text("".join(f"{text}\n" for text in texts))
    killed = "".join(json.dumps((text, f"known {n}")) + "\n" for n, text in enumerate(texts[:30]))
    (work / "translated.jsonl").write_text(killed + json.dumps((texts[30], "half"))[:-5])
    text = prepare(model, [plain], work, target=None, seconds=0, threads=1)
    pairs = {line.source: line.target for line in (*text.held_out, *read_lines(text.training))}
    wanted = {**found, **{source: f"known {n}" for n, source in enumerate(texts[:30])}}
    assert pairs == {source: target for source, target in wanted.items() if target}
    assert dict(map(json.loads, (work / "translated.jsonl").read_text().splitlines())).keys() == set(texts)
