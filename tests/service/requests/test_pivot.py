"""Translations through a third language: the same as by the models one after the other, in every dialect."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from service.text.alignment import Link, through
from tests.service.running import (
    AUTHORIZED,
    TOKEN,
    Server,
    assert_refused,
    held_steps,
    held_worker,
    serve,
    until_metric,
)
from tests.service.tiny_model import write_tiny_model

TEXT = "  The old house. The big tree sees the river!\n\n- Hello world."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Serve en-de, de-fr and fr-es; two steps from English to French, and from German to Spanish."""
    folder = tmp_path_factory.mktemp("pivots")
    for seed, (source, target) in enumerate((("en", "de"), ("de", "fr"), ("fr", "es"))):
        write_tiny_model(folder / f"{source}-{target}", sources=(source,), targets=(target,), seed=seed)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serve(Settings(models_directory=folder, threads=2, admin_token=TOKEN)) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as connection:
        yield connection


def ask(client: httpx.Client, source: str, target: str, text: Any = TEXT, **fields: Any) -> dict[str, Any]:
    reply = client.post("/v1/translate", json={"text": text, "source": source, "target": target, **fields})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def by_hand(client: httpx.Client, sentences: list[str], **fields: Any) -> list[dict[str, Any]]:
    """Translate sentences from English through German to French, by two requests."""
    between = ask(client, "en", "de", sentences)["translations"]
    texts = [translation["text"] for translation in between]
    return list(ask(client, "de", "fr", texts, split_sentences="0", **fields)["translations"])


