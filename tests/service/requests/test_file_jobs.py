"""Files over HTTP: the native routes, LibreTranslate's and DeepL's; progress, cancelling, limits, who may read what."""

import io
import json
from pathlib import Path
from typing import Any

import deepl
import docx
import httpx
import pytest

from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.opening import open_keys
from tests.service.running import Server, assert_refused, held_steps, held_worker, serve, texts_of, translate

TEXT = "The old house.\n\n  - A big tree sees the river.\n"
PAIR = {"source": "en", "target": "de"}


def send(client: httpx.Client, data: bytes, name: str = "notes.txt", **fields: str) -> httpx.Response:
    return client.post("/v1/files", files={"file": (name, data)}, data={**PAIR, **fields})


def until_ended(client: httpx.Client, job: str, **options: Any) -> dict[str, Any]:
    """Follow the events of a file to its end; the last one."""
    last = {}
    with client.stream("GET", f"/v1/files/{job}/events", **options) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        progress = 0.0
        for line in events.iter_lines():
            if line.startswith("data: "):
                last = json.loads(line[6:])
                assert progress <= last["progress"] <= 1
                progress = last["progress"]
    return last


def expected(client: httpx.Client) -> str:
    return texts_of(translate(client, TEXT))[0]


def test_a_file_is_translated_as_its_text_would_be(client: httpx.Client) -> None:
    sent = send(client, TEXT.encode(), "C:\\My files\\Notes é.TXT")
    assert sent.status_code == 202
    job = sent.json()
    assert job["name"] == "Notes é.de.txt"
    assert sent.headers["location"] == f"/v1/files/{job['id']}"
    last = until_ended(client, job["id"])
    assert (last["status"], last["progress"], last["characters"]) == ("done", 1.0, len(TEXT))
    result = client.get(f"/v1/files/{job['id']}/result")
    assert result.text == expected(client)
    assert result.headers["content-disposition"] == "attachment; filename*=UTF-8''Notes%20%C3%A9.de.txt"
    assert result.headers["content-type"].startswith("text/plain")
    assert result.headers["x-content-type-options"] == "nosniff"
    assert client.delete(f"/v1/files/{job['id']}").status_code == 204
    assert_refused(client.get(f"/v1/files/{job['id']}"), 404, "no such file")


def test_a_long_file_comes_in_parts_and_whole(client: httpx.Client) -> None:
    lines = [f"The {word} house sees a big tree near the river." for word in ("old", "new", "big")] * 300
    text = "\n".join(lines)  # without a blank line: one text, longer than a request's may be
    sent = send(client, text.encode())
    job = sent.json()["id"]
    assert until_ended(client, job)["status"] == "done"
    assert client.get(f"/v1/files/{job}/result").text.split("\n") == texts_of(translate(client, lines[:3])) * 300


def test_a_word_document(client: httpx.Client) -> None:
    document = docx.Document()
    document.add_paragraph("The old house.")
    buffer = io.BytesIO()
    document.save(buffer)
    job = send(client, buffer.getvalue(), "a.docx").json()["id"]
    assert until_ended(client, job)["status"] == "done"
    result = client.get(f"/v1/files/{job}/result")
    (paragraph,) = docx.Document(io.BytesIO(result.content)).paragraphs
    assert [paragraph.text] == texts_of(translate(client, "The old house."))


def test_the_language_is_detected(client: httpx.Client) -> None:
    job = send(client, b"Where is the railway station, please?", source="auto").json()["id"]
    last = until_ended(client, job)
    assert (last["status"], last["source"]) == ("done", "en")


def test_line_breaks_may_be_spaces(client: httpx.Client) -> None:
    job = send(client, b"The old\nhouse sees.", split_sentences="nonewlines").json()["id"]
    until_ended(client, job)
    whole = texts_of(translate(client, "The old house sees."))[0]
    assert client.get(f"/v1/files/{job}/result").text == whole


def test_columns_of_a_table_are_chosen(client: httpx.Client) -> None:
    table = b"key,text,note\na,The old house.,the river sees\n"
    job = send(client, table, "a.csv", columns="text").json()["id"]
    assert until_ended(client, job)["status"] == "done"
    house = texts_of(translate(client, "The old house."))[0]
    assert client.get(f"/v1/files/{job}/result").text == f"key,text,note\na,{house},the river sees\n"
    last = until_ended(client, send(client, table, "a.csv", columns="word").json()["id"])
    assert (last["status"], last["error"]) == ("failed", "The table has no column 'word'.")


def test_what_is_wrong_with_a_file_is_told(client: httpx.Client) -> None:
    job = send(client, b"no archive", "a.docx").json()["id"]
    last = until_ended(client, job)
    assert last["status"] == "failed"
    assert "damaged" in last["error"]
    assert_refused(client.get(f"/v1/files/{job}/result"), 409, "failed")


def test_refusals(client: httpx.Client) -> None:
    assert_refused(send(client, b"x", "a.exe"), 422, "'.exe'", ".docx")
    assert_refused(send(client, b"x", target="fr"), 422, "not supported")
    assert_refused(send(client, b"x", split_sentences="2"), 400, "split_sentences")
    assert_refused(client.post("/v1/files", files={"file": ("a.txt", b"x")}), 400, "source")
    assert_refused(client.post("/v1/files", data=PAIR, files={"other": ("a.txt", b"x")}), 400, "no file")
    assert_refused(client.post("/v1/files", json=PAIR), 415, "multipart")
    two = [("file", ("a.txt", b"x")), ("file", ("b.txt", b"x"))]
    assert client.post("/v1/files", data=PAIR, files=two).status_code == 400
    for path in ("", "/events", "/result"):
        assert_refused(client.get(f"/v1/files/none{path}"), 404, "no such file")


