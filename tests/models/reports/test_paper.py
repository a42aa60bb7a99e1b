"""The paper's measurements on a tiny model, and the page that shows them beside the paper's figures."""

from __future__ import annotations

import json

import pytest
import torch

from models.__main__ import main
from models.codes import bcq
from models.codes.bit_config import find_config
from models.evaluate.evaluate import translate
from models.evaluate.quality import scores
from models.format.directory import open_model
from models.format.schema import Segment
from models.marian.imported import write_checkpoint
from models.marian.read import read_checkpoint
from models.marian.transformer import Transformer
from models.quantize.export import Request, export
from models.reports import paper
from models.reports.paper_page import TABLE_1, TABLE_2, TABLE_4, render
from tests.models.conftest import sentences

CONDITIONS = {"date": "2026-01-01", "commit": "abc", "command": "python -m models paper"}


@pytest.fixture(scope="module")
def tests(tmp_path_factory, tiny_checkpoint) -> paper.BlockTests:
    folder = tmp_path_factory.mktemp("paper")
    write_checkpoint(tiny_checkpoint, folder / "checkpoint")
    for side in ("en", "de"):
        (folder / f"text.{side}").write_text("".join(f"{line}\n" for line in sentences(6, 3)))
    text = folder / "counted.tsv"
    text.write_text("".join(f"{line}\t{line}\n" for line in sentences(50, 4)))
    return paper.BlockTests(folder / "checkpoint", [text], folder / "text.en", folder / "text.de", 4)


def test_nothing_replaced_is_the_checkpoint_itself(tests, tiny_checkpoint):
    lines = sentences(6, 3)[:4]
    model = Transformer.from_tensors(tiny_checkpoint.architecture, tiny_checkpoint.tensors)
    assert tests.bleu({}) == scores(translate(model, tiny_checkpoint, lines), lines)["bleu"]


def test_clusters_take_their_rows_from_codes_of_their_own(tests):
    weights = tests.checkpoint.tensors["embedding"]
    segments = [Segment(0, 20, 3), Segment(20, len(weights), 1)]
    found = tests.clustered("embedding", "greedy", segments)
    for begin, end, planes in segments:
        alone = bcq.specialised(weights[begin:end], planes, solver="greedy").dequantize(planes)
        torch.testing.assert_close(found[begin:end], alone)


def test_every_block_and_every_curve_is_measured(tests):
    table, curve = paper.sensitivity(tests), paper.embedding(tests)
    assert table["fp32"] == curve["fp32"] == tests.bleu({})
    for solver in paper.SOLVERS:
        assert table["bleu"][solver].keys() == TABLE_1.keys()
        assert all(set(row) == {"4", "3", "2", "1"} for row in table["bleu"][solver].values())
        bits = {point["name"]: point["bits"] for point in curve["curves"][solver]}
        assert bits["flat 3"] == 3
        assert bits["r = 1"] == pytest.approx(2.5, abs=0.05)
        assert bits["r = 8"] < bits["r = 4"] < bits["r = 2"] < bits["r = 1"]


def test_the_output_layer_is_what_a_small_vocabulary_saves(tmp_path, tiny_checkpoint):
    pytest.importorskip("kernels._engine", reason="the engine is not built")
    request = Request("tiny", find_config("flat-3"), (), "specialised", 3, "greedy", None)
    export(tiny_checkpoint, [], request, tmp_path / "model", notes="", overwrite=False)
    figures = paper.blocks(tmp_path / "model", "flat-3", tokens=8, runs=3)
    parts = [figures[name] for name in TABLE_4]
    assert figures["total"] == pytest.approx(sum(parts), abs=0.003)
    assert min(figures["encoder"], figures["decoder"]) > 0
    few, whole = (paper._engine(open_model(tmp_path / "model"), "flat-3", words) for words in (paper.FEW_PIECES, None))
    ids = {token for best in few.translate([[2, 3, 4, 0]], max_lengths=[40]).hypotheses for token in best[0].ids}
    assert ids <= set(range(paper.FEW_PIECES))
    assert few.weight_bytes < whole.weight_bytes


