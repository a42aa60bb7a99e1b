"""A client of /v1/translate that keeps time, and the closed loop: so many clients, each asks again once answered."""

import asyncio
import itertools
import re
import selectors
import socket
import time
from collections.abc import Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import orjson

from tests.load.figures import Tally

T = TypeVar("T")
CONNECTIONS = 256  # a request beyond them waits for one, and its latency says so
_HEADERS = {"Content-Type": "application/json"}


def bodies(texts: Iterable[str], beam_size: int | None = None) -> list[bytes]:
    """Make a request for each sentence, by the default search if no beams are named."""
    options: dict[str, object] = {"source": "en", "target": "de"} | ({"beam_size": beam_size} if beam_size else {})
    return [orjson.dumps({"text": text} | options) for text in texts]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run like asyncio.run, with select(2): epoll would round every wait up to a millisecond, a latency here."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(main)


class Client:
    """Connections to one server, new ones for each load."""

    def __init__(self, url: str) -> None:
        """Keep the address; the first request connects."""
        self._url = f"{url}/v1/translate"
        # an idle connection is left before uvicorn closes it (5 s), or a request could meet the end of it
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=3)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120))

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()

    async def translate(self, body: bytes, tally: Tally, since: float | None = None) -> None:
        """Send one request and count it, its latency from `since` (time.perf_counter, default now) to its last byte."""
        started = time.perf_counter() if since is None else since
        try:
            async with self._session.post(self._url, data=body, headers=_HEADERS) as reply:
                content = await reply.read()
                latency_ms = 1e3 * (time.perf_counter() - started)
                status, headers = reply.status, reply.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.add(0.0, type(error).__name__)
            return
        if status != 200:
            tally.add(latency_ms, f"status {status}")
            return
        _count(tally, latency_ms, content, headers.get("X-Sub3-Encode-Ms"), headers.get("X-Sub3-Decode-Ms"))


async def closed_loop(url: str, requests: Sequence[bytes], clients: int, seconds: float) -> tuple[Tally, float]:
    """Return the tally and the seconds until the last answer; requests are sent in order, again and again."""
    tally, supply = Tally(), itertools.cycle(requests)
    started = time.perf_counter()

    async def ask() -> None:
        while time.perf_counter() < started + seconds:
            await client.translate(next(supply), tally)

    async with Client(url) as client:
        await asyncio.gather(*(ask() for _ in range(clients)))
    return tally, time.perf_counter() - started


async def one_client(url: str, requests: Sequence[bytes], seconds: float) -> tuple[Tally, float]:
    """Run the closed loop of one client over a blocking socket: aiohttp would add 0.4 ms to each latency.

    A server that closes the connection ends it with what was answered until then, and a failure.
    """
    tally, supply = Tally(), itertools.cycle(requests)
    address = urlsplit(url)
    head = (
        f"POST /v1/translate HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    )
    started = time.perf_counter()
    with socket.create_connection((address.hostname, address.port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.perf_counter() < started + seconds:
            body = next(supply)
            request = f"{head}{len(body)}\r\n\r\n".encode() + body
            sent = time.perf_counter()
            connection.sendall(request)
            received = _reply(connection)
            latency_ms = 1e3 * (time.perf_counter() - sent)
            if received is None:
                tally.add(0.0, "the connection was closed")
                break
            if not received[0].startswith(b"HTTP/1.1 200 "):
                tally.add(latency_ms, "status " + received[0].split()[1].decode())
                continue
            figures = dict(re.findall(rb"x-sub3-(encode|decode)-ms: ([\d.]+)", received[0].lower()))
            _count(tally, latency_ms, received[1], figures.get(b"encode"), figures.get(b"decode"))
    return tally, time.perf_counter() - started


def _reply(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """Head and body of a reply that tells its length; None if the server closed before its end."""
    received = b""
    while chunk := connection.recv(1 << 16):
        received += chunk
        head, ended, body = received.partition(b"\r\n\r\n")
        if ended and len(body) >= int(re.search(rb"content-length: (\d+)", head.lower())[1]):  # type: ignore[index]
            return head, body
    return None


def _count(
    tally: Tally, latency_ms: float, content: bytes, encode_ms: str | bytes | None, decode_ms: str | bytes | None
) -> None:
    """Count a good reply, and its latency outside the engine where the reply has the engine's time."""
    tally.add(latency_ms)
    tally.characters += sum(len(translation["text"]) for translation in orjson.loads(content)["translations"])
    if encode_ms is not None and decode_ms is not None:
        tally.over_engine_ms.append(latency_ms - float(encode_ms) - float(decode_ms))
