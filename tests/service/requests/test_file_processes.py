"""Files that take too much: each is in a process with limits, ends when it is cancelled, and holds up nobody's else."""

import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.accounts.keys import new_key
from service.settings import Settings, eighth, room_for_files
from service.stores.opening import open_keys
from tests.service.requests.test_file_jobs import PAIR, TEXT, send, until_ended
from tests.service.running import Server, assert_refused, held_steps, held_worker, serve, texts_of, translate

WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def word_document(body: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{WORDS}"><w:body>{body}</w:body></w:document>')
    return buffer.getvalue()


def runs(count: int) -> bytes:
    """One paragraph of runs, alternately bold."""
    pair = "<w:r><w:t>big </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>tree </w:t></w:r>"
    return word_document(f"<w:p>{pair * (count // 2)}</w:p>")


def file_processes() -> list[int]:
    """List the processes of files that this process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                command = (entry / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            if int(parent) == os.getpid() and b"service.files.child" in command:
                found.append(int(entry.name))
    return found


@contextmanager
def served(settings: Settings) -> Iterator[tuple[Server, httpx.Client]]:
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield server, client


def test_files_that_are_sent_and_deleted_leave_nothing_running(tiny_model: Path) -> None:
    with served(Settings(model_directory=tiny_model, threads=1)) as (_, client):
        for _ in range(8):
            job = send(client, runs(12_000), "a.docx").json()["id"]
            assert client.delete(f"/v1/files/{job}").status_code == 204
            assert file_processes() == []
        job = send(client, TEXT.encode()).json()["id"]
        assert until_ended(client, job)["status"] == "done"


def test_a_server_ends_while_it_opens_files(tiny_model: Path) -> None:
    with served(Settings(model_directory=tiny_model, threads=1)) as (_, client):
        for _ in range(4):
            assert send(client, runs(48_000), "a.docx").status_code == 202
    assert file_processes() == []


@pytest.mark.parametrize(
    ("limits", "name", "data", "word"),
    [
        ({"file_memory_bytes": 16 << 20}, "a.docx", word_document("<w:p/>" * 1_000_000), "too large"),
        ({"file_memory_bytes": 24 << 20}, "a.docx", runs(60_000), "too large"),  # in the middle of libxml2
        ({"file_memory_bytes": 16 << 20}, "a.html", b"<p>tree <b>house</b></p>" * 40_000, "too large"),
        (
            {"file_cpu_seconds": 1},
            "a.html",
            b"<p>tree <b>house</b></p>" * 200_000,
            "takes",
        ),  # by the clock, on a busy machine
    ],
)
def test_a_file_that_passes_a_limit_fails_alone(
    tiny_model: Path, limits: dict[str, int], name: str, data: bytes, word: str
) -> None:
    with served(Settings.model_validate({"model_directory": tiny_model, "threads": 1, **limits})) as (_, client):
        job = send(client, data, name).json()["id"]
        last = until_ended(client, job)
        assert last["status"] == "failed"
        assert word in last["error"]
        assert file_processes() == []
        job = send(client, TEXT.encode()).json()["id"]
        assert until_ended(client, job)["status"] == "done"


@pytest.mark.parametrize("before", [0, 1])  # files that still find room: none, or the upload's
def test_a_full_disk_is_told_and_fails_nothing_else(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    real = tempfile.TemporaryFile
    made: list[int] = []

    def full(**options: Any) -> IO[bytes]:
        made.append(1)
        return real(**options) if len(made) <= before else Path("/dev/full").open("r+b")

    with served(Settings(model_directory=tiny_model, threads=1)) as (_, client):
        for fields in ({}, {"source": "de"}):  # the latter is copied
            with monkeypatch.context() as patch:
                made.clear()
                patch.setattr(tempfile, "TemporaryFile", full)  # also of what an upload spills into
                last = until_ended(client, send(client, TEXT.encode(), **fields).json()["id"])
                assert (last["status"], "no room for files" in last["error"]) == ("failed", True)
        with monkeypatch.context() as patch:
            made.clear()
            patch.setattr(tempfile, "TemporaryFile", full)
            files = {"file": ("a.txt", TEXT.encode() if before else b"5 " * (1 << 20))}
            assert_refused(client.post("/translate_file", files=files, data=PAIR), 507, "no room for files")
        assert file_processes() == []
        assert texts_of(translate(client, "5"))
        assert until_ended(client, send(client, TEXT.encode()).json()["id"])["status"] == "done"


def test_a_result_beyond_the_limit_is_refused(tiny_model: Path) -> None:
    catalogue = b'msgid "The river."\nmsgstr ""\n\nmsgid "The old house."\nmsgstr ""\n'
    settings = Settings(model_directory=tiny_model, threads=1, max_unpacked_bytes=len(catalogue) + 1)
    with served(settings) as (_, client):
        last = until_ended(client, send(client, catalogue, "a.po").json()["id"])
        assert (last["status"], "send the file in parts" in last["error"]) == ("failed", True)


def test_keys_have_slots_and_turns_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    settings = Settings(
        model_directory=tiny_model, threads=1, api_keys=True, keys_file=tmp_path / "keys.sqlite3", max_files=3
    )
    store, keys = open_keys(settings), {}
    for name, quota in (("mine", None), ("other", None), ("spent", 1)):
        keys[name], record = new_key(name, None, quota)
        store.add(record)
    with served(settings) as (server, client):

        def status(job: str, name: str) -> str:
            found: str = client.get(f"/v1/files/{job}", headers={"X-Api-Key": keys[name]}).json()["status"]
            return found

        def sent(name: str, data: bytes = TEXT.encode()) -> httpx.Response:
            client.headers["X-Api-Key"] = keys[name]
            return send(client, data)

        done = sent("mine").json()["id"]
        until_ended(client, done)
        with held_worker(server):
            others = [sent("other").json()["id"] for _ in range(3)]
            assert_refused(sent("other"), 429, "Too many files")
            assert [status(job, "other") for job in others] == ["translating", "queued", "queued"]
            mine = sent("mine").json()["id"]
            assert status(mine, "mine") == "translating"  # before what the other key has waiting
            assert status(done, "mine") == "done"
        client.headers["X-Api-Key"] = keys["other"]
        assert {until_ended(client, job)["status"] for job in others} == {"done"}
        client.headers["X-Api-Key"] = keys["spent"]
        assert texts_of(translate(client, "5"))
        assert_refused(sent("spent", b"no archive"), 429, "0 left")


def test_stored_files_are_bounded_in_bytes(tiny_model: Path) -> None:
    with served(Settings(model_directory=tiny_model, threads=1, max_stored_bytes=1 << 20)) as (_, client):
        jobs = []
        for _ in range(3):  # half of a mebibyte may be one owner's
            jobs.append(send(client, b"5 \n" * 100_000).json()["id"])
            assert until_ended(client, jobs[-1])["status"] == "done"
        assert [client.get(f"/v1/files/{job}").status_code for job in jobs] == [404, 200, 200]
        with held_steps():  # what has not ended does not go
            waiting = [send(client, TEXT.encode() * 8_000).json()["id"] for _ in range(2)]
            assert_refused(send(client, b"5 "), 429, "Too many files are being translated or stored")
            for job in waiting:
                client.delete(f"/v1/files/{job}")
        assert send(client, b"5 ").status_code == 202


@given(st.integers(200 << 20, 4 << 30))
def test_files_leave_the_container_the_memory_of_the_service(limit: int) -> None:
    processes, memory = room_for_files([limit])
    assert 16 << 20 <= memory <= 128 << 20
    assert (90 << 20) + 2 * eighth([limit]) + processes * ((20 << 20) + memory) <= limit


def test_room_for_files() -> None:
    assert room_for_files([]) == (2, 128 << 20)
    assert room_for_files([256 << 20]) == (1, 82 << 20)
    assert room_for_files([512 << 20]) == (2, 127 << 20)