def test_a_file_may_be_larger_than_a_text_but_not_than_its_own_limit(tiny_model: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, max_body_bytes=1000, max_file_bytes=5000)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert send(client, b"5 " * 1000).status_code == 202
        assert_refused(send(client, b"5 " * 40_000), 413, "larger")
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        parts = (head if n == 0 else b"5 " * 1000 for n in range(100))
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert_refused(client.post("/v1/files", content=parts, headers=headers), 413, "larger")


def test_a_file_is_cancelled_while_it_is_translated(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        held_steps() as gate,
    ):
        job = send(client, TEXT.encode() * 1000).json()["id"]
        gate.reached()
        assert client.get(f"/v1/files/{job}").json()["status"] == "translating"
        gate.open()
        assert client.delete(f"/v1/files/{job}").status_code == 204
        assert client.get(f"/v1/files/{job}").status_code == 404
        assert texts_of(translate(client, "The old house."))


def test_files_wait_for_one_another_and_only_so_many(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1, max_files=2)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        with held_worker(server):
            first, second = (send(client, TEXT.encode()).json()["id"] for _ in range(2))
            assert client.get(f"/v1/files/{second}").json()["status"] == "queued"
            refused = send(client, TEXT.encode())
            assert_refused(refused, 429, "Too many files")
            assert refused.headers["retry-after"] == "5"
        assert until_ended(client, first)["status"] == until_ended(client, second)["status"] == "done"
        third = send(client, TEXT.encode()).json()["id"]  # the oldest that is done makes room
        assert client.get(f"/v1/files/{first}").status_code == 404
        assert until_ended(client, third)["status"] == "done"


def test_old_files_are_forgotten(tiny_model: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, file_minutes=1e-9)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        job = send(client, TEXT.encode()).json()["id"]
        while client.get(f"/v1/files/{job}").status_code != 404:
            pass


def test_a_file_belongs_to_its_key(tiny_model: Path, tmp_path: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, api_keys=True, keys_file=tmp_path / "keys.sqlite3")
    store, keys = open_keys(settings), []
    for name in ("mine", "other"):
        key, record = new_key(name, None, None)
        store.add(record)
        keys.append(key)
    mine, other = keys
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert_refused(send(client, TEXT.encode()), 401, "key")
        client.headers["X-Api-Key"] = mine
        job = send(client, TEXT.encode()).json()["id"]
        assert until_ended(client, job)["status"] == "done"
        client.headers["X-Api-Key"] = other
        for path in ("", "/events", "/result"):
            assert_refused(client.get(f"/v1/files/{job}{path}"), 404, "no such file")
        assert client.delete(f"/v1/files/{job}").status_code == 404


def test_libretranslate(client: httpx.Client) -> None:
    settings = client.get("/frontend/settings").json()
    assert settings["filesTranslation"] is True
    assert ".docx" in settings["supportedFilesFormat"]
    reply = client.post("/translate_file", data=PAIR, files={"file": ("notes.txt", TEXT.encode())})
    assert reply.status_code == 200, reply.text
    url = reply.json()["translatedFileUrl"]
    assert url.startswith(str(client.base_url))
    assert url.endswith(".notes.de.txt")
    assert client.get(url).text == expected(client)
    for name in ("../../etc/passwd", "none.notes.txt", "%2e%2e%2fetc%2fpasswd"):
        assert client.get(f"/download_file/{name}").status_code == 404


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        (None, PAIR, "Invalid request: missing file parameter"),
        ("a.txt", {"target": "de"}, "Invalid request: missing source parameter"),
        ("a.txt", {"source": "en"}, "Invalid request: missing target parameter"),
        ("a.txt", {"source": "xx", "target": "de"}, "xx is not supported"),
        ("a.exe", PAIR, ".exe format is not supported"),
        ("a.docx", PAIR, "The file is damaged, locked or no archive: File is not a zip file."),
    ],
)
def test_libretranslate_refuses_in_its_words(
    client: httpx.Client, name: str | None, fields: dict[str, str], sentence: str
) -> None:
    files = {"other" if name is None else "file": (name or "a.txt", b"x")}
    refused = client.post("/translate_file", data=fields, files=files)
    assert (refused.status_code, refused.json()) == (400, {"error": sentence})


def test_deepl_s_client(server: Server, client: httpx.Client, tmp_path: Path) -> None:
    translator = deepl.Translator("any", server_url=server.url)
    (tmp_path / "notes.txt").write_text(TEXT)
    status = translator.translate_document_from_filepath(
        tmp_path / "notes.txt", tmp_path / "out.txt", target_lang="DE", source_lang="EN"
    )
    assert (tmp_path / "out.txt").read_text() == expected(client)
    assert status.done
    assert status.billed_characters == len(TEXT)
    (tmp_path / "a.docx").write_text("no archive")
    with pytest.raises(deepl.DocumentTranslationException, match="damaged"):
        translator.translate_document_from_filepath(tmp_path / "a.docx", tmp_path / "b.docx", target_lang="DE")


def test_a_deepl_document_needs_its_key(client: httpx.Client) -> None:
    fields = {"target_lang": "DE", "source_lang": "EN"}
    reply = client.post("/v2/document", data=fields, files={"file": ("notes.txt", TEXT.encode())}).json()
    for path in ("", "/result"):
        wrong = client.post(f"/v2/document/{reply['document_id']}{path}", json={"document_key": "wrong"})
        assert wrong.status_code == 404
        missing = client.post(f"/v2/document/{reply['document_id']}{path}", json={})
        assert missing.status_code == 400
    bad = client.post("/v2/document", data={**fields, "output_format": "pdf"}, files={"file": ("notes.txt", b"x")})
    assert bad.json() == {"message": "Value for 'output_format' not supported."}
