"""A model of several targets, as Opus-MT hands it on: every dialect and command takes every code of a language."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from models.__main__ import main
from models.evaluate.evaluate import evaluate_engine
from models.format.directory import open_model
from service.__main__ import main as command
from service.settings import Settings
from tests.models.conftest import sentences
from tests.models.marian.test_checkpoint import edit, save_marian
from tests.service.running import serve

TEXT = sentences(1, 7)[0]
BEAM, PENALTY = 3, 0.5
# What clients call the languages that the vocabulary calls >>fra<<, >>pt_BR<< and >>cmn_Hans<<.
CODES = {
    "fr": ("fr", "FR", "fra", "fre", "fr-CA", "fr_FR"),
    "pt-BR": ("pt-BR", "pt_br", "por_BR", "PT-BR", "pt", "por"),
    "zh-Hans": ("zh-Hans", "cmn_Hans", "ZH-HANS", "zh", "zh-CN", "chi"),
}
Ask = Callable[[httpx.Client, str, str], httpx.Response]


def native(client: httpx.Client, text: str, target: str) -> httpx.Response:
    return client.post("/v1/translate", json={"text": text, "source": "eng", "target": target})


def libretranslate(client: httpx.Client, text: str, target: str) -> httpx.Response:
    return client.post("/translate", json={"q": text, "source": "en", "target": target})


def deepl(client: httpx.Client, text: str, target: str) -> httpx.Response:
    return client.post("/v2/translate", json={"text": [text], "source_lang": "EN", "target_lang": target})


def google(client: httpx.Client, text: str, target: str) -> httpx.Response:
    fields = {"q": text, "source": "en-GB", "target": target, "format": "text"}
    return client.post("/language/translate/v2", json=fields)


def google_web(client: httpx.Client, text: str, target: str) -> httpx.Response:
    return client.get("/translate_a/single", params={"q": text, "sl": "en", "tl": target, "dt": "t"})


def azure(client: httpx.Client, text: str, target: str) -> httpx.Response:
    address = {"api-version": "3.0", "from": "en", "to": target}
    return client.post("/translator/text/v3.0/translate", params=address, json=[{"Text": text}])


def kserve(client: httpx.Client, text: str, target: str) -> httpx.Response:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    body = {"inputs": [tensor], "parameters": {"source": "eng", "target": target}}
    return client.post("/v2/models/several/infer", json=body)


def files(client: httpx.Client, text: str, target: str) -> httpx.Response:
    fields = {"source": "eng", "target": target}
    reply = client.post("/v1/files", data=fields, files={"file": ("a.txt", f"{text}\n".encode())})
    if reply.status_code != 202:
        return reply
    where = reply.headers["Location"]
    with client.stream("GET", f"{where}/events") as events:  # until it is done
        events.read()
    return client.get(f"{where}/result")


DIALECTS: dict[Ask, Callable[[httpx.Response], str]] = {
    native: lambda reply: reply.json()["translations"][0]["text"],
    libretranslate: lambda reply: reply.json()["translatedText"],
    deepl: lambda reply: reply.json()["translations"][0]["text"],
    google: lambda reply: reply.json()["data"]["translations"][0]["translatedText"],
    google_web: lambda reply: reply.json()[0][0][0],
    azure: lambda reply: reply.json()[0]["translations"][0]["text"],
    kserve: lambda reply: reply.json()["outputs"][0]["data"][0],
    files: lambda reply: reply.text.strip(),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, pieces: tuple[str, ...], spm: bytes) -> Path:
    """Write the checkpoint, and what `quantize` makes of it for three of its four targets."""
    folder = tmp_path_factory.mktemp("languages")
    tokens = (">>fra<<", ">>pt_BR<<", ">>cmn_Hans<<", ">>deu<<")
    save_marian(folder / "opus-mt-en-mul", (*pieces[:-1], *tokens, "<pad>"), spm, init_std=0.5)
    edit(folder / "opus-mt-en-mul", "tokenizer_config.json", source_lang="eng", target_lang="mul")
    search = {"num_beams": BEAM, "length_penalty": PENALTY, "bad_words_ids": [[len(pieces) + len(tokens) - 1]]}
    (folder / "opus-mt-en-mul/generation_config.json").write_text(json.dumps(search))
    kept = ["--target-languages", "fra,pt_br,cmn_Hans", "--source-languages", "eng"]
    arguments = [str(folder / "opus-mt-en-mul"), str(folder / "several"), "--config", "full-8", *kept]
    assert main(["quantize", *arguments]) == 0
    return folder / "several"


@pytest.fixture(scope="module")
def client(directory: Path) -> Iterator[httpx.Client]:
    with (
        serve(Settings(model_directory=directory, threads=1)) as running,
        httpx.Client(base_url=running.url, timeout=60) as connection,
    ):
        yield connection


@pytest.fixture(scope="module")
def expected(directory: Path) -> dict[str, str]:
    """Translate the text into each language by the engine, with the search that the checkpoint asks for."""
    model = open_model(directory)
    assert (model.config.beam_size, model.config.length_penalty) == (BEAM, PENALTY)
    marked = [f"{model.config.target_tokens[language]} {TEXT}" for language in CODES]
    found = evaluate_engine(model, model.config.default_configuration, marked, BEAM)["translations"]
    assert len(set(found)) == len(CODES)
    return dict(zip(CODES, found, strict=True))


def test_the_directory_has_canonical_codes_and_the_languages_that_were_listed(directory: Path) -> None:
    config = open_model(directory).config
    assert (config.source_languages, config.target_languages) == (("en",), tuple(sorted(CODES)))
    assert config.target_tokens == {"fr": ">>fra<<", "pt-BR": ">>pt_BR<<", "zh-Hans": ">>cmn_Hans<<"}


@pytest.mark.parametrize(("language", "code"), [(language, code) for language in CODES for code in CODES[language]])
@pytest.mark.parametrize("ask", DIALECTS)
def test_every_dialect_takes_every_code(
    client: httpx.Client, expected: dict[str, str], ask: Ask, language: str, code: str
) -> None:
    reply = ask(client, TEXT, code)
    assert reply.status_code == 200, reply.text
    assert DIALECTS[ask](reply) == expected[language]


@pytest.mark.parametrize("mark", [">>fra<< ", ">>fr<<", ">>FR<< "])
@pytest.mark.parametrize("ask", DIALECTS)
def test_a_text_of_every_dialect_may_name_its_target(
    client: httpx.Client, expected: dict[str, str], ask: Ask, mark: str
) -> None:
    reply = ask(client, mark + TEXT, "pt-BR")
    assert reply.status_code == 200, reply.text
    assert DIALECTS[ask](reply) == expected["fr"]


@pytest.mark.parametrize("ask", DIALECTS)
def test_a_language_that_was_left_out_is_refused(client: httpx.Client, ask: Ask) -> None:
    assert 400 <= ask(client, TEXT, "de").status_code < 500


@pytest.mark.parametrize(("language", "code"), [(language, code) for language in CODES for code in CODES[language][:3]])
def test_evaluate_takes_every_code(
    tmp_path: Path, directory: Path, expected: dict[str, str], language: str, code: str
) -> None:
    for name in ("source", "reference"):
        (tmp_path / name).write_text(f"{TEXT}\n")
    files = ["--source", str(tmp_path / "source"), "--reference", str(tmp_path / "reference")]
    options = ["--json", str(tmp_path / "found.json"), "--beam", str(BEAM), "--target", code]
    assert main(["evaluate", str(directory), *files, *options]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["engine"]["translations"] == [expected[language]]


def test_evaluate_names_the_languages_that_there_are(
    tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text(f"{TEXT}\n")
    files = ["--source", str(tmp_path / "text"), "--reference", str(tmp_path / "text")]
    assert main(["evaluate", str(directory), *files, "--json", str(tmp_path / "found.json"), "--target", "deu"]) == 2
    assert "has no target 'de'; it has fr, pt-BR, zh-Hans." in capsys.readouterr().err


@pytest.mark.parametrize(("language", "code"), [(language, code) for language in CODES for code in CODES[language][:3]])
def test_sub3_translate_and_corpus_take_every_code(
    tmp_path: Path,
    directory: Path,
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
    language: str,
    code: str,
) -> None:
    monkeypatch.setenv("SUB3_MODEL_DIRECTORY", str(directory))
    pair = ("--source", "eng", "--target", code)
    (tmp_path / "in.txt").write_text(f"{TEXT}\n")
    assert command(["translate", *pair, "--output", "-", str(tmp_path / "in.txt")]) == 0
    assert capsysbinary.readouterr().out.decode().strip() == expected[language]
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": TEXT}) + "\n")
    where = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out"), "--model", str(directory)]
    assert command(["corpus", *where, *pair, "--workers", "1"]) == 0
    (line,) = (tmp_path / "out/in.jsonl").read_text().splitlines()
    assert json.loads(line)["translation"] == expected[language]
