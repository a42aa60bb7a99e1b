"""Checkpoint -> model directory: frequency order, codes of the right rows, what the command line says."""

import dataclasses
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.__main__ import main
from models.codes import bcq
from models.codes.bit_config import find_config
from models.format.directory import ModelDirectory, open_model
from models.format.layout import matrix_shapes
from models.marian.imported import write_checkpoint
from models.marian.rows import piece_counts, row_order, sort_rows
from models.marian.transformer import Transformer
from models.quantize.export import Request, export, with_half_vectors
from models.text.lines import DataError, read_lines
from models.text.pieces import PieceTokenizer
from tests.models.conftest import random_tensors


def dequantize(model: ModelDirectory, configuration: str) -> dict[str, torch.Tensor]:
    """Dequantise a configuration's matrices, from what the engine is given."""
    tensors, segments = model.engine_inputs(model.allocation(configuration))
    result = {
        name: torch.zeros(matrix.rows, matrix.columns, dtype=torch.float64)
        for name, matrix in model.config.matrices.items()
    }
    for name, begin, end, planes, scale_begin, group_size in segments:
        rows, columns = result[name].shape
        scales = torch.from_numpy(np.asarray(tensors[f"{name}.scales.{planes}"]).astype(np.float64))
        for i in range(planes):
            words = np.asarray(tensors[f"{name}.plane.{i + 1}"])
            bits = bcq.unpack(words, min(rows, 16 * len(words)), columns)[begin:end]
            scale = scales[i, :, begin - scale_begin : end - scale_begin].T
            spread = scale.repeat_interleave(group_size or columns, dim=1)[:, :columns]
            result[name][begin:end] += torch.where(torch.from_numpy(bits), spread, -spread)
    return {name: tensor.float() for name, tensor in result.items()}


@pytest.fixture(scope="module")
def separate_checkpoint(tiny_checkpoint):
    """Make a checkpoint with a vocabulary for each side and an output layer of its own, the target side smaller."""
    architecture = dataclasses.replace(
        tiny_checkpoint.architecture, shared_vocabulary=False, tied_output=False, target_vocab_size=50
    )
    target = (*tiny_checkpoint.source_pieces[:49], "<pad>")
    return dataclasses.replace(
        tiny_checkpoint,
        architecture=architecture,
        target_pieces=target,
        ids=dataclasses.replace(tiny_checkpoint.ids, pad=49, decoder_start=49, suppressed=(49,)),
        tensors=random_tensors(architecture),
    )


@pytest.mark.parametrize("kind", ["progressive", "specialised"])
@pytest.mark.parametrize("group_size", [None, 32])
@pytest.mark.parametrize("which", ["tiny_checkpoint", "separate_checkpoint"])
def test_the_file_holds_the_checkpoint_in_frequency_order(request, tmp_path, text_file, kind, group_size, which):
    checkpoint = request.getfixturevalue(which)
    config = find_config("paper-1.3" if kind == "specialised" else "full-8")
    job = Request("tiny", config, (), kind, 8, "alternating", group_size)
    export(checkpoint, [text_file], job, tmp_path / "out", notes="", overwrite=False)
    model = open_model(tmp_path / "out")
    ordered, _ = sort_rows(checkpoint, *piece_counts(checkpoint, [text_file]))
    weights = dequantize(model, config.name)
    for name in matrix_shapes(checkpoint.architecture):
        error = bcq.relative_error(ordered.tensors[name], weights[name])
        stated = model.config.matrices[name].error[-1]
        assert error == pytest.approx(stated, rel=1e-4)
        assert error < (0.0003 if kind == "progressive" else 0.5)
    assert [piece for piece, _ in model.vocabulary.source] == list(ordered.source_pieces)
    if kind == "progressive":
        # 8 planes translate as the checkpoint does, in its own numbering
        mine = Transformer.from_tensors(
            model.config.architecture,
            weights | {n: torch.from_numpy(np.array(t)) for n, t in model.main.tensors.items() if ".plane." not in n},
        )
        theirs = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
        source = [p for p, _ in model.vocabulary.source]
        target = [p for p, _ in model.vocabulary.target_pieces]
        old_source = torch.tensor([[5, 9, 12, 40, 0]])
        old_target = torch.tensor([[checkpoint.ids.decoder_start, 7, 8, 20]])
        target_pieces = checkpoint.target_pieces or checkpoint.source_pieces
        new_source = torch.tensor([[source.index(checkpoint.source_pieces[n]) for n in old_source[0]]])
        new_target = torch.tensor([[target.index(target_pieces[n]) for n in old_target[0]]])
        order = [target_pieces.index(piece) for piece in target]
        with torch.no_grad():
            expected = theirs(old_source, old_target)[:, :, order]
            difference = (mine(new_source, new_target) - expected).abs().max()
        assert difference < 0.1 * expected.std()


