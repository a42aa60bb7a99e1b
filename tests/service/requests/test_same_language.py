"""What is in the target's language already, or in one that no model reads, comes back as it was, in every dialect."""

import io
import json
import subprocess
import sys
from pathlib import Path

import deepl
import docx
import httpx
import pytest

from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.conftest import ROOT
from tests.service.requests.test_file_jobs import until_ended
from tests.service.running import Server, assert_refused, serve, texts_of, translate

GERMAN = "Guten Morgen, mein Freund. Wie geht es dir heute?"
FRENCH = "Bonjour mon ami. Comment vas-tu aujourd'hui ?"
ENGLISH = "Good morning, my friend."
AUTO = {"source": "auto", "target": "de"}


def test_a_text_in_the_target_language(client: httpx.Client) -> None:
    body = translate(client, GERMAN, **AUTO).json()
    (translation,) = body["translations"]
    assert (translation["text"], translation["unchanged"]) == (GERMAN, "same_language")
    assert translation["detected"]["language"] == "de"
    assert "model" not in body
    assert body["models"] == []
    assert body["latency_ms"]["total"] >= 0
    (named,) = translate(client, GERMAN, source="de", target="de").json()["translations"]
    assert (named["text"], named["unchanged"]) == (GERMAN, "same_language")


@pytest.mark.parametrize("text", [FRENCH, "Где находится библиотека?", "图书馆在哪里？"])
def test_a_language_that_no_model_reads(client: httpx.Client, text: str) -> None:
    (translation,) = translate(client, text, **AUTO).json()["translations"]
    assert (translation["text"], translation["unchanged"]) == (text, "unsupported_language")
    assert_refused(translate(client, text, source="fr"), 422, "not supported")


def test_a_list_of_both_and_of_what_is_translated(client: httpx.Client) -> None:
    texts = [GERMAN, ENGLISH, FRENCH, "42"]
    reply = translate(client, texts, **AUTO)
    assert texts_of(reply) == [GERMAN, *texts_of(translate(client, ENGLISH)), FRENCH, "42"]
    assert [each.get("unchanged") for each in reply.json()["translations"]] == [
        "same_language",
        None,
        "unsupported_language",
        None,
    ]
    assert reply.json()["model"]["name"] == reply.headers["x-sub3-model"]


def test_a_stream(client: httpx.Client) -> None:
    events = client.post("/v1/translate/stream", json={"text": [GERMAN, ENGLISH], **AUTO}).text
    assert events.count("event: sentence") == 1
    last = json.loads(events.rpartition("data: ")[2])
    assert last["translations"][0]["text"] == GERMAN


def test_libretranslate(client: httpx.Client) -> None:
    for text in (GERMAN, FRENCH):
        reply = client.post("/translate", json={"q": text, **AUTO}).json()
        assert reply["translatedText"] == text
        assert reply["detectedLanguage"]["language"] == ("de" if text == GERMAN else "fr")
        assert reply["detectedLanguage"]["confidence"] > 90
    html = f"<p>{GERMAN} <b class=x>&auml;</b><br/></p>"
    assert client.post("/translate", json={"q": html, "format": "html", **AUTO}).json()["translatedText"] == html
    for code in ("de", "en"):  # also what is no target
        same = client.post("/translate", json={"q": GERMAN, "source": code, "target": code})
        assert (same.status_code, same.json()) == (200, {"translatedText": GERMAN})
    refused = client.post("/translate", json={"q": "a", "source": "xx", "target": "xx"})
    assert (refused.status_code, refused.json()) == (400, {"error": "xx is not supported"})


def test_azure(client: httpx.Client) -> None:
    def translated(text: str, **parameters: str) -> dict[str, object]:
        asked = {"api-version": "3.0", "to": "de"} | parameters
        (found,) = client.post("/translate", params=asked, json=[{"Text": text}]).raise_for_status().json()
        return dict(found)

    for text, language in ((GERMAN, "de"), (FRENCH, "fr"), (f"<b class=x>{GERMAN}</b>&auml;<br/>", "de")):
        found = translated(text, textType="html" if text[0] == "<" else "plain")
        assert found["translations"] == [{"text": text, "to": "de"}]
        assert found["detectedLanguage"]["language"] == language  # type: ignore[index]
    assert translated(GERMAN, **{"from": "de"})["translations"] == [{"text": GERMAN, "to": "de"}]


