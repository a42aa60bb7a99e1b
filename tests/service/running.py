"""A real uvicorn server in a thread, and what the tests do to it."""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from kernels.engine import Batch, Interrupt, Progress
from service.app import create_app
from service.http.server import Server as Uvicorn
from service.settings import Settings
from service.translation.results import Options, Translated
from tests.conftest import ROOT

TOKEN = "a-token-of-the-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
PAIR = {"source": "en", "target": "de"}


@dataclass(frozen=True)
class Server:
    """A running server; `loop` is its event loop."""

    url: str
    app: FastAPI
    loop: asyncio.AbstractEventLoop


class ServiceProcess(subprocess.Popen[str]):
    """`python -m service`, whose log is read as it comes: a full pipe would hold it up at some hundred requests."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it; it has no address yet."""
        command = [sys.executable, "-m", "service"]
        super().__init__(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def address(self) -> str:
        """Wait until it runs and return its address."""
        assert self.stderr is not None
        line = next(line for line in self.stderr if "running on" in line)
        self._reader.start()
        return line.split("running on ")[1].split()[0]

    def log(self) -> str:
        """Wait for its end and return what it logged since it ran."""
        self._reader.join()
        return "".join(self._lines)

    def _read(self) -> None:
        assert self.stderr is not None
        self._lines.extend(self.stderr)


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
        server.handle_exit(signal.SIGINT, None)  # as a process ends: streams of events end too
        thread.join()
        listener.close()


class Gate:
    """Decoder steps one at a time: in `held_steps` an engine thread waits before each until it is let through."""

    def __init__(self) -> None:
        """Start closed."""
        self.opened = False
        self._reached, self._permits = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self) -> None:
        """Wait in the engine thread until let through."""
        self._reached.release()
        if not self.opened:
            assert self._permits.acquire(timeout=60)

    def reached(self) -> None:
        """Wait until a thread is about to take a step; all that it did before is accounted for."""
        assert self._reached.acquire(timeout=60)

    def let_through(self) -> None:
        """Allow one step."""
        self._permits.release()

    def open(self) -> None:
        """Hold no step any more."""
        self.opened = True
        self._permits.release(100)


@contextmanager
def held_steps() -> Iterator[Gate]:
    """Put a gate before each step of the real engine until the block ends."""
    gate, step = Gate(), Batch.step

    def held(batch: Batch, max_steps: int = 1, interrupt: Interrupt | None = None) -> Progress:
        gate.wait()
        return step(batch, max_steps if gate.opened else 1, interrupt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "step", held)
        try:
            yield gate
        finally:
            gate.open()


@contextmanager
def held_worker(server: Server) -> Iterator[None]:
    """Keep the one engine thread of a server before a step, with one sentence running, until the block ends."""
    state = server.app.state

    async def occupy() -> Translated:
        async with state.registry.lease("en", "de") as translator:
            return await translator.serve(["The river."], Options("en", "de"), state.scheduler)

    with held_steps() as gate:
        occupied = asyncio.run_coroutine_threadsafe(occupy(), server.loop)
        gate.reached()
        yield
        gate.open()
        assert occupied.result(60).translations


def translate(client: httpx.Client, text: Any, **fields: Any) -> httpx.Response:
    """Send POST /v1/translate from English to German."""
    return client.post("/v1/translate", json={"text": text, **PAIR, **fields})


def texts_of(response: httpx.Response) -> list[str]:
    """Return the translations of a reply that must be good."""
    assert response.status_code == 200, response.text
    return [translation["text"] for translation in response.json()["translations"]]


def assert_refused(response: httpx.Response, status: int, *words: str) -> None:
    """Check a refusal: one sentence in the one shape of errors, with the words in it."""
    assert response.status_code == status, response.text
    assert list(response.json()) in (["error"], ["error", "code"])
    sentence = response.json()["error"]
    assert sentence.endswith(".")
    for word in words:
        assert word in sentence


def until_noticed(server: Server, client: httpx.Client) -> None:
    """Wait until the server, whose one engine thread is held before a step, has seen that a client left."""
    while not server.app.state.scheduler._workers[0].leaving:
        client.get("/health/live")


def until_metric(client: httpx.Client, line: str) -> None:
    """Read /metrics until it has the line."""
    for _ in range(20_000):
        if line in client.get("/metrics").text.splitlines():
            return
    raise AssertionError(f"{line} never came")


def until_running(client: httpx.Client) -> None:
    """Read /metrics until sentences run."""
    for _ in range(20_000):
        if "sub3_running_sentences 0.0" not in client.get("/metrics").text.splitlines():
            return
    raise AssertionError("nothing ever ran")


def translate_and_leave(
    server: Server, until: Callable[[], None], text: Any, key: str | None = None, **fields: Any
) -> None:
    """Send a request, and close the connection without reading its reply once `until` returns."""
    body = json.dumps({"text": text, **PAIR, **fields}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/translate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        head += "" if key is None else f"X-Api-Key: {key}\r\n"
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
    """Return the bytes of a request: `line` is method and target; Host and Content-Length are added."""
    named = {"Host": "translate.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body:
        named["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body