def test_vectors_that_float16_can_not_hold_stay_float32():
    tensors = {"m.plane.1": np.zeros((1, 1, 16), np.uint32), "a.bias": np.full(3, 0.1, np.float32)}
    half = with_half_vectors(tensors)
    assert (half["m.plane.1"].dtype, half["a.bias"].dtype) == (np.uint32, np.float16)
    kept = with_half_vectors({**tensors, "b.bias": np.array([1e5], np.float32)})
    assert (kept["a.bias"].dtype, kept["b.bias"].dtype) == (np.float32, np.float32)


def test_rows_fall_by_frequency(tiny_checkpoint, text_file):
    counts, _ = piece_counts(tiny_checkpoint, [text_file])
    ordered, vocabulary = sort_rows(tiny_checkpoint, counts, None)
    assert vocabulary.source[0] == ("</s>", 600)
    sorted_counts = [count for _, count in vocabulary.source[1:]]
    assert sorted_counts == sorted(sorted_counts, reverse=True)
    assert ordered.source_pieces[ordered.ids.decoder_start] == "<pad>"
    assert ordered.source_pieces[ordered.ids.unk_source] == "<unk>"
    assert dict(vocabulary.source)["<pad>"] == 300  # decoder_start is read once for each translation
    row = tiny_checkpoint.source_pieces.index(vocabulary.source[7][0])
    assert torch.equal(ordered.tensors["embedding"][7], tiny_checkpoint.tensors["embedding"][row])
    assert torch.equal(ordered.tensors["output.bias"][7], tiny_checkpoint.tensors["output.bias"][row])


def test_equal_counts_keep_their_order_and_eos_is_first():
    assert row_order([3, 9, 3, 0, 9], eos=3) == [3, 1, 4, 0, 2]


def test_without_text_the_order_is_that_of_sentencepiece(tiny_checkpoint):
    counts, none = piece_counts(tiny_checkpoint, [])
    assert none is None
    ordinary = counts[2:-1]  # SentencePiece numbers its pieces by falling probability
    assert ordinary == sorted(ordinary, reverse=True)
    assert min(ordinary) > 0


def test_counts_are_those_of_the_tokenizer(spm, pieces):
    lines = ["bade figo", "bade", "☃"]
    counts = PieceTokenizer(spm, pieces, 1).count(lines, eos=0)
    assert counts[0] == 3
    assert counts[1] == 1
    text = "".join(piece * counts[n] for n, piece in enumerate(pieces) if n > 1)
    assert sorted(text.replace("▁", "")) == sorted("badefigobade")


@pytest.mark.parametrize("name", ["text.tsv", "text.tsv.xz"])
def test_pairs_are_read_plain_and_compressed(tmp_path, name):
    opener = lzma.open if name.endswith(".xz") else open
    with opener(tmp_path / name, "wt", encoding="utf-8") as file:
        file.write("a b\tc\u2028d\ne\tf\n")
    assert list(read_lines(tmp_path / name)) == [("a b", "c\u2028d"), ("e", "f")]


