"""POST /v1/translate/stream: each sentence as it is ready, in order, then the whole and its cost."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from kernels.engine import Batch, EngineError
from service.api.schemas import SentenceEvent, TranslateReply
from service.app import create_app
from service.settings import Settings
from tests.service.running import (
    PAIR,
    Gate,
    Server,
    assert_refused,
    held_steps,
    serve,
    translate,
    until_metric,
)

Event = tuple[str, dict[str, Any]]


def parsed(stream: str) -> list[Event]:
    """Parse the events of a body by the standard: blank lines end them."""
    assert stream.endswith("\n\n")
    events = []
    for block in stream[:-2].split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert fields.keys() == {"event", "data"}
        events.append((fields["event"], json.loads(fields["data"])))
    return events


def stream(client: httpx.Client, text: Any, **fields: Any) -> list[Event]:
    response = client.post("/v1/translate/stream", json={"text": text, **PAIR, **fields})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].split(";")[0] == "text/event-stream"
    assert response.headers["cache-control"] == "no-store"
    return parsed(response.text)


TEXTS = [
    "The old house. A big tree sees the river!  The sun was over the tree.\n\n😀 Hello world.",
    "12.5",
    "The river. " * 30,
    "The {old} house. The sun sees %1$s and %2$s.\nA tree.",
]


@pytest.mark.parametrize("fields", [{}, {"beam_size": 3, "alternatives": 2}], ids=["greedy", "beam"])
def test_the_events_say_what_the_whole_reply_says(client: httpx.Client, fields: dict[str, int]) -> None:
    *sentences, (name, last) = stream(client, TEXTS, **fields)
    assert name == "done"
    done = TranslateReply.model_validate_json(json.dumps(last))
    whole = TranslateReply.model_validate_json(translate(client, TEXTS, **fields).content)
    assert done.translations == whole.translations
    assert done.model == whole.model
    assert done.memory.kv_cache_peak_bytes > 0
    assert done.latency_ms.total > 0

    assert {name for name, _ in sentences} == {"sentence"}
    events = [SentenceEvent.model_validate_json(json.dumps(data)) for _, data in sentences]
    for text, count in ((0, 4), (1, 0), (2, 30), (3, 3)):
        own = [event for event in events if event.text == text]
        assert [event.sentence for event in own] == list(range(count))
        position = 0
        for event in own:  # sources and translations are found in order in the whole texts
            position = TEXTS[text].index(event.source, position) + len(event.source)
        position = 0
        for event in own:
            position = done.translations[text].text.index(event.translation, position) + len(event.translation)
        if own:
            mean = sum(event.score for event in own) / count
            assert done.translations[text].score == pytest.approx(mean, abs=2e-6)


def test_nothing_to_translate_is_done_at_once(client: httpx.Client) -> None:
    ((name, data),) = stream(client, "😀")
    assert (name, data["translations"]) == ("done", [{"text": "😀", "score": 0.0, "alternatives": []}])


def test_a_sentence_comes_before_the_text_is_done(tiny_model: Path) -> None:
    # one sentence at a time: the second can't have been begun when the first arrives
    settings = Settings(model_directory=tiny_model, threads=1, max_batch_rows=1)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client, held_steps() as gate:
        letting = threading.Thread(target=let_through_until_one_ended, args=(client, gate))
        letting.start()
        body = {"text": "The old house. The river.", **PAIR}
        with client.stream("POST", "/v1/translate/stream", json=body) as response:
            blocks = response.iter_text()
            ((name, data),) = parsed(next(blocks))
            assert (name, data["sentence"], data["source"]) == ("sentence", 0, "The old house.")
            until_metric(client, "sub3_running_sentences 1.0")  # the second, at the gate
            letting.join(60)
            gate.open()
            assert [name for name, _ in parsed("".join(blocks))] == ["sentence", "done"]


def let_through_until_one_ended(client: httpx.Client, gate: Gate) -> None:
    tokens = "sub3_target_tokens_total 0.0"
    while tokens in client.get("/metrics").text:
        gate.reached()
        if tokens in client.get("/metrics").text:
            gate.let_through()


def test_refusals_have_their_status(client: httpx.Client) -> None:
    for fields, status in (({"text": ""}, 422), ({"text": "a", "target": "fr"}, 422), ({"text": 5}, 422)):
        response = client.post("/v1/translate/stream", json={**PAIR, **fields})
        assert_refused(response, status)
    assert_refused(client.post("/v1/translate/stream", content="{}"), 415)


def test_a_deadline_before_the_first_sentence_is_a_status(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        held_steps() as gate,
    ):
        occupied = threading.Thread(target=translate, args=(client, "The river."))
        occupied.start()
        gate.reached()
        headers = {"X-Request-Timeout-Ms": "1"}
        response = client.post("/v1/translate/stream", json={"text": "Hello.", **PAIR}, headers=headers)
        assert_refused(response, 504, "took longer")
        gate.open()
        occupied.join()


def test_a_failure_after_the_first_sentence_is_an_event(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, ended = Batch.step, threading.Event()

    def failing(batch: Batch, *arguments: Any) -> Any:
        if ended.is_set():
            raise EngineError("Out of memory: send fewer or shorter sentences at a time, or use a smaller beam.")
        progress = step(batch, *arguments)
        if progress.ended:
            ended.set()
        return progress

    settings = Settings(model_directory=tiny_model, threads=1, max_batch_rows=1)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        monkeypatch.setattr(Batch, "step", failing)
        first, last = stream(client, "The old house. The river. A big tree.")
        assert first[0] == "sentence"
        assert last == ("error", {"error": "The server failed; its log says why.", "code": "internal"})


def leave_in_the_middle(server: Server, text: Any, **fields: Any) -> None:
    """Read the first event of a stream and close the connection."""
    body = json.dumps({"text": text, **PAIR, **fields}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST /v1/translate/stream HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while b"event: sentence" not in received:
            more = connection.recv(65536)
            assert more, received
            received += more


def test_a_client_that_leaves_the_stream_frees_its_places(tiny_model: Path) -> None:
    giant = ["The big tree sees the old house near a river. " * 210] * 90  # most of a minute with this beam
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        leave_in_the_middle(server, giant, beam_size=8)
        until_metric(client, "sub3_running_sentences 0.0")
        until_metric(client, "sub3_queue_sentences 0.0")
        until_metric(client, 'sub3_failures_total{reason="ClientClosed"} 1.0')
        assert stream(client, "The old house.")[-1][0] == "done"


def test_the_openapi_states_the_stream(tiny_model: Path) -> None:
    document = create_app(Settings(model_directory=tiny_model)).openapi()
    operation = document["paths"]["/v1/translate/stream"]["post"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    assert "SentenceEvent" in operation["responses"]["200"]["description"]
    assert "X-Request-Timeout-Ms" in {parameter["name"] for parameter in operation["parameters"]}
