"""A client of /v1/translate that keeps time, and the closed loop: so many clients, each asks again once answered."""

import asyncio
import itertools
import selectors
import time
from collections.abc import Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import orjson

from tests.load.figures import Tally

T = TypeVar("T")
CONNECTIONS = 256  # a request beyond them waits for one, and its latency says so
_HEADERS = {"Content-Type": "application/json"}


def bodies(texts: Iterable[str]) -> list[bytes]:
    """A request for each sentence."""
    return [orjson.dumps({"text": text, "source": "en", "target": "de"}) for text in texts]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like asyncio.run, with select(2): epoll would round every wait up to a millisecond, which is a latency here."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(main)


class Client:
    """Connections to one server, new ones for each load."""

    def __init__(self, url: str) -> None:
        """Connects with the first request."""
        self._url = f"{url}/v1/translate"
        # an idle connection is left before uvicorn closes it (5 s), or a request could meet the end of it
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=3)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120))

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()

    async def translate(self, body: bytes, tally: Tally, since: float | None = None) -> None:
        """Send one request and count it, its latency from `since` (time.perf_counter, default now) to its last byte."""
        begun = time.perf_counter() if since is None else since
        try:
            async with self._session.post(self._url, data=body, headers=_HEADERS) as reply:
                content = await reply.read()
                latency_ms = 1e3 * (time.perf_counter() - begun)
                status, headers = reply.status, reply.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.add(0.0, type(error).__name__)
            return
        if status != 200:
            tally.add(latency_ms, f"status {status}")
            return
        tally.add(latency_ms)
        tally.characters += sum(len(translation["text"]) for translation in orjson.loads(content)["translations"])
        if "X-Sub3-Encode-Ms" in headers:
            engine_ms = float(headers["X-Sub3-Encode-Ms"]) + float(headers["X-Sub3-Decode-Ms"])
            tally.over_engine_ms.append(latency_ms - engine_ms)


async def closed_loop(url: str, requests: Sequence[bytes], clients: int, seconds: float) -> tuple[Tally, float]:
    """The tally, and the seconds until the last answer; requests are taken in order, again and again."""
    tally, supply = Tally(), itertools.cycle(requests)
    begun = time.perf_counter()

    async def ask() -> None:
        while time.perf_counter() < begun + seconds:
            await client.translate(next(supply), tally)

    async with Client(url) as client:
        await asyncio.gather(*(ask() for _ in range(clients)))
    return tally, time.perf_counter() - begun
