"""Google's version 2: fields from JSON, forms and the query string, replies and errors as Google writes them."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.api.conftest import HOUSE, TREE
from tests.service.api.test_bad_input import BAD_FORMS, BAD_JSON
from tests.service.running import PAIR, Server, exchange, http_request, texts_of, translate

V2 = "/language/translate/v2"
WEB = "/translate_a/single"


def translations(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    reply = response.json()
    assert list(reply) == ["data"]
    listed: list[dict[str, Any]] = reply["data"]["translations"]
    return listed


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error of a reply, of whose form all parts agree."""
    assert list(response.json()) == ["error"], response.text
    error: dict[str, Any] = response.json()["error"]
    assert {*error} == {"code", "message", "errors", "status"}
    [item] = error["errors"]
    assert (error["code"], item["message"]) == (response.status_code, error["message"])
    return {**error, **item}


def test_texts_come_as_json_as_a_form_and_in_the_query_string(client: httpx.Client, german: dict[str, str]) -> None:
    fields = {"q": [HOUSE, TREE, ""], **PAIR, "format": "text"}
    expected = [{"translatedText": german.get(text, text)} for text in fields["q"]]
    assert translations(client.post(V2, json=fields)) == expected
    assert translations(client.post(V2, data=fields)) == expected
    assert translations(client.get(V2, params=fields)) == expected
    assert (
        translations(client.get(f"{V2}/", params=fields))
        == translations(client.post(f"{V2}/", data=fields))
        == expected
    )
    assert translations(client.post(V2, params={"key": "any"}, json={**fields, "q": HOUSE})) == expected[:1]
    # as clients send fields that they have no value for
    empty = {"q": [HOUSE], "target": "de", "cid": [], "format": None, "source": None, "model": None}
    assert translations(client.post(V2, json=empty)) == [{**expected[0], "detectedSourceLanguage": "en"}]


def test_what_was_asked_for_is_in_the_reply(client: httpx.Client, german: dict[str, str]) -> None:
    plain = client.post(V2, json={"q": HOUSE, "target": "de", "model": "base"})
    assert translations(plain) == [
        {"translatedText": german[HOUSE], "detectedSourceLanguage": "en", "model": "base"},
    ]
    assert plain.headers["X-Sub3-Model"] == "tiny"
    same = client.post(V2, json={"q": "Das alte Haus sieht den Fluss.", "target": "de-AT"})
    assert translations(same) == [
        {"translatedText": "Das alte Haus sieht den Fluss.", "detectedSourceLanguage": "de"},
    ]


def test_html_is_the_default(client: httpx.Client, german: dict[str, str]) -> None:
    html = f"<p>{HOUSE} <i>&amp;</i></p>"
    kept = translations(client.post(V2, json={"q": html, **PAIR}))
    assert kept == translations(client.post(V2, json={"q": html, **PAIR, "format": "html"}))
    assert kept == [{"translatedText": f"<p>{german[HOUSE]} <i>&amp;</i></p>"}]


def test_languages(client: httpx.Client) -> None:
    assert client.get(f"{V2}/languages").json() == {"data": {"languages": [{"language": "de"}, {"language": "en"}]}}
    named = [{"language": "de", "name": "German"}, {"language": "en", "name": "English"}]
    for reply in (
        client.get(f"{V2}/languages?target=xx&model=nmt"),
        client.post(f"{V2}/languages", json={"target": "en"}),
    ):
        assert reply.json() == {"data": {"languages": named}}


def test_detection(client: httpx.Client) -> None:
    for reply in (
        client.post(f"{V2}/detect", json={"q": ["Where is the railway station?", "123"]}),
        client.get(f"{V2}/detect", params={"q": ["Where is the railway station?", "123"]}),
    ):
        [[english], [nothing]] = reply.json()["data"]["detections"]
        assert (english["language"], english["isReliable"], 0.5 < english["confidence"] <= 1) == ("en", True, True)
        assert nothing == {"language": "und", "confidence": 0.0, "isReliable": False}


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"target": "de"}, "required", "Required Text"),
        ({"q": [], "target": "de"}, "required", "Required Text"),
        ({"q": "a"}, "required", "target"),
        ({"q": "a", "target": ""}, "required", "target"),
        ({"q": "a", "target": "fr"}, "invalid", "Invalid Value"),
        ({"q": "a", "target": ["de"]}, "invalid", "Invalid Value"),
        ({"q": "a", "target": "de", "source": "xx"}, "invalid", "Invalid Value"),
        ({"q": "a", "target": "en", "source": "de"}, "invalid", "Bad language pair: de|en"),
        ({"q": "a", "target": "en"}, "invalid", "Bad language pair"),
        ({"q": ["a"] * 129, "target": "de"}, "invalid", "Too many text segments"),
        ({"q": "a" * 10_001, "target": "de"}, "invalid", "10,000"),
        ({"q": [1], "target": "de"}, "invalid", "Invalid Value"),
        ({"q": {"a": "b"}, "target": "de"}, "invalid", "Invalid Value"),
        ({"q": "a", "target": "de", "format": "xml"}, "invalid", "html, text"),
        ({"q": "a", "target": "de", "model": "pbmt"}, "invalid", "nmt, base"),
        ({"q": "a", "target": "de", "cid": ["mine"]}, "invalid", "'cid'"),
    ],
)
def test_refusals(client: httpx.Client, fields: dict[str, Any], reason: str, words: str) -> None:
    error = error_of(client.post(V2, json=fields))
    assert (error["code"], error["status"], error["reason"], error["domain"]) == (
        *(400, "INVALID_ARGUMENT", reason, "global"),
    )
    assert words in error["message"]


