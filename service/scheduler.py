"""A bounded queue in front of worker threads. The engine releases the GIL, so each thread keeps one core busy."""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from kernels.engine import CancelFlag

T = TypeVar("T")


class QueueFull(Exception):
    """No place to wait; carries the seconds after which a retry may find one."""

    def __init__(self, retry_after_s: int) -> None:
        """`retry_after_s`: a guess from the time that recent work took, at least 1."""
        super().__init__(f"The server is at its limit; retry after {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class SchedulerClosed(Exception):
    """Work arrived after the shutdown began."""

    def __init__(self) -> None:
        """The sentence that the client reads."""
        super().__init__("The server is shutting down; retry elsewhere or later.")


class Done(NamedTuple, Generic[T]):
    """What the work returned, and the time that it waited for a thread, in milliseconds."""

    value: T
    queue_ms: float


@dataclass(eq=False, slots=True)
class _Entry:
    work: Callable[[CancelFlag], Any]
    cancel: CancelFlag
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    queued_at: float  # seconds of time.perf_counter


class Scheduler:
    """`threads` workers take entries in the order of arrival; at most `queue_size` entries wait."""

    def __init__(self, threads: int, queue_size: int) -> None:
        """No worker runs before `start`."""
        self._queue_size = queue_size
        self._waiting: deque[_Entry] = deque()
        self._running: set[_Entry] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._work_s = 0.0  # moving average of the time that one entry keeps a thread
        self._threads = [threading.Thread(target=self._serve, name=f"translate-{i}") for i in range(threads)]

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Entries that wait for a thread."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Entries that have a thread."""
        return len(self._running)

    async def run(self, work: Callable[[CancelFlag], T]) -> Done[T]:
        """Run `work` in a worker thread.

        When the caller is cancelled, waiting work is dropped and running work is told by its flag. In either case
        this returns only once no thread touches the work any more: what the caller holds for it may be released.

        Raises:
            QueueFull: at once, if the queue has no place.
            SchedulerClosed: after `close`.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(work, CancelFlag(), loop.create_future(), loop, time.perf_counter())
        with self._changed:
            if self._closed:
                raise SchedulerClosed
            if len(self._waiting) >= self._queue_size:
                raise QueueFull(max(1, math.ceil(len(self._waiting) * self._work_s / len(self._threads))))
            self._waiting.append(entry)
            self._changed.notify()
        try:
            done: Done[T] = await asyncio.shield(entry.future)
            return done
        except asyncio.CancelledError:
            entry.cancel.set()
            self._drop(entry)
            while not entry.future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([entry.future])
            if not entry.future.cancelled():
                entry.future.exception()  # looked at: it isn't reported as lost
            raise

    def close(self) -> None:
        """Refuse new entries, drop the waiting ones, tell the running ones to stop, and wait for the threads."""
        with self._changed:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            for entry in self._running:
                entry.cancel.set()
            self._changed.notify_all()
        for entry in dropped:
            _settle(entry, None, SchedulerClosed())
        for thread in self._threads:
            thread.join()

    def _drop(self, entry: _Entry) -> None:
        with self._changed, contextlib.suppress(ValueError):
            self._waiting.remove(entry)
            entry.future.cancel()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                entry = self._waiting.popleft()
                self._running.add(entry)
            started = time.perf_counter()
            value, error = None, None
            try:
                value = entry.work(entry.cancel)
            except Exception as raised:  # whatever it is, it belongs to the caller, not to this thread
                error = raised
            worked_s = time.perf_counter() - started
            with self._changed:
                self._running.discard(entry)
                self._work_s += 0.2 * (worked_s - self._work_s)
            _settle(entry, Done(value, 1e3 * (started - entry.queued_at)), error)


def _settle(entry: _Entry, done: Done[Any] | None, error: Exception | None) -> None:
    def settle() -> None:
        if entry.future.done():
            return
        if error is not None:
            entry.future.set_exception(error)
        else:
            entry.future.set_result(done)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        entry.loop.call_soon_threadsafe(settle)
