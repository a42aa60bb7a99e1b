"""The queue: order, bound, cancellation, shutdown. Events hold the workers, nothing sleeps."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from kernels.engine import CancelFlag
from service.scheduler import QueueFull, Scheduler, SchedulerClosed


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    one = Scheduler(threads=1, queue_size=2)
    one.start()
    yield one
    one.close()


class Gate:
    """Work that says when it has begun and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.flag: CancelFlag | None = None

    def __call__(self, cancel: CancelFlag) -> str:
        self.flag = cancel
        self.begun.set()
        assert self.end.wait(60)
        return "through"

    async def entered(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 60)


async def _queued(scheduler: Scheduler, count: int) -> None:
    while scheduler.waiting != count:
        await asyncio.sleep(0)


def test_results_and_errors_come_back(scheduler: Scheduler) -> None:
    async def scenario() -> None:
        done = await scheduler.run(lambda _: 6 * 7)
        assert done.value == 42
        assert done.queue_ms >= 0
        with pytest.raises(ZeroDivisionError):
            await scheduler.run(lambda _: 1 // 0)
        assert (await scheduler.run(lambda _: "still there")).value == "still there"

    asyncio.run(scenario())


def test_entries_are_served_in_order_and_the_bound_holds(scheduler: Scheduler) -> None:
    async def scenario() -> None:
        gate, order = Gate(), list[int]()
        first = asyncio.create_task(scheduler.run(gate))
        await gate.entered()
        waiting = [asyncio.create_task(scheduler.run(lambda _, n=n: order.append(n))) for n in range(2)]
        await _queued(scheduler, 2)
        with pytest.raises(QueueFull) as refused:
            await scheduler.run(lambda _: None)
        assert refused.value.retry_after_s >= 1
        gate.end.set()
        await asyncio.gather(first, *waiting)
        assert order == [0, 1]

    asyncio.run(scenario())


def test_a_cancelled_entry_never_starts_and_leaves_its_place(scheduler: Scheduler) -> None:
    async def scenario() -> None:
        gate, started = Gate(), threading.Event()
        first = asyncio.create_task(scheduler.run(gate))
        await gate.entered()
        second = asyncio.create_task(scheduler.run(lambda _: started.set()))
        await _queued(scheduler, 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert scheduler.waiting == 0
        gate.end.set()
        await first
        await scheduler.run(lambda _: None)  # behind it in the queue: it has had its chance
        assert not started.is_set()

    asyncio.run(scenario())


def test_cancelling_running_work_returns_only_when_the_worker_has_let_go(scheduler: Scheduler) -> None:
    async def scenario() -> None:
        gate = Gate()
        running = asyncio.create_task(scheduler.run(gate))
        await gate.entered()
        for _ in range(3):  # more than once, as a shutdown may
            running.cancel()
            await asyncio.sleep(0)
        assert not running.done()
        gate.end.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())


def test_close_drops_what_waits_and_refuses_what_comes() -> None:
    async def scenario() -> None:
        scheduler = Scheduler(threads=1, queue_size=2)
        scheduler.start()
        gate = Gate()
        running = asyncio.create_task(scheduler.run(gate))
        await gate.entered()
        waiting = asyncio.create_task(scheduler.run(lambda _: None))
        await _queued(scheduler, 1)
        closing = asyncio.create_task(asyncio.to_thread(scheduler.close))
        with pytest.raises(SchedulerClosed):
            await waiting
        with pytest.raises(SchedulerClosed):
            await scheduler.run(lambda _: None)
        gate.end.set()
        assert (await running).value == "through"
        await closing

    asyncio.run(scenario())
