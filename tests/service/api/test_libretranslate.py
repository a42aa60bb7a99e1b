"""LibreTranslate's dialect over a running server: forms of input, shapes of replies, errors to the letter."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import Settings
from tests.service.running import PAIR, Server, held_worker, serve, texts_of, translate, until_metric

HELLO = "The old house."
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "Authorization, Content-Type",
    "access-control-expose-headers": "Authorization",
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-credentials": "true",
    "access-control-max-age": "1728000",
}


@pytest.fixture(scope="module")
def hello(server: Server) -> str:
    """Translate HELLO through the native dialect."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return texts_of(translate(client, HELLO))[0]


def ask(client: httpx.Client, path: str = "/translate", **fields: Any) -> httpx.Response:
    return client.post(path, json=fields)


def test_every_form_of_input_is_the_same_request(client: httpx.Client, hello: str) -> None:
    fields = {"q": HELLO, **PAIR}
    for response in (
        client.post("/translate", json=fields),
        client.post("/translate", data=fields),
        client.post("/translate", files={name: (None, value) for name, value in fields.items()}),
        client.post("/translate", params=fields),
        client.post("/translate", params={"q": HELLO}, data=PAIR),
        client.post("/translate", content=json.dumps(fields), headers={"Content-Type": "application/x+json; a=b"}),
        client.post("/translate", json={**fields, "apiKey": "", "secret": "x", "unknown": [1]}),
        client.post("/translate", json={**fields, "source": "EN", "target": "De", "format": None}),
    ):
        assert response.status_code == 200, response.text
        assert response.json() == {"translatedText": hello}
        assert float(response.headers["X-Sub3-Total-Ms"]) > 0
        assert {name: response.headers[name] for name in CORS} == CORS


def test_lists(client: httpx.Client, hello: str) -> None:
    texts = [HELLO, "", "😀", HELLO]
    assert ask(client, q=texts, **PAIR).json() == {"translatedText": [hello, "", "😀", hello]}
    # as Nextcloud sends them: JSON written into a form
    assert client.post("/translate", data={"q": json.dumps(texts), **PAIR}).json()["translatedText"][0] == hello
    assert isinstance(client.post("/translate", data={"q": "[HELLO", **PAIR}).json()["translatedText"], str)
    assert isinstance(client.post("/translate", data={"q": "[1]", **PAIR}).json()["translatedText"], str)


def test_line_ends_of_forms_are_made_one(client: httpx.Client, hello: str) -> None:
    fields = {"q": f"{HELLO}\r\n{HELLO}\r{HELLO}", **PAIR}
    assert client.post("/translate", data=fields).json()["translatedText"] == "\n".join([hello] * 3)
    assert ask(client, **fields).json()["translatedText"] == f"{hello}\r\n{hello}\r{hello}"


def test_alternatives_are_there_if_they_were_asked_for(client: httpx.Client) -> None:
    one = ask(client, q=HELLO, alternatives=2, **PAIR).json()
    assert len(one["alternatives"]) == 2
    many = ask(client, q=[HELLO, "Hello world."], alternatives="2", **PAIR).json()
    assert many["alternatives"][0] == one["alternatives"]
    native = translate(client, HELLO, alternatives=2).json()["translations"][0]
    assert one["alternatives"] == [alternative["text"] for alternative in native["alternatives"]]
    assert "alternatives" not in ask(client, q=HELLO, alternatives=-3, **PAIR).json()


def test_auto_tells_what_each_text_is(client: httpx.Client) -> None:
    auto = {"source": "auto", "target": "de"}
    one = ask(client, q="Where is the railway station?", **auto).json()
    assert one["detectedLanguage"]["language"] == "en"
    assert 50 < one["detectedLanguage"]["confidence"] <= 100
    assert one["translatedText"] == ask(client, q="Where is the railway station?", **PAIR).json()["translatedText"]
    texts = ["Where is the railway station?", "Où est la gare, s'il vous plaît ?", "🎉🎉", "你好，世界，图书馆在哪里？"]
    many = ask(client, q=texts, **auto).json()
    assert [found["language"] for found in many["detectedLanguage"]] == ["en", "fr", "en", "zh-Hans"]
    assert many["detectedLanguage"][2]["confidence"] == 0.0
    assert many["translatedText"][2] == "🎉🎉"
    assert many["translatedText"][1:] == texts[1:]  # no model translates French or Chinese
    assert ask(client, q="🎉🎉", **auto).json() == {
        "translatedText": "🎉🎉",
        "detectedLanguage": {"confidence": 0.0, "language": "en"},
    }


def test_html(client: httpx.Client, hello: str) -> None:
    source = f'<p class="a">{HELLO} <a href="https://x.example/?a=1&amp;b=2">{HELLO}</a><br>😀 <code>{HELLO}</code></p>'
    expected = (
        f'<p class="a">{hello} <a href="https://x.example/?a=1&amp;b=2">{hello}</a><br>😀 <code>{HELLO}</code></p>'
    )
    assert ask(client, q=source, format="html", **PAIR).json() == {"translatedText": expected}
    both = translate(client, HELLO, alternatives=1).json()["translations"][0]
    reply = ask(client, q=[source, "<br>"], format="html", alternatives=1, **PAIR).json()
    assert reply["translatedText"] == [expected.replace(hello, both["text"]), "<br>"]
    assert reply["alternatives"] == [[expected.replace(hello, both["alternatives"][0]["text"])], []]