def test_other_statuses_have_googles_form(client: httpx.Client) -> None:
    assert error_of(client.get(f"{V2}/nothing"))["status"] == "NOT_FOUND"
    wrong = client.put(V2)
    assert (error_of(wrong)["code"], wrong.headers["Allow"]) == (405, "HEAD, GET, POST")
    assert error_of(client.post(V2, content=b"x" * 2_000_000))["code"] == 413
    late = client.post(V2, json={"q": TREE, **PAIR}, headers={"X-Request-Timeout-Ms": "0"})
    assert error_of(late)["reason"] == "invalid"
    pinned = client.post(V2, json={"q": TREE, **PAIR}, headers={"X-Sub3-Config": "none"})
    assert error_of(pinned)["code"] == 400


@pytest.mark.parametrize("fault", BAD_JSON)
def test_bad_json(client: httpx.Client, fault: str) -> None:
    body = b'{"q":"a","target":"de","x":1,' + BAD_JSON[fault] + b"}"
    for path in (V2, f"{V2}/detect", f"{V2}/languages"):
        assert error_of(client.post(path, content=body, headers={"Content-Type": "application/json"}))["code"] == 400


@pytest.mark.parametrize("fault", BAD_FORMS)
def test_bad_forms(client: httpx.Client, fault: str) -> None:
    kind, body = BAD_FORMS[fault]
    for path in (V2, WEB):
        assert error_of(client.post(path, content=body, headers={"Content-Type": kind}))["code"] in (400, 413)


@given(text=st.text(max_size=60), form=st.sampled_from(["text", "html"]), source=st.sampled_from(["en", None]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_translated_as_natively(client: httpx.Client, text: str, form: str, source: str | None) -> None:
    asked = {"q": [text, text], "target": "de", "source": source, "format": form}
    first, second = translations(client.post(V2, json=asked))
    assert first == second
    assert ("detectedSourceLanguage" in first) is (source is None)
    if source is not None and form == "text" and text:
        assert first["translatedText"] == texts_of(translate(client, text))[0]


# The requests of translate-shell (through a proxy, `trans -x`), of Crow Translate and of browser add-ons
def test_the_web_pages_clients(server: Server, german: dict[str, str]) -> None:
    asked = f"{WEB}?client=gtx&ie=UTF-8&oe=UTF-8&dt=bd&dt=ex&dt=t&dt=at&dt=qca&sl={{}}&tl=de&hl=en&q=The%20old%20house."
    through_proxy = f"GET http://translate.googleapis.com{asked}"
    for line, source in ((f"GET {asked}", "en"), (f"GET {asked}", "auto"), (through_proxy, "en")):
        assert exchange(server, http_request(line.format(source))) == (200, [[[german[HOUSE], HOUSE]], None, "en"])
    form = b"q=The+old+house.&sl=auto&tl=de&client=gtx&dj=1&dt=t"
    kind = "application/x-www-form-urlencoded;charset=UTF-8"
    status, reply = exchange(server, http_request(f"POST {WEB}", form, Content_Type=kind))
    assert (status, reply) == (200, {"sentences": [{"trans": german[HOUSE], "orig": HOUSE}], "src": "en"})


def test_the_web_pages_refusals(client: httpx.Client) -> None:
    for fields in ({"q": "a"}, {"tl": "de"}, {"q": "a", "tl": "xx"}, {"q": "a", "tl": "en", "sl": "de"}):
        assert error_of(client.get(WEB, params=fields))["code"] == 400
    assert error_of(client.get("/translate_a/element"))["code"] == 404


def test_a_large_list_of_what_is_no_text_is_one_error(client: httpx.Client) -> None:
    body = json.dumps({"q": [1] * 300_000, "target": "de"}).encode()
    response = client.post(V2, content=body, headers={"Content-Type": "application/json"})
    assert (error_of(response)["code"], len(response.content) < 400) == (400, True)
