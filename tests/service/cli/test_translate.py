"""`sub3 translate` as its user meets it: a process, files and pipes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import service
from models.format.directory import open_model
from service.live.configurations import by_name
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.service.tiny_model import write_tiny_model

ROOT = Path(service.__file__).parent.parent
TEXT = "The old house.\n\n  - A big tree sees the river.\n"


def sub3(model: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", "translate", "--model", str(model), *arguments],
        input=given,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> str:
    directory = open_model(tiny_model)
    translator = Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)
    return translator.translate([TEXT], Options("en", "de")).translations[0].best.text


def test_a_pipe(tiny_model: Path, expected: str) -> None:
    done = sub3(tiny_model, given=TEXT)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    assert sub3(tiny_model, given="").stdout == ""
    assert sub3(tiny_model, "-", given=TEXT).stdout == expected


def test_files(tiny_model: Path, expected: str, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(TEXT)
    assert sub3(tiny_model, str(tmp_path / "a.txt"), str(tmp_path / "b.txt")).returncode == 0
    assert (tmp_path / "a.de.txt").read_text() == (tmp_path / "b.de.txt").read_text() == expected
    (tmp_path / "out").mkdir()
    assert sub3(tiny_model, str(tmp_path / "a.txt"), "-o", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out" / "a.de.txt").read_text() == expected
    assert sub3(tiny_model, str(tmp_path / "a.txt"), "-o", "-").stdout == expected


def test_threads_change_nothing(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT * 300)
    outputs = {sub3(tiny_model, str(tmp_path / "a.txt"), "-o", "-", "--threads", n).stdout for n in ("1", "4")}
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == 900


def test_json(tiny_model: Path, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    report = json.loads(sub3(tiny_model, "--json", "--config", "half", "--source", "auto", given=TEXT).stdout)
    assert report["model"]["config"] == "half"
    assert report["text"] != expected  # by half of the bits
    assert (report["source"], report["characters"], report["cut_sentences"]) == ("en", len(TEXT), 0)
    assert list(report["latency_ms"]) == ["load", "tokenize", "encode", "decode", "detokenize", "total"]
    assert all(value > 0 for value in report["latency_ms"].values())
    assert report["memory"]["process_peak_rss_bytes"] >= report["memory"]["process_rss_bytes"] > 1 << 20
    report = json.loads(sub3(tiny_model, "--json", str(tmp_path / "a.txt")).stdout)
    assert report["output"] == str(tmp_path / "a.de.txt")
    assert "text" not in report


def test_a_glossary(tiny_model: Path, expected: str, tmp_path: Path) -> None:
    for name, separator in (("terms.tsv", "\t"), ("terms.csv", ",")):
        (tmp_path / name).write_text(f"\ufeffnobody{separator}Fluss\nmorning{separator}Baum\n", encoding="utf-8")
        done = sub3(tiny_model, "--glossary", str(tmp_path / name), given="Good morning.")
        assert done.returncode == 0, done.stderr
        assert "Baum" in done.stdout
        assert "Baum" not in expected


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--glossary", "none.tsv"], 2, "none.tsv"),
        (["--glossary", "bad.docx"], 2, "Line 1 of the entries"),
        (["a.exe"], 2, "are not translated"),
        (["none.txt"], 1, "none.txt"),
        (["bad.docx", "a.txt"], 1, "damaged"),
        (["--config", "none"], 2, "none"),
        (["--target", "fr"], 2, "en -> de"),
        (["--model", "/nowhere"], 2, "/nowhere"),
        (["--beam-size", "9"], 2, "beam-size"),
    ],
)
def test_refusals(tiny_model: Path, tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "bad.docx").write_text("no archive")
    named = [str(tmp_path / argument) if "." in argument else argument for argument in arguments]
    done = sub3(tiny_model, *named, given=TEXT)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if "a.txt" in arguments:
        assert (tmp_path / "a.de.txt").exists()  # what is wrong with one is not the others' fault


def test_it_loads_no_server(tiny_model: Path) -> None:
    code = (
        "import sys, service.__main__; "
        f"service.__main__.main(['translate', '--model', {str(tiny_model)!r}]); "
        "print([m for m in ('fastapi', 'starlette', 'pydantic', 'uvicorn', 'torch', 'lxml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], input="", capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_languages_choose_among_the_models(tmp_path: Path) -> None:
    for seed, (source, target) in enumerate((("en", "de"), ("de", "fr"))):
        write_tiny_model(tmp_path / f"{source}-{target}", sources=(source,), targets=(target,), seed=seed)

    def translated(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service", "translate", *arguments],
            input=TEXT,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "SUB3_MODELS_DIRECTORY": str(tmp_path)},
        )

    for arguments, name in (
        ((), "en-de"),
        (("--source", "de"), "de-fr"),
        (("--source", "de", "--target", "fr"), "de-fr"),
    ):
        same = sub3(tmp_path / name, "--source", name[:2], given=TEXT)
        assert translated(*arguments).stdout == same.stdout != ""
    english = translated("--target", "fr")  # which neither model reads for that target
    assert (english.returncode, "in English" in english.stderr) == (1, True)
    refused = translated("--target", "es")
    assert (refused.returncode, "en -> de" in refused.stderr) == (2, True)
