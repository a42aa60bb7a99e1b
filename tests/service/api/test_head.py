"""HEAD is GET without the body, a 405 names all methods of its path, and an enum has one type."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from service.api.head_of_get import HeadOfGet
from tests.service.running import Server

_VARIES = {"date", "x-request-id", "content-length", "transfer-encoding"}  # the length of /metrics does


def described(client: httpx.Client) -> dict[str, set[str]]:
    """Return the methods of each path in the OpenAPI."""
    paths = client.get("/openapi.json").json()["paths"]
    return {
        path: {method.upper() for method in item} & {"GET", "POST", "PUT", "PATCH", "DELETE"}
        for path, item in paths.items()
    }


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    plain = [path for path, methods in described(client).items() if "GET" in methods and "{" not in path]
    assert {"/health", "/languages", "/metrics", "/v1/models", "/frontend/settings", "/v2/health/ready"} <= {*plain}
    for path in [*plain, "/", "/page/page.js", "/docs", "/openapi.json"]:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert {*head.headers} - _VARIES == {*got.headers} - _VARIES, path


PROBED = ("/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/languages", "/metrics")


def test_wget_s_spider_finds_what_is_there(server: Server) -> None:
    wget = shutil.which("wget")
    if wget is None:
        pytest.skip("wget is not installed")

    def spider(*paths: str) -> int:
        return subprocess.run([wget, "--quiet", "--spider", *(server.url + path for path in paths)]).returncode

    assert spider(*PROBED, "/v1/models", "/frontend/settings", "/", "/docs") == 0
    assert spider("/nothing") == 8  # the server answered with an error


def test_head_of_what_is_missing_or_takes_no_get(client: httpx.Client) -> None:
    assert [client.head(path).status_code for path in ("/nothing", "/v1/files/unknown", "/v1/translate")] == [
        404,
        404,
        405,
    ]
    assert client.head("/v1/translate").headers["Allow"] == "POST"


def test_allow_names_all_methods_of_each_path(client: httpx.Client) -> None:
    for path, methods in described(client).items():
        refused = client.request("PURGE", re.sub(r"{.*?}", "a", path))
        allowed = {*refused.headers["Allow"].split(", ")}
        assert refused.status_code == 405, path
        assert methods | ({"HEAD"} if "GET" in methods else set()) <= allowed, path
        assert ("HEAD" in allowed) is ("GET" in allowed), path


def test_an_endless_stream_ends_with_its_head() -> None:
    sent: list[Message] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"data: 1\n\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] == "GET"
        scope["route"] = "the route"
        await StreamingResponse(endless())(scope, receive, send)

    async def receive() -> Message:
        while not any(message["type"] == "http.response.body" for message in sent):
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "HEAD", "asgi": {"spec_version": "2.3"}, "headers": []}
    asyncio.run(HeadOfGet(app)(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["body"] == b""
    assert (scope["method"], scope["route"]) == ("HEAD", "the route")


def test_no_enum_mixes_types(client: httpx.Client) -> None:
    def enums(node: Any) -> Iterator[list[Any]]:
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from enums(child)
        if isinstance(node, dict) and isinstance(node.get("enum"), list):
            yield node["enum"]

    found = list(enums(client.get("/openapi.json").json()))
    assert [True, False] in found
    assert all(len({type(value) for value in enum}) == 1 for enum in found)
