"""Whatever is sent, the answer is the one that the OpenAPI states, never a 5xx; and memory does not grow."""

import contextlib
import gc
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.process import process_rss_bytes
from service.settings import Settings
from tests.service.running import AUTHORIZED, PAIR, TOKEN, Server, serve

JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
LANGUAGES = {**PAIR, "source_lang": "EN", "target_lang": "DE", "from": "en", "to": ["de"], "sl": "en", "tl": "de"}
NATIVE, LIBRE, DEEPL = "/v1/translate", "/translate", "/v2/translate"
ROUTES = [NATIVE, LIBRE, "/detect", "/suggest", DEEPL, "/v2/languages", "/v2/usage"]
GOOD: dict[str, dict[str, Any]] = {
    NATIVE: {"text": "a", **PAIR},
    LIBRE: {"q": "a", **PAIR},
    "/detect": {"q": "a"},
    "/suggest": {},
    DEEPL: {"text": ["a"], "source_lang": "EN", "target_lang": "DE"},
    "/v2/languages": {"type": "source"},
    "/v2/usage": {},
}


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[Server]:
    """Run a server with admin routes, for these tests alone."""
    with serve(Settings(model_directory=tiny_model, threads=2, admin_token=TOKEN)) as running:
        yield running


@pytest.fixture(scope="module")
def sender(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as connection:
        yield connection


def test_every_operation_answers_as_its_openapi_says(server: Server) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {*ROUTES, "/admin/models/{name}/config"}
    statuses: dict[str, set[int]] = {}
    for operation in operations:
        if operation.path.endswith("/events"):
            continue  # a stream that has no end
        statuses.setdefault(operation.path, set()).update(statuses_of(operation, GenerationMode.POSITIVE))
        with contextlib.suppress(Unsatisfiable):  # there may be nothing to get wrong
            statuses_of(operation, GenerationMode.NEGATIVE)
    assert all(200 in statuses[path] for path in ROUTES if path != "/suggest"), statuses


def statuses_of(operation: schemathesis.APIOperation, mode: GenerationMode) -> set[int]:
    """Call an operation and hold its answer against the OpenAPI."""
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    statuses = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=5, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def answers(case: schemathesis.Case) -> None:
        for fields in (case.body, case.query):
            if mode is GenerationMode.POSITIVE and isinstance(fields, dict):
                # languages, configurations and beams by chance would all be refused
                fields.update({name: code for name, code in LANGUAGES.items() if name in fields})
                fields.update({name: 1 for name in ("beam_size", "alternatives") if name in fields})
                fields.pop("config", None)
        statuses.add(case.call_and_validate(checks=checks, headers=AUTHORIZED).status_code)

    answers()
    return statuses


def spoiled(route: str, extra: bytes) -> bytes:
    """Return a good body of the route as JSON, with more fields written after its own."""
    good = json.dumps({**GOOD[route], "x": 1}).encode()
    return good[:-1] + b"," + extra + b"}"


BAD_JSON = {
    "not UTF-8": b'"y":"\xff\xfe"',
    "a lone surrogate": b'"y":"\\ud800"',
    "an encoded lone surrogate": b'"y":"\xed\xa0\x80"',
    "NaN": b'"y":NaN',
    "Infinity": b'"y":-Infinity',
    "nested": b'"y":' + b"[" * 100_000 + b"]" * 100_000,
    "nested less": b'"y":' + b'{"a":' * 1_000 + b"1" + b"}" * 1_000,
    "a name twice": b'"x":2',
    "a name twice inside": b'"y":{"a":[{"b":1,"b":2}]}',
    "a huge number": b'"y":' + b"9" * 10_000,
    "100,000 fields": b",".join(b'"f%d":1' % n for n in range(50_000)),
    "control characters": b'"y":"\x00"',
    "unfinished": b'"y":',
}


@pytest.mark.parametrize("fault", BAD_JSON)
@pytest.mark.parametrize("route", ROUTES)
def test_bad_json_is_a_4xx(sender: httpx.Client, route: str, fault: str) -> None:
    response = sender.post(route, content=spoiled(route, BAD_JSON[fault]), headers={"Content-Type": JSON})
    assert 400 <= response.status_code < 500, response.text
    sentence, *code = response.json().values()
    assert code in ([], ["bad_request"], ["invalid_request"])
    assert sentence
    assert len(sentence) < 400


@pytest.mark.parametrize(("route", "field"), [(NATIVE, "text"), (LIBRE, "q"), ("/detect", "q"), (DEEPL, "text")])
def test_a_long_list_of_what_is_no_text_is_one_error(sender: httpx.Client, route: str, field: str) -> None:
    response = sender.post(route, json={**GOOD[route], field: [1] * 300_000})
    assert 400 <= response.status_code < 500
    assert len(response.content) < 200


BAD_FORMS = {
    "100,000 fields": (FORM, urlencode([(f"f{n}", "") for n in range(100_000)]).encode()),
    "a field 1,000 times": (FORM, b"q=a&" * 1000),
    "not UTF-8": (FORM, b"q=\xff"),
    "not UTF-8, escaped": (FORM, b"q=%ff%fe"),
    "a lone surrogate": (FORM, b"q=%ed%a0%80"),
    "10,000 parts": (
        MULTIPART,
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 10_000 + b"--b--\r\n",
    ),
    "10,000 headers of a part": (MULTIPART, b"--b\r\n" + b"A: b\r\n" * 10_000 + b"\r\n1\r\n--b--\r\n"),
    "a file": (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="q"; filename="f"\r\n\r\n1\r\n--b--\r\n'),
    "a nameless part": (MULTIPART, b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--\r\n"),
    "a part that is not UTF-8": (
        MULTIPART,
        b'--b\r\nContent-Disposition: form-data; name="q"\r\n\r\n\xff\r\n--b--\r\n',
    ),
    "no boundary": ("multipart/form-data", b"--b\r\n"),
    "no parts": (MULTIPART, b"a" * 10_000),
}


@pytest.mark.parametrize("fault", BAD_FORMS)
@pytest.mark.parametrize("route", ROUTES)
def test_bad_forms_are_a_4xx(sender: httpx.Client, route: str, fault: str) -> None:
    kind, body = BAD_FORMS[fault]
    response = sender.post(route, content=body, headers={"Content-Type": kind})
    assert 400 <= response.status_code < 500, response.text


@pytest.mark.parametrize("route", ROUTES)
def test_packed_bodies_are_not_unpacked(sender: httpx.Client, route: str) -> None:
    body = gzip.compress(json.dumps(GOOD[route]).encode())
    packed = sender.post(route, content=body, headers={"Content-Type": JSON, "Content-Encoding": "gzip"})
    assert packed.status_code == 415
    silent = sender.post(route, content=body, headers={"Content-Type": JSON})
    assert 400 <= silent.status_code < 500


@pytest.mark.parametrize("path", ["/translate", "/detect", "/v2/translate", "/v2/languages"])
def test_bad_query_strings_are_a_4xx(sender: httpx.Client, path: str) -> None:
    for query in ("q=%ff&text=%ff", "&".join(["q=a"] * 1000), "q=%ed%a0%80", "q=%00" * 10):
        response = sender.post(f"{path}?{query}")
        if "%00" not in query:
            assert 400 <= response.status_code < 500, response.text
        assert response.status_code < 500


bodies = st.binary(max_size=200) | st.sampled_from(
    [
        b"{",
        b"[]",
        b"null",
        b'""',
        b"\x00",
        b"\xef\xbb\xbf{}",
        b"--b\r\n",
        b"&&==&",
        b"q=a&q=[",
        b"text=a&target_lang=de",
    ]
)


@pytest.mark.parametrize("route", [*ROUTES, "/admin/models/tiny/config"])
@given(
    body=bodies, kind=st.sampled_from([JSON, FORM, MULTIPART, "text/plain", "", "a", "application/x+json; charset=x"])
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes(sender: httpx.Client, route: str, body: bytes, kind: str) -> None:
    method = "PUT" if route.startswith("/admin") else "POST"
    response = sender.request(method, route, content=body, headers={"Content-Type": kind, **AUTHORIZED})
    assert response.status_code < 500, (kind, body, response.text)
    assert response.headers["Content-Type"] == "application/json"


texts = st.text(max_size=60) | st.sampled_from(
    ["<b>", "&#xD800;", "\x00", "\u2028a", "a\x85b", "<x id='", '["', "ﷺ" * 50]
)


@given(text=texts, form=st.sampled_from(["text", "html"]), source=st.sampled_from(["en", "auto"]))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_is_translated(sender: httpx.Client, text: str, form: str, source: str) -> None:
    fields = {"q": [text, text], "source": source, "target": "de", "format": form, "alternatives": 1}
    response = sender.post(LIBRE, json=fields)
    assert response.status_code == 200, response.text
    first, second = response.json()["translatedText"]
    assert first == second
    for split in ("0", "1", "nonewlines"):
        deepl = {"text": [text], "target_lang": "DE", "tag_handling": "xml", "split_sentences": split}
        assert sender.post(DEEPL, json=deepl).status_code == 200
    assert (sender.post(LIBRE, data={**fields, "q": text}).status_code == 200) == (text != "")


def test_memory_does_not_grow(sender: httpx.Client) -> None:
    def storm(rounds: int) -> None:
        for _ in range(rounds):
            for route in ROUTES:
                for fault in ("nested", "100,000 fields", "a huge number", "not UTF-8"):
                    sender.post(route, content=spoiled(route, BAD_JSON[fault]), headers={"Content-Type": JSON})
                for fault in ("100,000 fields", "10,000 parts", "10,000 headers of a part"):
                    kind, body = BAD_FORMS[fault]
                    sender.post(route, content=body, headers={"Content-Type": kind})

    storm(3)
    gc.collect()
    before = process_rss_bytes()
    storm(9)  # 180 MB of bodies
    gc.collect()
    assert process_rss_bytes() < before + 8_000_000