def test_faulty_text_is_refused(tmp_path):
    (tmp_path / "bad.tsv").write_text("a\tb\nc\n")
    with pytest.raises(DataError, match="line 2 has 1 fields"):
        list(read_lines(tmp_path / "bad.tsv"))
    (tmp_path / "bad.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="can't be read"):
        list(read_lines(tmp_path / "bad.txt"))
    with pytest.raises(DataError, match="can't be read"):
        list(read_lines(tmp_path / "none.txt"))


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint_path(tmp_path, tiny_checkpoint) -> Path:
    write_checkpoint(tiny_checkpoint, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_quantize_and_inspect(tmp_path, checkpoint_path, text_file, capsys):
    out = str(tmp_path / "out")
    assert main(["quantize", str(checkpoint_path), out, "--config", "paper-2.5", "--text", str(text_file)]) == 0
    model = open_model(out)
    assert model.config.default_configuration == "paper-2.5"
    assert set(model.config.configurations) >= {"flat-1", "flat-4", "full-8", "balanced", "paper-1.1"}
    assert "en to de" in (tmp_path / "out/README.md").read_text()
    capsys.readouterr()
    assert main(["inspect", out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"{model.config.configurations['paper-2.5'].bytes:,} bytes")
    (row,) = (line.split() for line in lines if line.startswith("decoder.0.ffn.inner"))
    assert row[1:3] == ["72x48", "1"]
    assert row[-3:] == ["decoder.*.ffn:", "planes", "1"]
    assert main(["inspect", out, "--config", "nonsense"]) == 2
    assert "There is no configuration 'nonsense'" in capsys.readouterr().err


def test_fewer_planes_hold_fewer_configurations(tmp_path, checkpoint_path, capsys):
    out = str(tmp_path / "out")
    assert main(["quantize", str(checkpoint_path), out, "--config", "flat-2", "--max-planes", "3"]) == 0
    assert "No --text" in capsys.readouterr().err
    model = open_model(out)
    assert set(model.config.configurations) == {"flat-1", "flat-2", "flat-3"}
    assert (
        main(["quantize", str(checkpoint_path), str(tmp_path / "no"), "--config", "full-8", "--max-planes", "3"]) == 2
    )
    assert "only 3 planes deep" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_own_rules_from_a_file(tmp_path, checkpoint_path):
    (tmp_path / "mine.toml").write_text('[[rules]]\nmatch = "*"\nplanes = 6\n')
    arguments = ["quantize", str(checkpoint_path), str(tmp_path / "out"), "--config", str(tmp_path / "mine.toml")]
    assert main([*arguments, "--kind", "specialised", "--solver", "greedy"]) == 0
    codes = open_model(tmp_path / "out").config.codes
    assert (codes.kind, codes.depth, codes.solver) == ("specialised", 6, "greedy")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["quantize", "{none}", "{out}"], "there is no such directory"),
        (["quantize", "{checkpoint}", "{out}", "--config", "nonsense"], "There is no configuration 'nonsense'"),
        (["quantize", "{checkpoint}", "{out}", "--text", "{none}"], "the text can't be read"),
        (["quantize", "{checkpoint}", "{out}", "--group-size", "33"], "group size"),
        (["quantize", "{checkpoint}", "{checkpoint}"], "exists already"),
        (["import", "{none}", "{out}"], "there is no such directory"),
        (["import", "{checkpoint}", "{checkpoint}"], "exists already"),
        (["inspect", "{checkpoint}"], "config.json"),
        (["report", "{none}", "--corpus", "{none}"], "there is no corpus"),
    ],
)
def test_an_error_is_a_sentence_and_status_2(tmp_path, checkpoint_path, capsys, arguments, sentence):
    places = {"none": tmp_path / "none", "out": tmp_path / "out", "checkpoint": checkpoint_path}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "verb", ["", "import", "quantize", "inspect", "evaluate", "report", "train", "retrain", "assemble"]
)
def test_help_needs_no_torch(verb):
    code = "import sys; from models.__main__ import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules)"
    arguments = [verb, "--help"] if verb else ["--help"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "usage: python -m models" in done.stdout


def test_report_measures_and_writes_everything(tmp_path, checkpoint_path, text_file):
    corpus = tmp_path / "corpus"
    (corpus / "test").mkdir(parents=True)
    pairs = list(read_lines(text_file))[:6]
    (corpus / "test/small.en").write_text("".join(f"{line.source}\n" for line in pairs))
    (corpus / "test/small.de").write_text("".join(f"{line.target}\n" for line in pairs))
    model = tmp_path / "model"
    main(["quantize", str(checkpoint_path), str(model), "--config", "flat-4", "--kind", "specialised"])
    readme = tmp_path / "README.md"
    readme.write_text("# before\n\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    arguments = ["report", str(model), "--corpus", str(corpus), "--checkpoint", str(checkpoint_path)]
    assert main([*arguments, "--out", str(tmp_path / "results"), "--readme", str(readme), "--limit", "4"]) == 0
    results = {name: json.loads((tmp_path / f"results/{name}.json").read_text()) for name in ("flat-4", "fp32")}
    figures = results["flat-4"]["sets"]["small"]
    assert figures["sentences"] == 4
    assert figures["bleu_signature"].startswith("nrefs:1|")
    assert figures["model_bytes"] == open_model(model).config.configurations["flat-4"].bytes
    assert figures["ms_per_sentence"] > 0
    assert figures["process_rss_bytes"] > figures["engine_peak_bytes"] > figures["model_bytes"]
    assert os.sep not in figures["conditions"]["command"]
    fp32 = results["fp32"]["sets"]["small"]
    assert fp32["bits_per_weight"] == 32
    assert "translations" not in figures | fp32  # no text of the corpus
    loss = figures["bleu_against_fp32"]
    assert loss["difference"] == pytest.approx(figures["bleu"] - fp32["bleu"], abs=0.011)
    assert loss["low"] <= loss["difference"] <= loss["high"]
    assert {"length_ratio", "empty", "looping", "copied", "rare_recall"} <= figures.keys() & fp32.keys()
    recorded = (tmp_path / "results/flat-4.json").read_text().replace('"bleu": ', '"bleu": 9')
    (tmp_path / "results/flat-2.json").write_text(recorded)  # of another model: not shown
    again = [*arguments, "--out", str(tmp_path / "results"), "--readme", str(readme), "--limit", "4"]
    assert main([*again, "--configs", "none"]) == 2
    assert main([*again, "--configs", "flat-4"]) == 0
    last = json.loads((tmp_path / "results/flat-4.json").read_text())["sets"]["small"]
    assert last["bleu"] == figures["bleu"]
    assert "| flat-2 |" not in readme.read_text()
    text = readme.read_text()
    assert text.startswith("# before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| flat-4 |" in text
    assert "| fp32" in text
    assert "| flat-4 |" in (model / "README.md").read_text()
    assert (tmp_path / "results/quality.png").read_bytes().startswith(b"\x89PNG")
    quality = open_model(model).config.configurations["flat-4"].quality
    assert quality["small"] == {name: last[name] for name in ("bleu", "chrf", "ms_per_sentence")}
    for only in (["--configs", "flat-4"], []):  # codes that were trained on, on another machine
        assert main([*again, *only, "--keep-times"]) == 0
        kept = json.loads((tmp_path / "results/flat-4.json").read_text())["sets"]["small"]
        assert (kept["ms_per_sentence"], kept["ms_median"]) == (last["ms_per_sentence"], last["ms_median"])
        assert kept["conditions_of_times"] == last["conditions"]
