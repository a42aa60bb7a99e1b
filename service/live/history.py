"""The history of swaps: a bounded list of events that can be followed live."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from service.translation.cost import milliseconds_since

KEPT = 256
What = Literal["swap", "load", "unload", "canary", "promote", "rollback", "restore", "follow", "add", "remove"]
Result = Literal["ok", "unchanged", "refused", "failed"]


class TooManyFollowers(Exception):
    """The maximum number of streams is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One operation on a model.

    `who` is the name of a token, "start", or "replica" where another replica got the request. `before` and `after` are
    the active configurations, "" if the model wasn't served. `detail` is the sentence of a refusal or failure. The
    history sets `id`, which rises, also over a restart, and `time`, in ISO 8601, UTC.
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


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that is running, see `Event`; it starts when this is made."""

    model: str
    who: str
    what: What
    before: str
    started: float = field(default_factory=time.perf_counter)

    def end(self, result: Result, after: str, detail: str | None = None) -> Event:
        """Return the event of the operation, which ends now; the history gives it id and time."""
        return Event(
            id=0,
            time="",
            model=self.model,
            who=self.who,
            what=self.what,
            result=result,
            before=self.before,
            after=after,
            milliseconds=milliseconds_since(self.started),
            detail=detail,
        )


class History:
    """The last events of all models. Thread-safe; followers wait on their event loop."""

    def __init__(self, max_followers: int = 16) -> None:
        """Start empty; `max_followers` is the maximum number of open streams."""
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._next_id = time.time_ns() // 1_000_000  # above those of an earlier process
        self._lock = threading.Lock()
        self._followers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._max_followers = max_followers
        self._closed = False

    def add(self, event: Event) -> None:
        """Remember an event under the next id, and wake the followers."""
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._events.append(replace(event, id=self._next_id, time=now))
            self._next_id += 1
        self._wake()

    def of(self, model: str, after: int = 0) -> list[Event]:
        """Return the events of a model with ids above `after`, oldest first."""
        with self._lock:
            return [event for event in self._events if event.model == model and event.id > after]

    def check_room(self) -> None:
        """Raise TooManyFollowers if the maximum number of streams is open."""
        with self._lock:
            if len(self._followers) >= self._max_followers:
                raise TooManyFollowers(f"{self._max_followers} streams of events are open; close one of them.")

    async def follow(self, model: str, after: int | None, beat_s: float) -> AsyncIterator[Event | None]:
        """Yield the events of a model as they happen; ends when the history is closed.

        Yields None first, when nothing can be missed any more, and after each `beat_s` of silence. Yields nothing if
        the maximum number of streams is open.

        Args:
            model: its name.
            after: begin with the events above this id; None begins with the next event.
            beat_s: in seconds.
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
        for loop, woken in followers:
            with contextlib.suppress(RuntimeError):  # its loop has closed
                loop.call_soon_threadsafe(woken.set)
