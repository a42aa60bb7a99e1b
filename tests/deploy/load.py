"""Clients that translate until they are told to stop; each answer is compared with that of the offline engine."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.deploy.docker import until

CLIENTS = 4
PAUSE_S = 0.02  # between an answer and the next question: the load of clients that read
Answers = Mapping[str, Sequence[str]]  # configuration -> translations


@dataclass
class Load:
    """What the clients saw so far."""

    answered: Counter[str] = field(default_factory=Counter)  # by configuration
    failures: list[str] = field(default_factory=list)
    longest_ms: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> int:
        """Requests that have ended, well or not."""
        return self.answered.total() + len(self.failures)

    def go_on(self, requests: int = 100) -> None:
        """Wait until so many more have ended."""
        goal = self.sent + requests
        until(f"{requests} more requests", lambda: self.sent >= goal)

    def __str__(self) -> str:
        """Describe the load for the report of a fault."""
        counts = f"{self.sent} requests, {len(self.failures)} failed, the longest {self.longest_ms:.0f} ms"
        return "; ".join([counts, *sorted(set(self.failures))[:5]])


@contextmanager
def load(url: str, headers: Mapping[str, str], texts: Sequence[str], answers: Answers) -> Iterator[Load]:
    """Run clients until the block ends; it begins after their first answers, and they go on for some after it."""
    seen, stop = Load(), threading.Event()

    def ask(client: httpx.Client, number: int) -> None:
        body = {"text": texts[number], "source": "en", "target": "de"}
        started = time.perf_counter()
        try:
            reply = client.post("/v1/translate", json=body)
        except httpx.HTTPError as error:
            failure: str | None = f"{type(error).__name__}: {error}"
        else:
            failure = None if reply.status_code == 200 else f"{reply.status_code} {reply.text}"
        with seen.lock:
            seen.longest_ms = max(seen.longest_ms, 1e3 * (time.perf_counter() - started))
            if failure is not None:
                seen.failures.append(failure)
                return
            config, text = reply.headers["X-Sub3-Config"], reply.json()["translations"][0]["text"]
            if text == answers[config][number]:
                seen.answered[config] += 1
            else:
                seen.failures.append(f"{config} says {text!r}, offline {answers[config][number]!r}")

    def work(first: int) -> None:
        number = first
        with httpx.Client(base_url=url, headers=dict(headers), timeout=60) as client:
            while not stop.wait(PAUSE_S):
                ask(client, number % len(texts))
                number += CLIENTS

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(work, number) for number in range(CLIENTS)]
        try:
            seen.go_on(20)
            yield seen
            seen.go_on()
        finally:
            stop.set()
        for client in clients:
            client.result(60)