def test_google(client: httpx.Client) -> None:
    for text, language in ((GERMAN, "de"), (FRENCH, "fr")):
        reply = client.post("/language/translate/v2", json={"q": text, "target": "de"}).raise_for_status().json()
        (found,) = reply["data"]["translations"]
        assert (found["translatedText"].replace("&#39;", "'"), found["detectedSourceLanguage"]) == (text, language)
    named = client.post("/language/translate/v2", json={"q": GERMAN, "source": "de", "target": "de"})
    assert named.json()["data"]["translations"][0]["translatedText"] == GERMAN


def test_deepl_texts(server: Server) -> None:
    client = deepl.DeepLClient("any", server_url=server.url)
    texts = [GERMAN, FRENCH, f"<i>{GERMAN}</i>"]
    found = client.translate_text(texts, target_lang="DE", tag_handling="html")
    assert isinstance(found, list)
    assert [(each.text, each.detected_source_lang) for each in found] == list(
        zip(texts, ("DE", "FR", "DE"), strict=True)
    )
    same = client.translate_text(GERMAN, source_lang="DE", target_lang="DE")
    assert isinstance(same, deepl.TextResult)
    assert same.text == GERMAN


@pytest.mark.parametrize("source", [None, "DE"])
def test_a_deepl_document(server: Server, tmp_path: Path, source: str | None) -> None:
    (tmp_path / "a.txt").write_text(GERMAN)
    client = deepl.DeepLClient("any", server_url=server.url)
    with pytest.raises(deepl.DocumentTranslationException, match="Source and target language are equal") as raised:
        client.translate_document_from_filepath(
            tmp_path / "a.txt", tmp_path / "b.txt", source_lang=source, target_lang="DE"
        )
    assert raised.value.document_handle is not None
    with pytest.raises(deepl.DeepLException, match="Bad request"):
        client.translate_document_download(raised.value.document_handle, tmp_path / "b.txt")


@pytest.mark.parametrize("source", ["auto", "de"])
def test_a_file_comes_back_to_the_byte(client: httpx.Client, source: str) -> None:
    buffer = io.BytesIO()
    document = docx.Document()
    document.add_paragraph(GERMAN)
    document.save(buffer)
    files = {"file": ("a.docx", buffer.getvalue())}
    job = client.post("/v1/files", files=files, data={"source": source, "target": "de"}).json()["id"]
    last = until_ended(client, job)
    assert (last["status"], last["source"], last["progress"]) == ("done", "de", 1)
    assert client.get(f"/v1/files/{job}/result").content == buffer.getvalue()
    reply = client.post("/translate_file", files=files, data={"source": source, "target": "de"})
    assert client.get(reply.json()["translatedFileUrl"]).content == buffer.getvalue()


def test_a_file_in_a_language_that_no_model_reads(client: httpx.Client) -> None:
    files = {"file": ("a.txt", FRENCH.encode())}
    job = client.post("/v1/files", files=files, data=AUTO).json()["id"]
    last = until_ended(client, job)
    assert (last["status"], last["source"]) == ("failed", "fr")
    assert "not supported" in last["error"]
    assert client.post("/translate_file", files=files, data=AUTO).status_code == 400


@pytest.mark.parametrize("options", [("--source", "auto"), ("--source", "de", "--target", "de")])
def test_the_command_line(tiny_model: Path, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "service", "translate", "--model", str(tiny_model), *options]

    def told(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT)

    assert told(f"{GERMAN}\n\n  {GERMAN}").stdout == f"{GERMAN}\n\n  {GERMAN}"
    if options == ("--source", "auto"):
        refused = told(FRENCH)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "in French" in refused.stderr


def test_it_needs_a_key_and_takes_nothing_of_it(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    key, record = new_key("small", None, 1000)
    SqliteKeys(path).add(record)
    with (
        serve(Settings(model_directory=tiny_model, threads=1, api_keys=True, keys_file=path)) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        assert client.post("/v1/translate", json={"text": GERMAN, **AUTO}).status_code == 401
        assert client.post("/v2/translate", json={"text": [""], "target_lang": "DE"}).status_code == 403
        client.headers["Authorization"] = f"DeepL-Auth-Key {key}"
        assert client.post("/v2/translate", json={"text": [GERMAN], "target_lang": "DE"}).status_code == 200
        assert client.get("/v2/usage").json()["character_count"] == 0
        assert client.post("/v2/translate", json={"text": [GERMAN, ENGLISH], "target_lang": "DE"}).status_code == 200
        assert client.get("/v2/usage").json()["character_count"] == len(ENGLISH)
