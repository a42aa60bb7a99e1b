"""What was done to the models: a bounded list that can be followed live."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

KEPT = 256
What = Literal["swap", "load", "unload", "canary", "promote", "rollback", "restore", "follow", "add", "remove"]
Result = Literal["ok", "unchanged", "refused", "failed"]


class TooManyFollowers(Exception):
    """As many streams are open as may be."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that somebody did: `who` is the name of a token, "start", or "replica" for what another one was told.

    Ids rise, also over a restart. `before` and `after` are the active configurations, "" of a model that wasn't
    served; `detail` is a refusal's sentence.
    """

    id: int
    time: str
    model: str
    who: str
    what: What
    result: Result
    before: str
    after: str
    milliseconds: float
    detail: str | None = None


class History:
    """Thread-safe; followers wait on their event loop."""

    def __init__(self, max_followers: int = 16) -> None:
        """Empty."""
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._next_id = time.time_ns() // 1_000_000  # above those of an earlier process
        self._lock = threading.Lock()
        self._followers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._max_followers = max_followers
        self._closed = False

    def add(
        self,
        model: str,
        who: str,
        what: What,
        result: Result,
        configurations: tuple[str, str],
        milliseconds: float,
        detail: str | None = None,
    ) -> None:
        """Remember and tell the followers; `configurations` are the active ones before and after."""
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._events.append(
                Event(self._next_id, now, model, who, what, result, *configurations, milliseconds, detail)
            )
            self._next_id += 1
        self._wake()

    def of(self, model: str, after: int = 0) -> list[Event]:
        """The events of a model whose ids are above `after`, oldest first."""
        with self._lock:
            return [event for event in self._events if event.model == model and event.id > after]

    def check_room(self) -> None:
        """Raise TooManyFollowers if as many streams are open as may be."""
        with self._lock:
            if len(self._followers) >= self._max_followers:
                raise TooManyFollowers(f"{self._max_followers} streams of events are open; close one of them.")

    async def follow(self, model: str, after: int | None, beat_s: float) -> AsyncIterator[Event | None]:
        """Events of a model as they happen, after the id `after` (None: from now on).

        None comes first, to say that nothing will be missed from here on, and after each `beat_s` of silence. Ends when
        the history is closed, and at once if as many follow as may.
        """
        follower = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if len(self._followers) >= self._max_followers:
                return
            self._followers.add(follower)
            last = self._next_id - 1 if after is None else after
        try:
            yield None
            while not self._closed:
                follower[1].clear()
                for event in self.of(model, last):
                    last = event.id
                    yield event
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(follower[1].wait(), beat_s)
                    continue
                yield None
        finally:
            with self._lock:
                self._followers.discard(follower)

    def close(self) -> None:
        """End every stream; further ones end at once."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            followers = list(self._followers)
        for loop, told in followers:
            with contextlib.suppress(RuntimeError):  # its loop has closed: nobody follows any more
                loop.call_soon_threadsafe(told.set)