def test_detect(client: httpx.Client) -> None:
    for response in (
        ask(client, "/detect", q="Where is the station?"),
        client.post("/detect", params={"q": "Where is the station?"}),
    ):
        (best,) = response.json()
        assert best["language"] == "en"
        assert best["confidence"] > 90
    # only what can be translated from is named, but what is surely another language is not claimed to be that
    (other,) = ask(client, "/detect", q="Où est la gare, s'il vous plaît ?").json()
    assert other["language"] == "en"
    assert other["confidence"] < 1
    assert ask(client, "/detect", q="😀").json() == [{"confidence": 0.0, "language": "en"}]


def test_what_else_there_is(client: httpx.Client) -> None:
    assert client.get("/languages").json() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]
    german = client.get("/languages", headers={"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"})
    assert [language["name"] for language in german.json()] == ["Englisch", "Deutsch"]
    assert (german.headers["Content-Language"], german.headers["Vary"]) == ("de", "Accept-Language")
    assert client.get("/health").json() == {"status": "ok"}
    settings = client.get("/frontend/settings").json()
    assert (settings["charLimit"], settings["keyRequired"], settings["suggestions"]) == (10_000, False, False)
    assert settings["language"]["target"] == {"code": "de", "name": "German"}
    assert "/translate" in client.get("/spec").json()["paths"]
    refused = ask(client, "/suggest", q="a", s="b", **PAIR)
    assert (refused.status_code, refused.json()) == (403, {"error": "Suggestions are disabled on this server."})


def test_any_origin_may_ask(client: httpx.Client) -> None:
    preflight = client.options("/translate", headers={"Origin": "https://a.example"})
    for response in (preflight, client.get("/translate"), ask(client), client.get("/languages"), client.get("/health")):
        assert {name: response.headers[name] for name in CORS} == CORS
    assert preflight.status_code == 200
    assert "access-control-allow-origin" not in client.get("/v1/models").headers
    assert "access-control-allow-origin" not in client.get("/health/live").headers


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Invalid request: missing q parameter"),
        ({"q": "", **PAIR}, "Invalid request: missing q parameter"),
        ({"q": [], **PAIR}, "Invalid request: missing q parameter"),
        ({"q": None, **PAIR}, "Invalid request: missing q parameter"),
        ({"q": "a"}, "Invalid request: missing source parameter"),
        ({"q": "a", "source": "en"}, "Invalid request: missing target parameter"),
        ({"q": "a", "alternatives": "x", **PAIR}, "Invalid request: alternatives parameter is not a number"),
        ({"q": "a", "alternatives": [1], **PAIR}, "Invalid request: alternatives parameter is not a number"),
        ({"q": "a", "alternatives": 10_000, **PAIR}, "Invalid request: alternatives parameter must be <= 4"),
        ({"q": "x" * 10_001, **PAIR}, "Invalid request: request (10001) exceeds text limit (10000)"),
        ({"q": ["x"] * 129, **PAIR}, "Invalid request: request (129) exceeds text limit (128)"),
        ({"q": "a", "source": "zz", "target": "de"}, "zz is not supported"),
        ({"q": "a", "source": "en", "target": "zz"}, "zz is not supported"),
        ({"q": "a", "source": "zh", "target": "de"}, "zh-Hans is not supported"),
        ({"q": "a", "source": "en", "target": "auto"}, "auto is not supported"),
        ({"q": "a", "format": "pdf", **PAIR}, "pdf format is not supported"),
        (
            {"q": "a", "source": "de", "target": "en"},
            "English (en) is not available as a target language from German (de)",
        ),
        ({"q": 5, **PAIR}, "Invalid request: q parameter is neither a string nor a list of strings"),
        ({"q": ["a", 5], **PAIR}, "Invalid request: q parameter is neither a string nor a list of strings"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_are_in_the_words_that_clients_compare(
    client: httpx.Client, fields: dict[str, Any], sentence: str
) -> None:
    response = ask(client, **fields)
    assert (response.status_code, response.json()) == (400, {"error": sentence})


def test_what_is_no_object_and_what_is_no_text(client: httpx.Client) -> None:
    for content in ("[]", "null", '"q"'):
        response = client.post("/translate", content=content, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()) == (400, {"error": "Invalid JSON format"})
    # another kind of body is no form: the fields are missing
    assert client.post("/translate", content=b"q=a").json() == {"error": "Invalid request: missing q parameter"}
    file = {"q": ("name.txt", b"a"), "source": (None, "en"), "target": (None, "de")}
    assert client.post("/translate", files=file).status_code == 400


def test_verbs(client: httpx.Client) -> None:
    for response in (
        client.get("/translate"),
        client.put("/translate"),
        client.post("/languages"),
        client.get("/detect"),
    ):
        assert response.status_code == 405
        assert list(response.json()) == ["error"]


def test_a_full_queue_tells_to_slow_down(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1, max_queue_tokens=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor() as pool,
    ):
        with held_worker(server):
            waiting = pool.submit(ask, client, q=HELLO, **PAIR)
            until_metric(client, "sub3_queue_sentences 1.0")
            response = ask(client, q=HELLO, **PAIR)
            assert response.status_code == 429
            assert response.json()["error"].startswith("Slowdown: ")
            assert int(response.headers["Retry-After"]) >= 1
            deepl = client.post("/v2/translate", json={"text": [HELLO], "target_lang": "DE"})
            assert deepl.status_code == 429
            assert list(deepl.json()) == ["message"]
        assert waiting.result(60).status_code == 200