def test_whole_models_are_coded_and_measured(tmp_path, tiny_checkpoint):
    pytest.importorskip("kernels._engine", reason="the engine is not built")
    write_checkpoint(tiny_checkpoint, tmp_path / "checkpoint")
    text = tmp_path / "text.tsv"
    text.write_text("".join(f"{line}\t{line}\n" for line in sentences(60, 5)))
    pair = tmp_path / "test.en", tmp_path / "test.de"
    for path in pair:
        path.write_text("".join(f"{line}\n" for line in sentences(3, 6)))
    request = Request("tiny", find_config("flat-2"), (), "specialised", 2, "greedy", None)
    export(read_checkpoint(tmp_path / "checkpoint"), [text], request, tmp_path / "made", notes="", overwrite=False)
    nested = Request("tiny", find_config("flat-4"), (find_config("flat-2"),), "progressive", 4, "alternating", None)
    export(read_checkpoint(tmp_path / "checkpoint"), [text], nested, tmp_path / "nested", notes="", overwrite=False)
    retrained = [("learned", tmp_path / "made", None), ("nested", tmp_path / "nested", "flat-2")]
    found = paper.models(tmp_path / "checkpoint", [text], {"toy": pair}, ["flat-2"], retrained, None)
    methods = {row["method"]: row for row in found["models"]}
    assert list(methods) == ["greedy", "alternating", paper.COMPENSATED, "learned", "nested"]
    assert methods["nested"]["configuration"] == "flat-2"
    assert methods["learned"]["sets"]["toy"]["4"]["bleu"] == methods["greedy"]["sets"]["toy"]["4"]["bleu"]
    assert methods["learned"]["bits"] == {"Emb": 2, "Dec": 2, "Enc": 2, "all": 2}
    figures = methods["greedy"]["sets"]["toy"]
    assert (figures["1"]["beam_size"], figures["4"]["beam_size"]) == (1, 4)
    assert figures["1"]["model_bytes"] == open_model(tmp_path / "made").config.configurations["flat-2"].bytes
    assert "translations" not in figures["1"]
    assert found["fp32"]["toy"]["1"]["bits_per_weight"] == 32


def test_the_page_shows_losses_beside_the_papers(tmp_path):
    def write(name: str, figures: dict) -> None:
        (tmp_path / f"{name}.json").write_text(json.dumps({"conditions": CONDITIONS, **figures}))

    row = {"4": 29.0, "3": 28.0, "2": 27.0, "1": 10.0}
    write("sensitivity", {"fp32": 30.0, "bleu": {"greedy": dict.fromkeys(TABLE_1, row)}})

    def measured(bleu: float, size: int) -> dict:
        cost = {"model_bytes": size, "ms_per_sentence": 2.5, "engine_peak_bytes": 5_000_000}
        return {"toy": {beam: {"bleu": bleu, **cost} for beam in ("1", "4")}}

    bits = {"Emb": 2.5, "Dec": 1.75, "Enc": 3.67, "all": 2.6}
    model = {"configuration": "paper-2.5", "method": "learned", "bits": bits, "sets": measured(29.5, 5_000_000)}
    write("models", {"fp32": measured(30.0, 50_000_000), "models": [model]})
    options = [{"rule": f"encoder.0.ffn: planes {planes}", "loss": 0.1 * (4 - planes)} for planes in (4, 3, 2, 1)]
    found = {"loss": 2.5, "bleu": 9.0}
    write("allocation", {"options": {"encoder.0.ffn": options}, "together": {"searched": found}})
    (tmp_path / "run").mkdir()
    log = [
        {"kind": "training", "tokens": 3600, "tokens_per_second": 1},
        {"kind": "validation", "tokens": 3600, "phase": 0, "version": "", "loss": 2.0, "bleu": 20.0},
        {"kind": "training", "tokens": 7200, "tokens_per_second": 2},
        {"kind": "validation", "tokens": 7200, "phase": 0, "version": "", "loss": 1.5},
    ]
    (tmp_path / "run/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    assert main(["paper", "--measure", "runs", "--runs", str(tmp_path / "run"), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "README.md").read_text()
    theirs = sum(25.4 - bleu for bleu in TABLE_1["Dec_ed"]) / 4
    assert f"| Dec_ed | 29.0 | 28.0 | 27.0 | 10.0 | 6.5 | {theirs:.1f} |" in page
    assert "| paper-2.5 | learned | 2.5, 1.8, 3.7 | 2.60 | 5.00 | 10.0x | 29.5 | 29.5 | 2.50 | 5.0 |" in page
    assert f"{27.5 - TABLE_2['paper-2.5'][0]:.1f}, 11.8x" in page
    assert "| encoder.0.ffn | +0.000 | +0.100 | +0.200 | +0.300 |" in page
    assert "| searched | 2.500 | 9.0 |" in page
    assert "| run | 7,200 | 1.50 | 2.000 | 1.500 |" in page
    assert "## Figure 3" not in page  # not recorded
    for plot in ("sensitivity", "models", "runs"):
        assert (tmp_path / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
    assert "Recorded 2026-01-01, commit abc" in page
    render(tmp_path)
    assert (tmp_path / "README.md").read_text() == page


def test_a_run_that_never_stepped_is_refused(tmp_path, capsys):
    (tmp_path / "log.jsonl").write_text("")
    assert main(["paper", "--measure", "runs", "--runs", str(tmp_path), "--out", str(tmp_path / "page")]) == 2
    assert "no step has been logged" in capsys.readouterr().err
    assert not (tmp_path / "page").exists() or not list((tmp_path / "page").iterdir())
