"""A real uvicorn server in a thread, and what the tests do to it."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from kernels.engine import CancelFlag
from service.app import create_app
from service.server import Server as Uvicorn
from service.settings import Settings

TOKEN = "a-token-of-the-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
PAIR = {"source": "en", "target": "de"}


@dataclass(frozen=True)
class Server:
    """A running server; `loop` is its event loop."""

    url: str
    app: FastAPI
    loop: asyncio.AbstractEventLoop


@contextmanager
def serve(settings: Settings) -> Iterator[Server]:
    """Run the app under uvicorn on a free port until the block ends."""
    app = create_app(settings)
    # of the TCP protocol by name: asyncio turns Nagle's delay off only for such sockets
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    class Started(Uvicorn):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            loops.append(asyncio.get_running_loop())
            started.set()

    server = Started(app, settings, log_level="warning")
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert started.wait(60)
        assert server.started
        yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", app, loops[0])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def held_worker(server: Server) -> Iterator[None]:
    """Keep the one worker of a server busy until the block ends."""
    begun, end = threading.Event(), threading.Event()

    def wait(_: CancelFlag) -> bool:
        begun.set()
        return end.wait(60)

    held = asyncio.run_coroutine_threadsafe(server.app.state.scheduler.run(wait), server.loop)
    try:
        assert begun.wait(60)
        yield
    finally:
        end.set()
        assert held.result(60).value


def translate(client: httpx.Client, text: Any, **fields: Any) -> httpx.Response:
    """POST /v1/translate from English to German."""
    return client.post("/v1/translate", json={"text": text, **PAIR, **fields})


def texts_of(response: httpx.Response) -> list[str]:
    """The translations of a reply that must be good."""
    assert response.status_code == 200, response.text
    return [translation["text"] for translation in response.json()["translations"]]


def assert_refused(response: httpx.Response, status: int, *words: str) -> None:
    """One sentence in the one shape of errors, with the words in it."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    sentence = response.json()["error"]
    assert sentence.endswith(".")
    for word in words:
        assert word in sentence


def until_metric(client: httpx.Client, line: str) -> None:
    """Read /metrics until it has the line."""
    for _ in range(20_000):
        if line in client.get("/metrics").text.splitlines():
            return
    raise AssertionError(f"{line} never came")


def translate_and_leave(server: Server, until: Callable[[], None], text: Any, **fields: Any) -> None:
    """Send a request, and close the connection without reading its reply once `until` returns."""
    body = json.dumps({"text": text, **PAIR, **fields}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/translate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until()


def exchange(server: Server, request: bytes) -> tuple[int, Any]:
    """Send the bytes of one request; the status, and the JSON of the reply."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())


def http_request(line: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request: `line` is method and target; Host and Content-Length are added."""
    named = {"Host": "translate.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body:
        named["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body
