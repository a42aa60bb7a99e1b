"""POST /v1/translate as its clients meet it, over a running server."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.format.directory import open_model
from service.api.schemas import TranslateReply
from service.live.configurations import by_name
from service.settings import Settings
from service.text.placeholders import same
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.service.running import (
    AUTHORIZED,
    PAIR,
    TOKEN,
    assert_refused,
    held_steps,
    held_worker,
    serve,
    texts_of,
    translate,
    translate_and_leave,
    until_metric,
    until_noticed,
    until_running,
)


def test_a_string(client: httpx.Client, tiny_model: Path) -> None:
    response = translate(client, "The old house.")
    body = TranslateReply.model_validate_json(response.content)
    assert len(body.translations) == 1
    assert body.translations[0].score < 0
    assert body.translations[0].alternatives == []
    full = open_model(tiny_model).config.configurations["full"]
    assert (body.model.name, body.model.config) == ("tiny", "full")
    assert body.model.bits_per_weight == round(full.bits_per_weight, 4)
    assert len(body.model.version) == 12
    assert body.memory.model_bytes == full.bytes
    assert body.memory.process_rss_bytes > body.memory.workspace_peak_bytes > 0


def test_a_list_answers_in_order(client: httpx.Client) -> None:
    texts = [f"The {word} house." for word in ("old", "new", "green", "small", "big")] * 10
    single = {text: texts_of(translate(client, text))[0] for text in set(texts)}
    assert texts_of(translate(client, texts)) == [single[text] for text in texts]


def test_a_long_paragraph_keeps_its_shape(client: httpx.Client) -> None:
    sentence = texts_of(translate(client, "The big tree sees the old house near a river."))[0]
    paragraph = "\n\n".join(["The big tree sees the old house near a river.  😀"] * 40)
    assert texts_of(translate(client, paragraph)) == ["\n\n".join([f"{sentence}  😀"] * 40)]


def test_placeholders_and_lines_survive(client: httpx.Client) -> None:
    lines = [f"  - The {{name}} house sees %{n}$s." if n % 3 else "" for n in range(20)]
    (text,) = texts_of(translate(client, "\n".join(lines)))
    assert text.count("\n") == 19
    for line, source in zip(text.split("\n"), lines, strict=True):
        assert same(line, source)
        assert line.startswith("  - ") == source.startswith("  - ")


def test_the_reply_says_that_a_sentence_was_cut(client: httpx.Client) -> None:
    response = translate(client, ["The old house sees a big tree, " * 100, "The old house."])
    assert [translation.get("cut_sentences") for translation in response.json()["translations"]] == [1, None]


def test_line_breaks_may_be_spaces(client: httpx.Client) -> None:
    whole = texts_of(translate(client, "The old house sees."))[0]
    broken = "The old\nhouse sees."
    assert texts_of(translate(client, broken, split_sentences="nonewlines")) == [whole]
    assert texts_of(translate(client, broken, split_sentences="0")) == [whole]
    assert "\n" in texts_of(translate(client, broken))[0]


@pytest.mark.parametrize("text", ["😀🎉👍🏽", " \n\t ", "42", "?!", "\x00"])
def test_nothing_to_translate_comes_back_as_it_is(client: httpx.Client, text: str) -> None:
    response = translate(client, text, alternatives=2)
    assert response.status_code == 200
    assert response.json()["translations"] == [{"text": text, "score": 0.0, "alternatives": []}]


def test_beam_and_alternatives(client: httpx.Client) -> None:
    (translation,) = translate(client, "The old house.", alternatives=3).json()["translations"]
    assert len(translation["alternatives"]) == 3
    scores = [translation["score"], *(alternative["score"] for alternative in translation["alternatives"])]
    assert scores == sorted(scores, reverse=True)
    assert translate(client, "The old house.", beam_size=4).json()["translations"][0]["text"] == translation["text"]


def test_the_headers_are_the_body_s_figures(client: httpx.Client) -> None:
    response = translate(client, "The old house.")
    body, headers = response.json(), response.headers
    assert headers["x-sub3-model"] == body["model"]["name"]
    assert headers["x-sub3-config"] == body["model"]["config"]
    assert headers["x-sub3-version"] == body["model"]["version"]
    assert float(headers["x-sub3-bits-per-weight"]) == body["model"]["bits_per_weight"]
    assert list(body["latency_ms"]) == ["queue", "tokenize", "encode", "decode", "detokenize", "total"]
    for stage, value in body["latency_ms"].items():
        assert float(headers[f"x-sub3-{stage}-ms"]) == value
    for figure, value in body["memory"].items():
        assert int(headers[f"x-sub3-{figure.replace('_', '-')}"]) == value
    stages = sum(value for stage, value in body["latency_ms"].items() if stage != "total")
    assert 0 < stages <= body["latency_ms"]["total"] + 0.01


def test_languages_in_capitals(client: httpx.Client) -> None:
    assert translate(client, "The old house.", source="EN", target="De").status_code == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"text": ""}, ["Text 1 is empty"]),
        ({"text": []}, ["list of texts is empty"]),
        ({"text": ["a", ""]}, ["Text 2 is empty"]),
        ({"text": "x" * 10_001}, ["10,001", "10,000"]),
        ({"text": ["x"] * 129}, ["129", "128"]),
        ({"text": 5}, ["text", "a string or a list of strings"]),
        ({"text": None}, ["text", "a string or a list of strings"]),
        ({"text": ["a", 5]}, ["text.1", "string"]),
        ({"text": "a", "beam_size": 9}, ["beam_size", "8"]),
        ({"text": "a", "beam_size": 0}, ["beam_size"]),
        ({"text": "a", "beam_size": "4"}, ["beam_size", "integer"]),
        ({"text": "a", "beam_size": 1.5}, ["beam_size", "integer"]),
        ({"text": "a", "beam_size": True}, ["beam_size", "integer"]),
        ({"text": "a", "alternatives": 5}, ["alternatives", "4"]),
        ({"text": "a", "alternatives": -1}, ["alternatives"]),
        ({"text": "a", "split_sentences": "2"}, ["split_sentences"]),
        ({"text": "a", "temperature": 1}, ["'temperature' is unknown"]),
        ({"text": "a", "target": "fr"}, ["not supported", "en -> de"]),
        ({"text": "a", "source": ""}, ["source"]),
        ({}, ["text", "required"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_content(client: httpx.Client, fields: dict[str, Any], words: list[str]) -> None:
    assert_refused(client.post("/v1/translate", json={**PAIR, **fields}), 422, *words)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"text": "a", "source": "en", "target": "de"', 400),
        (b"hello", 400),
        (b'{"text": "\xff\xfe", "source": "en", "target": "de"}', 400),
        (b'{"text": "\\ud800", "source": "en", "target": "de"}', 400),
        (b'{"text": "a", "source": "en", "target": "de", "beam_size": NaN}', 400),
        (b"[" * 100_000, 400),
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"text"', 422),
        (b'{"text": "a", "source": "en", "target": "de", "beam_size": 1e400}', 400),
        (b'{"text": "a", "source": "en", "target": "de", "beam_size": ' + b"9" * 5000 + b"}", 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_bodies(client: httpx.Client, content: bytes, status: int) -> None:
    response = client.post("/v1/translate", content=content, headers={"Content-Type": "application/json"})
    assert_refused(response, status)


def test_a_large_body_is_refused_by_its_declared_and_by_its_real_length(client: httpx.Client) -> None:
    body = json.dumps({"text": ["x" * 9_000] * 120, **PAIR}).encode()
    headers = {"Content-Type": "application/json"}
    assert_refused(client.post("/v1/translate", content=body, headers=headers), 413, "1,048,576")
    parts = (body[n : n + 65536] for n in range(0, len(body), 65536))  # chunked: no length is declared
    assert_refused(client.post("/v1/translate", content=parts, headers=headers), 413, "1,048,576")


def test_other_kinds_of_body_are_refused_with_a_hint(client: httpx.Client) -> None:
    body = json.dumps({"text": "a", **PAIR})
    assert_refused(client.post("/v1/translate", content=body), 415, "Content-Type: application/json")
    assert_refused(client.post("/v1/translate", data={"text": "a", **PAIR}), 415, "Content-Type: application/json")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert_refused(client.post("/v1/translate", content=b"\x1f\x8b", headers=headers), 415, "Content-Encoding")


def test_other_paths_and_methods(client: httpx.Client) -> None:
    responses = [client.get("/nothing"), client.get("/v1/translate"), client.delete("/v1/models")]
    assert [response.status_code for response in responses] == [404, 405, 405]
    codes = [response.json()["code"] for response in responses]
    assert codes == ["not_found", "method_not_allowed", "method_not_allowed"]


def test_a_full_queue_answers_429_at_once(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1, max_queue_tokens=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor() as pool,
    ):
        with held_worker(server):
            waiting = pool.submit(translate, client, "The old house.")  # an empty queue takes it, whatever its size
            until_metric(client, "sub3_queue_sentences 1.0")
            response = translate(client, "The old house.")
            assert_refused(response, 429, "retry after")
            assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert texts_of(waiting.result(60))


def test_a_client_that_waits_in_the_queue_and_leaves_gives_its_place_back(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        held_worker(server),
    ):
        translate_and_leave(server, lambda: until_metric(client, "sub3_queue_sentences 1.0"), "The old house.")
        until_metric(client, "sub3_queue_sentences 0.0")
        until_metric(client, "sub3_queue_tokens 0.0")
        until_metric(client, 'sub3_requests_total{route="/v1/translate",status="499"} 1.0')
        until_metric(client, 'sub3_failures_total{reason="ClientClosed"} 1.0')


# 1,000,000 characters with a beam of 8 take most of a minute
GIANT = ["The big tree sees the old house near a river. " * 210] * 90


def test_a_client_that_leaves_frees_its_places(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        translate_and_leave(server, lambda: until_running(client), GIANT, beam_size=8)
        until_metric(client, 'sub3_requests_total{route="/v1/translate",status="499"} 1.0')
        until_metric(client, "sub3_running_sentences 0.0")
        until_metric(client, "sub3_queue_sentences 0.0")
        assert texts_of(translate(client, "The old house."))


def test_a_request_that_takes_too_long_answers_504_and_frees_its_places(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        body = {"text": GIANT, **PAIR, "beam_size": 8}
        response = client.post("/v1/translate", json=body, headers={"X-Request-Timeout-Ms": "700"})
        assert_refused(response, 504, "0.7 s", "less text")
        until_metric(client, "sub3_running_sentences 0.0")
        until_metric(client, "sub3_queue_sentences 0.0")
        until_metric(client, 'sub3_failures_total{reason="DeadlineExceeded"} 1.0')


def test_a_deadline_in_the_queue(tiny_model: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, request_timeout_ms=60_000, max_request_timeout_ms=200)
    with (
        serve(settings) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        held_worker(server),
    ):
        for header in ("1", "999999"):  # the second is capped
            response = client.post(
                "/v1/translate", json={"text": "Hello.", **PAIR}, headers={"X-Request-Timeout-Ms": header}
            )
            assert_refused(response, 504, "took longer")
        until_metric(client, "sub3_queue_sentences 0.0")


@pytest.mark.parametrize("header", ["0", "-5", "soon", "1.5", "²", ""])
def test_a_time_out_that_is_none(client: httpx.Client, header: str) -> None:
    response = client.post(
        "/v1/translate", json={"text": "Hello.", **PAIR}, headers={"X-Request-Timeout-Ms": header.encode()}
    )
    assert_refused(response, 422, "X-Request-Timeout-Ms", "milliseconds")


def test_many_clients_get_what_the_engine_gives_offline(tiny_model: Path) -> None:
    choose = random.Random(5)
    words = ["The old house", "sees", "a big tree", "near the river", "the sun", "Hello world", "over"]
    requests = [
        (
            [" ".join(choose.choices(words, k=choose.randint(1, 12))) + "." for _ in range(choose.randint(1, 4))],
            choose.choice([1, 1, 2, 5]),
        )
        for _ in range(60)
    ]
    directory = open_model(tiny_model)
    offline = Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)
    expected = [
        [
            (translation.best.text, translation.best.score)
            for translation in offline.translate(texts, Options("en", "de", beam_size)).translations
        ]
        for texts, beam_size in requests
    ]
    settings = Settings(model_directory=tiny_model, threads=2, max_batch_rows=8, max_encode_tokens=32)
    with (
        serve(settings) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        replies = pool.map(lambda asked: translate(client, asked[0], beam_size=asked[1]).json(), requests)
        found = [[(t["text"], t["score"]) for t in reply["translations"]] for reply in replies]
    assert found == expected


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "leaves"])
def test_a_swap_closes_the_old_engine_only_when_its_last_sentence_has_left(tiny_model: Path, stays: bool) -> None:
    text = "The old house. A big tree sees the river. The sun."
    settings = Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN)
    with (
        serve(settings) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor() as pool,
        held_steps() as gate,
    ):
        old = server.app.state.registry.find("tiny").active

        def swap() -> None:
            gate.reached()  # the request's sentences run
            swapped = client.put("/admin/models/tiny/config", json={"config": "half"}, headers=AUTHORIZED)
            assert swapped.status_code == 200

        if stays:
            asked = pool.submit(translate, client, text)
            swap()
        else:
            translate_and_leave(server, swap, text)
            until_noticed(server, client)
        assert old._engine._model is not None
        gate.open()
        if stays:
            reply = asked.result(60).json()
            assert reply["model"]["config"] == "full"
            directory = open_model(tiny_model)
            again = Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)
            (offline,) = again.translate([text], Options("en", "de")).translations
            assert reply["translations"][0]["text"] == offline.best.text
        else:
            until_metric(client, 'sub3_failures_total{reason="ClientClosed"} 1.0')
        assert old._engine._model is None
        assert translate(client, text).json()["model"]["config"] == "half"
