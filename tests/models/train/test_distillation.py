"""Pairs of a model's own translations: whose text it is, and where a person's is taken instead."""

import json
import lzma

import pytest
from sacrebleu import sentence_chrf

from models.__main__ import main
from models.text.lines import read_lines
from service.corpora import corpus
from tests.service.tiny_model import write_tiny_model

PAIRS = [(f"This is sentence {n}.", f"Das ist Satz {n}.") for n in range(40)]
PAIRS += [(source, f"Nummer {n}") for n, (source, _) in enumerate(PAIRS[:10])]


@pytest.fixture
def shared(tmp_path):
    train = tmp_path / "corpus/train"
    train.mkdir(parents=True)
    with lzma.open(train / "toy.tsv.xz", "wt", encoding="utf-8") as file:
        file.writelines(f"{source}\t{target}\n" for source, target in PAIRS)
    return tmp_path


def sampled(shared, name, count, *options):
    assert main(["sample", str(shared / name), f"toy={count}", "--shared", str(shared), *options]) == 0
    return [json.loads(line) for path in (shared / name).iterdir() for line in path.read_text().splitlines()]


def test_a_sample_has_each_sentence_once_with_all_its_references(shared):
    lines = sampled(shared, "all", 40)
    assert {line["text"]: line["references"] for line in lines} == {
        source: [target for other, target in PAIRS if other == source] for source, _ in PAIRS
    }
    assert len(lines) == 40
    few = sampled(shared, "few", 15)
    assert few == sampled(shared, "again", 15)
    assert few != sampled(shared, "other", 15, "--seed", "2")
    assert len({line["text"] for line in few}) == 15


def test_a_sample_that_cannot_be_drawn_is_refused(shared, capsys):
    assert main(["sample", str(shared / "many"), "toy=41", "--shared", str(shared)]) == 2
    assert "toy has 40 distinct sentences, not 41" in capsys.readouterr().err
    sampled(shared, "all", 40)
    assert main(["sample", str(shared / "all"), "toy=40", "--shared", str(shared)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_translations_that_are_near_a_reference_are_kept(shared):
    sampled(shared, "in", 40)
    model = write_tiny_model(shared / "tiny")
    options = {"config": None, "source": None, "target": None, "beam_size": 2, "field": "text"}
    job = corpus.plan([f"{shared}/in/*.jsonl"], shared / "out", model, **options)
    corpus.translate(job, shared / "out", engine="process", workers=1, overwrite=False)
    (path,) = (shared / "out").glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    # some translations as a person could have written them: near the only reference or one of two, shorter, and far off
    for line in lines[:10]:
        line["translation"] = f"{line['references'][-1]}!"
    lines[10]["translation"] = lines[10]["references"][0].replace("Das ist", "Das")
    lines[11]["translation"] = "Das ist etwas ganz anderes"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def near(line, least):
        own = line["translation"]
        nearest = max(line["references"], key=lambda reference: sentence_chrf(own, [reference]).score)
        return sentence_chrf(own, [nearest]).score >= least and len(own.split()) >= len(nearest.split())

    for least in (0.0, 40.0, 100.5):
        out = shared / f"{least}.tsv"
        assert main(["select", str(shared / "out"), str(out), "--least-chrf", str(least)]) == 0
        assert [(pair.source, pair.target) for pair in read_lines(out)] == [
            (line["text"], line["translation"] if near(line, least) else line["references"][0]) for line in lines
        ]
    assert all(near(line, 40) for line in lines[:10])
    assert sentence_chrf(lines[10]["translation"], lines[10]["references"]).score > 40
    assert not any(near(line, 40) for line in lines[10:12])


def test_no_translations_are_refused(shared, capsys):
    (shared / "nothing").mkdir()
    assert main(["select", str(shared / "nothing"), str(shared / "out.tsv")]) == 2
    assert "no translated shards" in capsys.readouterr().err
    assert not (shared / "out.tsv").exists()
