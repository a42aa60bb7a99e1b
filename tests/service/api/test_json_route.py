"""Strict JSON bodies; and the direct route against FastAPI's own handling of the same endpoint."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from service.api import errors
from service.api.json_route import DirectRoute, JsonRoute, parse_json
from service.api.schemas import TranslateRequest

GOOD = {"text": "Hello.", "source": "EN", "target": "de"}
JSON = {"Content-Type": "application/json"}


def make_app() -> FastAPI:
    app = FastAPI()
    for path, kind in (("/fastapi", JsonRoute), ("/direct", DirectRoute)):
        routes = APIRouter(route_class=kind)

        @routes.post(path)
        async def echo(body: TranslateRequest, request: Request) -> Response:
            return Response(body.model_dump_json(), headers={"X-Length": request.headers["content-length"]})

        app.include_router(routes)
    errors.install(app, [])
    return app


APP = make_app()


def answers(body: bytes, headers: dict[str, str]) -> list[tuple[int, bytes]]:
    """Return the answer of FastAPI's route, and that of the direct one."""

    async def ask() -> list[tuple[int, bytes]]:
        transport = httpx.ASGITransport(APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            replies = [await client.post(path, content=body, headers=headers) for path in ("/fastapi", "/direct")]
            return [(reply.status_code, reply.content) for reply in replies]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (json.dumps(GOOD).encode(), JSON, 200),
        (json.dumps({**GOOD, "text": ["Hello.", "The river."]}).encode(), JSON, 200),
        (json.dumps(GOOD).encode(), {"Content-Type": "application/vnd.x+json; charset=utf-8"}, 200),
        (json.dumps({**GOOD, "txet": "x"}).encode(), JSON, 422),
        (json.dumps({**GOOD, "beam_size": "2"}).encode(), JSON, 422),
        (json.dumps({**GOOD, "text": ["x", 1]}).encode(), JSON, 422),
        (json.dumps({"text": "x"}).encode(), JSON, 422),
        (b"[]", JSON, 422),
        (b'"text"', JSON, 422),
        (b"null", JSON, 422),
        (b"", JSON, 422),
        (b"{", JSON, 400),
        (b'{"text": "a", "text": "b", "source": "en", "target": "de"}', JSON, 400),
        (b'{"text": "\xff", "source": "en", "target": "de"}', JSON, 400),
        (json.dumps(GOOD).encode(), {"Content-Type": "text/plain"}, 415),
        (json.dumps(GOOD).encode(), {}, 415),
    ],
)
def test_answers_are_those_of_fastapi(body: bytes, headers: dict[str, str], status: int) -> None:
    expected, direct = answers(body, headers)
    assert direct == expected
    assert direct[0] == status


FIELDS = st.sampled_from([*TranslateRequest.model_fields, "other"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(changes=st.dictionaries(FIELDS, VALUES, max_size=3))
def test_any_object_is_answered_as_by_fastapi(changes: dict[str, Any]) -> None:
    expected, direct = answers(json.dumps({**GOOD, **changes}).encode(), JSON)
    assert direct == expected


# JSON as text, where an object may have a name twice: strings that look like names, spelled and spaced in any way
STRINGS = st.sampled_from(['"a"', '"\\u0061"', '"b"', '"a\\":"', '":"', '"\\\\"', '"\\\\\\":"', '""'])
SPACES = st.sampled_from(["", "", " ", "\t", "\r\n "])


def as_object(members: list[tuple[str, str, str, str]]) -> str:
    return "{" + ",".join(f"{name}{before}:{after}{value}" for name, before, after, value in members) + "}"


def as_list(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


JSON_TEXTS = st.recursive(
    STRINGS | st.just("1"),
    lambda inner: (
        st.lists(inner, max_size=3).map(as_list)
        | st.lists(st.tuples(STRINGS, SPACES, SPACES, inner), max_size=4).map(as_object)
    ),
    max_leaves=8,
)


def has_a_name_twice(text: str) -> bool:
    """Look for it with Python's own parser."""
    objects: list[list[str]] = []
    json.loads(text, object_pairs_hook=lambda pairs: objects.append([name for name, _ in pairs]))
    return any(len(set(names)) < len(names) for names in objects)


@given(value=JSON_TEXTS)
@example('{"a":1,"a" :2}')  # the second spaced
@example('{"a":1,"\\u0061":2}')  # the second spelled otherwise
@example('[{"a":{"b":1,"b":2}}]')  # deep inside
@example('{"a":{"b":1,"c":2},"a":3}')  # what is lost has names, too
@example('{"a":"b\\":","c":1}')  # none twice, but a text that looks like a name
@settings(max_examples=500)
def test_a_name_twice_is_refused_wherever_it_is_and_however_it_is_spelled(value: str) -> None:
    body = f'{{"outer": {value}}}'
    if has_a_name_twice(body):
        with pytest.raises(HTTPException) as caught:
            parse_json(body.encode())
        assert caught.value.status_code == 400
        assert "a name twice" in caught.value.detail
    else:
        assert parse_json(body.encode()) == json.loads(body)