SENTENCES = st.lists(
    st.sampled_from(["The old house.", "A big tree sees the sun.", "Hello %s!", "The river, world.", "42.", "😀"]),
    min_size=1,
    max_size=5,
)
GAPS = st.sampled_from([" ", "\n", "\n\n- ", "\n    ", "\t"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SENTENCES, GAPS)
def test_each_sentence_goes_both_steps_and_the_rest_stays(client: httpx.Client, sentences: list[str], gap: str) -> None:
    answer = ask(client, "en", "fr", gap.join(sentences))
    expected = by_hand(client, sentences)
    (translation,) = answer["translations"]
    assert translation["text"] == gap.join(end["text"] for end in expected)
    assert translation["via"] == ["de"]


def test_a_reply_names_each_model_and_adds_up_what_they_cost(client: httpx.Client) -> None:
    response = client.post("/v1/translate", json={"text": "The old house.", "source": "en", "target": "fr"})
    answer = response.json()
    first = ask(client, "en", "de", "The old house.")
    second = ask(client, "de", "fr", first["translations"][0]["text"])
    assert answer["models"] == [first["model"], second["model"]]
    assert answer["model"] == first["model"]
    assert response.headers["X-Sub3-Model"] == "en-de, de-fr"
    assert response.headers["X-Sub3-Config"] == "full, full"
    memory, parts = answer["memory"], [first["memory"], second["memory"]]
    assert memory["model_bytes"] == sum(part["model_bytes"] for part in parts)
    for figure in ("workspace_peak_bytes", "kv_cache_peak_bytes"):
        assert memory[figure] == max(part[figure] for part in parts)
    latency = answer["latency_ms"]
    assert 0 < sum(value for stage, value in latency.items() if stage != "total") <= latency["total"]
    score = first["translations"][0]["score"] + second["translations"][0]["score"]
    assert answer["translations"][0]["score"] == pytest.approx(score, abs=2e-6)
    assert "models" not in first
    assert "via" not in first["translations"][0]


def test_alternatives_are_the_last_step_s(client: httpx.Client) -> None:
    answer = ask(client, "en", "fr", "The old house.", alternatives=3)["translations"][0]
    (expected,) = by_hand(client, ["The old house."], alternatives=3)
    assert answer["text"] == expected["text"]
    assert [other["text"] for other in answer["alternatives"]] == [other["text"] for other in expected["alternatives"]]


def test_links_go_through_the_words_between(client: httpx.Client) -> None:
    text = "The old house. The big tree."
    (translation,) = ask(client, "en", "fr", text, alignment=True)["translations"]
    between = ask(client, "en", "de", ["The old house.", "The big tree."], alignment=True)["translations"]
    texts = [half["text"] for half in between]
    ends = ask(client, "de", "fr", texts, alignment=True, split_sentences="0")["translations"]
    expected, source, target = [], 0, 0
    for begin, half, end in zip(("The old house. ", "The big tree."), between, ends, strict=True):
        links = [
            [Link(tuple(link["source"]), tuple(link["target"])) for link in part["alignment"]] for part in (half, end)
        ]
        expected += [
            {"source": [source + a for a in link.source], "target": [target + a for a in link.target]}
            for link in through(*links)
        ]
        source += len(begin)
        target += len(end["text"]) + 1
    assert translation["alignment"] == expected
    assert len(expected) >= 2


SPANS = st.tuples(st.integers(0, 20), st.integers(1, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))
LINKS = st.lists(st.builds(Link, SPANS, SPANS), max_size=6)


@given(LINKS, LINKS)
def test_a_word_between_belongs_to_what_it_overlaps_most(first: list[Link], second: list[Link]) -> None:
    def common(one: tuple[int, int], other: tuple[int, int]) -> int:
        return len(set(range(*one)) & set(range(*other)))

    for link in second:
        shares = [common(link.source, known.target) for known in first]
        best = [known.source for known, share in zip(first, shares, strict=True) if share == max(shares) > 0]
        assert [made.source for made in through(first, [link])] == best[:1]
    alone = [made for link in second for made in through(first, [link])]
    assert list(through(first, second)) == alone


def events(client: httpx.Client, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    made = []
    with client.stream("POST", "/v1/translate/stream", json=body) as response:
        assert response.status_code == 200
        for block in "".join(response.iter_text()).strip().split("\n\n"):
            name, data = block.split("\n")
            made.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return made


def test_a_stream_has_each_sentence_in_both_languages(client: httpx.Client) -> None:
    sentences = ["The old house.", "42 😀 trees.", "Hello world."]
    *made, (name, done) = events(client, text=[" ".join(sentences), "A tree."], source="en", target="fr")
    assert {kind for kind, _ in made} == {"sentence"}
    assert name == "done"
    assert done["translations"] == ask(client, "en", "fr", [" ".join(sentences), "A tree."])["translations"]
    first = [event for _, event in made if event["text"] == 0]
    assert [event["sentence"] for event in first] == [0, 1, 2]
    assert [event["source"] for event in first] == sentences
    assert " ".join(event["translation"] for event in first) == done["translations"][0]["text"]
    (second,) = [event for _, event in made if event["text"] == 1]
    assert (second["source"], second["translation"]) == ("A tree.", done["translations"][1]["text"])
    assert second["score"] == pytest.approx(done["translations"][1]["score"], abs=2e-6)


def test_three_steps_where_the_setting_allows_them(folder: Path, client: httpx.Client) -> None:
    reply = client.post("/v1/translate", json={"text": TEXT, "source": "en", "target": "es"})
    assert_refused(reply, 422, "en -> fr", "de -> es")
    with (
        serve(Settings(models_directory=folder, threads=1, max_pivots=2)) as server,
        httpx.Client(base_url=server.url, timeout=60) as far,
    ):
        answer = ask(far, "en", "es")
        assert answer["translations"][0]["via"] == ["de", "fr"]
        assert [model["name"] for model in answer["models"]] == ["en-de", "de-fr", "fr-es"]
        *made, (_, done) = events(far, text=TEXT, source="en", target="es")
        assert done["translations"] == answer["translations"]
        assert [event["source"] for _, event in made] == [
            "The old house.",
            "The big tree sees the river!",
            "Hello world.",
        ]
        rest = done["translations"][0]["text"]
        for _, event in made:
            assert event["translation"] in rest
            rest = rest.split(event["translation"], 1)[1]


def test_pivoting_is_turned_off(folder: Path) -> None:
    with (
        serve(Settings(models_directory=folder, threads=1, max_pivots=0)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        body = {"text": TEXT, "source": "en", "target": "fr"}
        assert_refused(client.post("/v1/translate", json=body), 422, "de -> fr, en -> de, fr -> es.")
        assert len(client.get("/v1/models").json()["pairs"]) == 3


def test_a_pin_holds_for_every_model_on_the_way(client: httpx.Client) -> None:
    body = {"text": TEXT, "source": "en", "target": "fr", "config": "half"}
    client.put("/admin/models/en-de/configs/half")
    assert_refused(client.post("/v1/translate", json=body), 404, "'half' is not live in de-fr")
    client.put("/admin/models/de-fr/configs/half")
    assert [model["config"] for model in ask(client, **body)["models"]] == ["half", "half"]
    deepl = {"text": ["The old house."], "source_lang": "EN", "target_lang": "FR", "model_type": "latency_optimized"}
    assert client.post("/v2/translate", json=deepl).headers["X-Sub3-Config"] == "half, half"
    assert_refused(client.post("/v1/translate", json={**body, "model": "en-de"}), 404, "none can")
    for name in ("en-de", "de-fr"):
        client.delete(f"/admin/models/{name}/configs/half")


def test_other_dialects_and_markup(client: httpx.Client) -> None:
    (sentence,) = by_hand(client, ["The old house."])
    libre = {"q": "The old house.", "source": "en", "target": "fr"}
    assert client.post("/translate", json=libre).json()["translatedText"] == sentence["text"]
    html = {**libre, "q": '<p>The <b>old</b> house.</p><img alt="A tree."><code>x = 1</code>', "format": "html"}
    made = client.post("/translate", json=html).json()["translatedText"]
    assert made.count("<b>") == made.count("</b>") == 1
    assert made.endswith("<code>x = 1</code>")
    deepl = {"text": ["The old house."], "source_lang": "EN", "target_lang": "FR"}
    assert client.post("/v2/translate", json=deepl).json()["translations"][0]["text"] == sentence["text"]


def test_a_file_is_translated_through_a_third_language(client: httpx.Client) -> None:
    form = {"source": "en", "target": "fr"}
    job = client.post("/v1/files", data=form, files={"file": ("a.txt", TEXT)}).json()
    client.get(f"/v1/files/{job['id']}/events")  # ends when the file is done
    result = client.get(f"/v1/files/{job['id']}/result")
    assert result.text == ask(client, "en", "fr")["translations"][0]["text"]


def test_texts_of_several_languages_have_their_own_models(folder: Path, tmp_path: Path) -> None:
    with serve(Settings(models_directory=folder, threads=1)) as server, httpx.Client(base_url=server.url) as client:
        texts = ["The weather is really nice in London today.", "Das Wetter ist heute in London wirklich schön."]
        answer = ask(client, "auto", "fr", texts)
        english, german = answer["translations"]
        assert [english["detected"]["language"], german["detected"]["language"]] == ["en", "de"]
        assert (english["via"], german.get("via")) == (["de"], None)
        assert {model["name"] for model in answer["models"]} == {"en-de", "de-fr"}
        weights = [ask(client, *pair, TEXT)["memory"]["model_bytes"] for pair in (("en", "de"), ("de", "fr"))]
        assert answer["memory"]["model_bytes"] == sum(weights)  # each once


def test_a_key_pays_once_and_the_deadline_is_one(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    key, record = new_key("pivot", None, 1000)
    SqliteKeys(path).add(record)
    with (
        serve(Settings(models_directory=folder, threads=1, api_keys=True, keys_file=path)) as server,
        httpx.Client(base_url=server.url, headers={"X-Api-Key": key}, timeout=60) as client,
    ):
        ask(client, "en", "fr", "The old house.")
        usage = client.get("/v2/usage", headers={"Authorization": f"DeepL-Auth-Key {key}"}).json()
        assert usage["character_count"] == len("The old house.")
        with held_worker(server):
            body = {"text": "The old house.", "source": "en", "target": "fr"}
            late = client.post("/v1/translate", json=body, headers={"X-Request-Timeout-Ms": "300"})
            assert_refused(late, 504, "0.3 s")
        usage = client.get("/v2/usage", headers={"Authorization": f"DeepL-Auth-Key {key}"}).json()
        assert usage["character_count"] == len("The old house.")  # what the server did not answer is taken back


def test_texts_of_several_languages_are_one_request(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    key, record = new_key("mixed", 1, 1000)  # one request a minute
    SqliteKeys(path).add(record)
    with (
        serve(Settings(models_directory=folder, threads=1, api_keys=True, keys_file=path)) as server,
        httpx.Client(base_url=server.url, headers={"X-Api-Key": key}, timeout=60) as client,
    ):
        texts = ["Das Wetter ist heute in London wirklich schön.", "The weather is really nice in London today."]
        reply = client.post("/v1/translate", json={"text": texts, "source": "auto", "target": "fr"})
        assert reply.status_code == 200, reply.text
        latency = reply.json()["latency_ms"]
        assert latency["total"] >= latency["encode"] + latency["decode"]
        usage = client.get("/v2/usage", headers={"Authorization": f"DeepL-Auth-Key {key}"}).json()
        assert usage["character_count"] == sum(map(len, texts))
        assert_refused(client.post("/v1/translate", json={"text": "a", "source": "en", "target": "de"}), 429, "minute")


def reply_with_a_full_queue(folder: Path, body: dict[str, Any]) -> httpx.Response:
    """Return the reply to a request, the queue being full from its first step on."""
    settings_ = Settings(models_directory=folder, threads=1, max_queue_tokens=1, max_batch_rows=1)
    with serve(settings_) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        replies: list[httpx.Response] = []
        with held_steps() as gate:
            first = threading.Thread(target=lambda: replies.append(client.post("/v1/translate", json=body)))
            first.start()
            gate.reached()
            direct = {"text": "The river. " * 200, "source": "en", "target": "de"}
            other = threading.Thread(target=lambda: httpx.post(f"{server.url}/v1/translate", json=direct, timeout=60))
            other.start()
            with httpx.Client(base_url=server.url, timeout=60) as watcher:
                until_metric(watcher, "sub3_queue_sentences 200.0")
            gate.open()
            first.join(60)
            other.join(60)
        return replies[0]


def test_a_request_that_has_begun_finds_a_place_for_its_second_step(client: httpx.Client, folder: Path) -> None:
    reply = reply_with_a_full_queue(folder, {"text": "The old house.", "source": "en", "target": "fr"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["translations"] == ask(client, "en", "fr", "The old house.")["translations"]


def test_a_request_that_has_begun_finds_a_place_for_its_other_texts(folder: Path) -> None:
    texts = ["Das Wetter ist heute in London wirklich schön.", "The weather is really nice in London today."]
    reply = reply_with_a_full_queue(folder, {"text": texts, "source": "auto", "target": "fr"})
    assert reply.status_code == 200, reply.text


def test_a_sentence_too_long_for_the_second_step_counts_once(client: httpx.Client) -> None:
    text = "( the sun ) sees the book , " * 10
    assert "cut_sentences" not in ask(client, "en", "de", text)["translations"][0]
    (expected,) = ask(client, "en", "fr", text)["translations"]
    assert expected["cut_sentences"] == 1
    (_, event), _ = events(client, text=text, source="en", target="fr")
    assert event["translation"] == expected["text"].strip()
    assert event["score"] == pytest.approx(expected["score"], abs=2e-6)


def test_a_canary_counts_what_goes_through_it(client: httpx.Client) -> None:
    client.put("/admin/models/de-fr/config", json={"config": "half", "canary_percent": 50})
    for _ in range(4):
        ask(client, "en", "fr", "The old house.")
    report = client.get("/admin/models/de-fr").json()["canary"]
    assert (report["active"]["requests"], report["canary"]["requests"], report["texts_compared"]) == (2, 2, 0)
    client.post("/admin/models/de-fr/rollback")


def test_pivoted_texts_are_counted(folder: Path) -> None:
    with serve(Settings(models_directory=folder, threads=1)) as server, httpx.Client(base_url=server.url) as client:
        ask(client, "en", "fr", ["The old house.", "A tree."])
        ask(client, "en", "de", "The old house.")
        lines = client.get("/metrics").text.splitlines()
        assert {"sub3_texts_total 3.0", "sub3_pivoted_texts_total 2.0"} <= set(lines)
