"""Corpora: what comes out, and that each shard is done once whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.format.directory import open_model
from service.__main__ import main
from service.corpora import corpus
from service.corpora.shard_translator import with_translation
from service.corpora.shards import CorpusError, sole_writer
from service.translation.results import Candidate, Options, Translation
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.conftest import DEFAULT_MODEL, ROOT
from tests.load.sentences import OURS
from tests.service.tiny_model import write_tiny_model

TEXTS = [*OURS, "", "Two sentences. In one text!", "😀 ...", "Zeile\nNext line.", 'A "quote" \\ and a \u2028 separator']


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def shards(tmp_path):
    """Write three shards of different lengths; the last line has no line end."""
    for number, count in enumerate((5, 1, 150)):
        lines = [json.dumps({"id": f"{number}.{n}", "text": TEXTS[n % len(TEXTS)]}) for n in range(count)]
        (tmp_path / f"part-{number}.jsonl").write_text("\n".join(lines))
    return tmp_path


def run(model, folder, *options, output="out"):
    command = ["corpus", "--input", f"{folder}/part-*.jsonl", "--output", str(folder / output)]
    return main([*command, "--model", str(model), "--workers", "2", *options])


def outputs(folder, output="out"):
    return {path.name: path.read_bytes() for path in (folder / output).glob("*.jsonl")}


def inodes(folder):
    """Return the inode of each shard; a shard that is done again has another."""
    return {path.name: path.stat().st_ino for path in (folder / "out").glob("*.jsonl")}


def test_every_line_comes_back_with_the_offline_engines_translation(tiny, shards):
    assert run(tiny, shards) == 0
    directory = open_model(tiny)
    name = directory.config.default_configuration
    translator = Translator(directory, Tokenizer(directory), name, directory.allocation(name), 4096)
    options = Options(directory.config.source_languages[0], directory.config.target_languages[0])
    for path in shards.glob("part-*.jsonl"):
        entries = [json.loads(line) for line in path.read_bytes().split(b"\n")]
        translated = [json.loads(line) for line in (shards / "out" / path.name).read_bytes().splitlines()]
        expected = translator.translate([entry["text"] for entry in entries], options).translations
        assert translated == [
            entry | {"translation": best.text, "score": best.score}
            for entry, (best, *_) in zip(entries, expected, strict=True)
        ]
    translator.close()


def test_threads_change_no_byte(tiny, shards):
    run(tiny, shards)
    run(tiny, shards, "--workers", "1", output="single")
    assert outputs(shards) == outputs(shards, "single")


@given(
    st.dictionaries(st.sampled_from(["id", "n", "ü"]), st.integers() | st.floats(allow_nan=False) | st.text()),
    st.text(),
    st.sampled_from(["", "\n", " \r\n"]),
)
def test_what_a_line_had_stays_to_the_letter(rest, text, end):
    line = json.dumps(rest | {"text": text}) + end
    translated = with_translation(line.encode(), Translation(Candidate(text, -0.5), ()))
    assert translated.startswith(line.rstrip()[:-1].encode())
    assert translated.endswith(b"}\n")
    assert json.loads(translated) == rest | {"text": text, "translation": text, "score": -0.5}


def test_a_run_that_was_killed_goes_on(shards):
    for number in range(16):  # enough work that the kill comes in the middle
        entries = [{"n": n, "text": OURS[n % len(OURS)]} for n in range(40)]
        (shards / f"part-{number}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert run(DEFAULT_MODEL, shards, output="reference") == 0
    command = [sys.executable, "-m", "service", "corpus", "--input", f"{shards}/part-*.jsonl"]
    with subprocess.Popen([*command, "--output", str(shards / "out")], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(outputs(shards)) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    done = outputs(shards)
    assert 2 <= len(done) < 16, "the kill came too late to be in the middle"
    reference = outputs(shards, "reference")
    assert all(reference[name] == content for name, content in done.items()), "a half-written shard has its name"
    receipts = {path.name.removesuffix(".json") for path in (shards / "out/.receipts").glob("[!.]*")}
    before = inodes(shards)
    assert run(DEFAULT_MODEL, shards) == 0
    assert outputs(shards) == reference
    assert all(inodes(shards)[name] == before[name] for name in receipts), "a finished shard was done again"
    assert not list((shards / "out").rglob("*.partial"))


def test_only_what_has_changed_is_done_again(tiny, shards, capfd):
    run(tiny, shards)
    before = inodes(shards)
    changed, touched = shards / "part-0.jsonl", shards / "part-2.jsonl"
    changed.write_text(changed.read_text().replace("train", "plane"))
    os.utime(touched, ns=(1, 1))
    assert run(tiny, shards) == 0
    assert "part-0.jsonl has changed" in capfd.readouterr().err
    assert {name for name, inode in inodes(shards).items() if inode != before[name]} == {"part-0.jsonl"}
    assert b"plane" in outputs(shards)["part-0.jsonl"]


@pytest.mark.parametrize("harm", ["cut", "removed", "receipt cut"])
def test_a_harmed_output_is_done_again(tiny, shards, harm):
    run(tiny, shards)
    whole = outputs(shards)
    if harm == "cut":
        (shards / "out/part-2.jsonl").write_bytes(whole["part-2.jsonl"][:100])
    elif harm == "removed":
        (shards / "out/part-2.jsonl").unlink()
    else:
        (shards / "out/.receipts/part-2.jsonl.json").write_text('{"work"')
    run(tiny, shards)
    assert outputs(shards) == whole


def test_another_configuration_is_refused_in_the_same_directory(tiny, shards, capfd):
    run(tiny, shards)
    assert run(tiny, shards, "--config", "half") == 2
    assert "config full, now half" in capfd.readouterr().err
    assert run(tiny, shards, "--config", "half", "--overwrite") == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "line 2 is not JSON"),
        (b"", "line 2 is not JSON"),
        (b'{"text": "\xff"}', "line 2 is not JSON"),
        (b'["text"]', "line 2 must be an object with a string 'text'"),
        (b'{"text": 7}', "line 2 must be an object with a string 'text'"),
        (b'{"text": "a", "translation": "b"}', "line 2 has a 'translation'"),
    ],
)
def test_a_shard_with_a_bad_line_is_refused_and_the_others_are_done(tiny, shards, capfd, line, reason):
    (shards / "part-1.jsonl").write_bytes(b'{"text": "good"}\n' + line + b'\n{"text": "good"}\n')
    assert run(tiny, shards) == 2
    assert reason in capfd.readouterr().err
    assert set(outputs(shards)) == {"part-0.jsonl", "part-2.jsonl"}
    assert not list((shards / "out").rglob("*.partial"))


def test_inputs_that_can_not_be_told_apart_are_refused(tiny, shards, capfd):
    (shards / "other").mkdir()
    (shards / "other/part-0.jsonl").write_text("{}")
    arguments = ["--output", str(shards / "out"), "--model", str(tiny), "--input"]
    assert main(["corpus", *arguments, f"{shards}/**/part-0.jsonl"]) == 2
    assert "have the same name" in capfd.readouterr().err
    assert main(["corpus", *arguments, f"{shards}/none-*"]) == 2
    assert "no file matches" in capfd.readouterr().err
    assert run(tiny, shards, output=".") == 2
    assert "is in the output directory" in capfd.readouterr().err


def test_one_run_at_a_time(tiny, shards):
    job = corpus.plan([f"{shards}/part-*.jsonl"], shards / "out", tiny)
    with sole_writer(shards / "out"), pytest.raises(CorpusError, match="another run"):
        corpus.translate(job, shards / "out")
    with pytest.raises(CorpusError, match="translates"):
        corpus.plan([f"{shards}/part-*.jsonl"], shards / "out", tiny, target="xx")
