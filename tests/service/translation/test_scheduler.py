"""In-flight batching over the real engine. Where the moment matters a gate holds the steps; nothing sleeps."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernels.engine import Batch, Engine, EngineError, InvalidRequest, Sentence, SentenceResult
from models.format.directory import open_model
from service.live.configurations import by_name
from service.translation.cost import NO_COST
from service.translation.scheduler import _DELIVERY_S, Limits, QueueFull, Scheduler, SchedulerClosed, _peaks, _Span
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.service.running import Gate, held_steps

EOS = 0


def engine_of(model: Path, configuration: str) -> Engine:
    directory = open_model(model)
    return Translator(directory, Tokenizer(directory), *by_name(directory, configuration), max_batch_tokens=1)._engine


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return engine_of(tiny_model, "full")


@contextmanager
def running(limits: Limits) -> Iterator[Scheduler]:
    scheduler = Scheduler(limits)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.close()


def nothing(index: int, result: SentenceResult) -> None:
    """Ignore a result, for those who only wait for the end."""


def sentence(steps: int = 30, beam_size: int = 1) -> Sentence:
    """Make a sentence that takes exactly so many steps."""
    return Sentence([5, 9, 31, EOS], steps, beam_size=beam_size, min_length=steps)


def random_sentence(choose: random.Random) -> Sentence:
    beam_size = choose.choice([1, 1, 2, 4, 8])
    ids = [*choose.choices(range(2, 100), k=choose.randint(0, 30)), EOS]
    return Sentence(ids, choose.randint(1, 40), beam_size, choose.randint(1, beam_size))


def alone(engine: Engine, asked: Sentence) -> list[object]:
    (hypotheses,) = engine.translate(
        [asked.ids],
        max_lengths=[asked.max_length],
        beam_size=asked.beam_size,
        num_hypotheses=asked.num_hypotheses,
        length_penalty=asked.length_penalty,
        min_length=asked.min_length,
    ).hypotheses
    return list(hypotheses)


async def translated(scheduler: Scheduler, engine: Engine, sentences: Sequence[Sentence]) -> list[list[object]]:
    found: dict[int, list[object]] = {}
    await scheduler.run(engine, sentences, lambda index, result: found.update({index: list(result.hypotheses)}))
    return [found[index] for index in range(len(sentences))]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def reached(gate: Gate) -> None:
    await asyncio.to_thread(gate.reached)


async def held(
    scenario: Callable[[Scheduler, Gate], Coroutine[None, None, None]], scheduler: Scheduler, gate: Gate
) -> None:
    """Play a scenario; where it fails, those whom the gate holds need not be waited for."""
    try:
        await scenario(scheduler, gate)
    finally:
        gate.open()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_request_gets_what_the_engine_gives_it_alone(tiny_model: Path, threads: int, seed: int) -> None:
    choose = random.Random(seed)
    engines = [engine_of(tiny_model, name) for name in ("full", "half")]
    requests = [
        (choose.choice(engines), [random_sentence(choose) for _ in range(choose.choice([1, 1, 2, 12]))])
        for _ in range(40)
    ]
    leaving = set(choose.sample(range(40), 8))

    async def scenario(scheduler: Scheduler) -> None:
        tasks = []
        for number, (engine, sentences) in enumerate(requests):
            tasks.append(asyncio.create_task(translated(scheduler, engine, sentences)))
            if number % 3 == 0:
                await asyncio.sleep(0)
            if number in leaving:
                tasks[-1].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for number, ((engine, sentences), hypotheses) in enumerate(zip(requests, found, strict=True)):
            if number in leaving:
                assert isinstance(hypotheses, asyncio.CancelledError)
            else:
                assert hypotheses == [alone(engine, asked) for asked in sentences]
        load = scheduler.load()
        assert (load.waiting_sentences, load.waiting_tokens, load.running_sentences) == (0, 0, 0)

    with running(Limits(threads, batch_rows=12, batch_tokens=300, encode_tokens=40)) as scheduler:
        asyncio.run(scenario(scheduler))
        assert all(not worker.seats and worker.rows == worker.tokens == 0 for worker in scheduler._workers)


def test_a_short_request_joins_at_the_next_step_and_overtakes_the_document(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        document = asyncio.create_task(scheduler.run(engine, [sentence(50)] * 40, nothing))
        for _ in range(3):
            await reached(gate)
            gate.let_through()
        await reached(gate)
        assert scheduler.load().running_sentences == 4  # half of the rows, though it has the thread to itself
        short = asyncio.create_task(scheduler.run(engine, [sentence(2)], nothing))
        await until(lambda: scheduler.load().waiting_sentences == 37)
        gate.let_through()  # the step that was about to be taken
        await reached(gate)
        assert scheduler.load().running_sentences == 5  # in the next one it takes part
        gate.let_through()
        await reached(gate)
        gate.let_through()
        await short
        assert not document.done()
        gate.open()
        await document

    with held_steps() as gate, running(Limits(1, batch_rows=8)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))


def test_the_request_with_the_fewest_running_sentences_is_next(engine: Engine) -> None:
    order: list[str] = []

    async def ask(scheduler: Scheduler, name: str, count: int) -> None:
        await scheduler.run(engine, [sentence(3)] * count, lambda index, result: order.append(name))

    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        tasks = [asyncio.create_task(ask(scheduler, "a", 6))]
        await reached(gate)
        tasks += [asyncio.create_task(ask(scheduler, name, count)) for name, count in (("b", 3), ("c", 1))]
        await until(lambda: scheduler.load().waiting_sentences == 9)
        gate.open()
        await asyncio.gather(*tasks)

    # one place at a time: the requests take turns, and nobody waits for all of another
    with held_steps() as gate, running(Limits(1, batch_rows=1)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))
    assert "".join(order) == "abcabab" + "aaa"


def test_the_loop_goes_round_between_results_that_take_long(engine: Engine) -> None:
    """Sentences that end in one step are not one pause; all have come, in order, when the request has ended."""
    seen: list[tuple[int, int]] = []
    rounds = 0

    async def count(done: asyncio.Event) -> None:
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            await asyncio.sleep(0)

    def slow(index: int, result: SentenceResult) -> None:
        seen.append((index, rounds))
        ends = time.perf_counter() + 2 * _DELIVERY_S
        while time.perf_counter() < ends:
            pass

    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        done = asyncio.Event()
        counting = asyncio.create_task(count(done))
        request = asyncio.create_task(scheduler.run(engine, [sentence(3)] * 8, slow))
        await reached(gate)
        gate.open()
        await request
        assert sorted(index for index, _ in seen) == list(range(8))
        done.set()
        await counting

    with held_steps() as gate, running(Limits(1, batch_rows=16)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))
    assert len({at for _, at in seen}) >= 4


def test_of_two_requests_that_run_the_one_with_fewer_sentences_is_next(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        sentences = [sentence(3), sentence(3), *[sentence()] * 8]
        many = asyncio.create_task(scheduler.run(engine, sentences, nothing))
        await reached(gate)  # four run: half of the rows
        few = asyncio.create_task(scheduler.run(engine, [sentence()] * 2, nothing))
        await until(lambda: scheduler.load().waiting_sentences == 8)
        for _ in range(4):  # until the two short ones have ended
            gate.let_through()
            await reached(gate)
        assert [len(job.seats) for job in scheduler._jobs] == [2, 2]  # not 3 and 1
        gate.open()
        await asyncio.gather(many, few)

    with held_steps() as gate, running(Limits(1, batch_rows=8)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))


def test_a_request_is_spread_over_the_threads(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        task = asyncio.create_task(scheduler.run(engine, [sentence(4)] * 6, nothing))
        for _ in range(3):
            await reached(gate)  # each thread waits before a step of its own
        assert [worker.rows for worker in scheduler._workers] == [2, 2, 2]
        gate.open()
        await task

    with held_steps() as gate, running(Limits(3)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))


def test_engines_take_turns_in_one_thread(tiny_model: Path) -> None:
    engines = [engine_of(tiny_model, name) for name in ("full", "narrow")]
    turns: list[int] = []

    async def scenario(scheduler: Scheduler, patch: pytest.MonkeyPatch) -> None:
        gate = threading.Semaphore(0)
        step = Batch.step

        def watched(batch: Batch, *arguments: object) -> object:
            if not turns:
                assert gate.acquire(timeout=60)  # until the other is there
            turns.append(engines.index(batch._engine))
            return step(batch, *arguments)  # type: ignore[arg-type]

        patch.setattr(Batch, "step", watched)
        sentences = [sentence(10), sentence(10)]
        first = asyncio.create_task(translated(scheduler, engines[0], sentences))
        await until(lambda: scheduler.load().running_sentences == 2)
        second = asyncio.create_task(translated(scheduler, engines[1], sentences))
        await until(lambda: scheduler.load().waiting_sentences == 2)
        gate.release()
        assert await first == [alone(engines[0], asked) for asked in sentences]
        assert await second == [alone(engines[1], asked) for asked in sentences]

    with pytest.MonkeyPatch.context() as patch, running(Limits(1)) as scheduler:
        asyncio.run(scenario(scheduler, patch))
    assert turns[1:19] == [0, 1] * 9


@pytest.mark.parametrize("budget", [8, 10])  # two sentences fill it exactly, or leave less than a third one takes
def test_steps_go_on_between_the_encoding_of_many(engine: Engine, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    calls: list[int] = []  # tokens of an encoder pass; 0: a step
    add, step = Batch.add, Batch.step

    def counted_add(batch: Batch, sentences: dict[int, Sentence]) -> None:
        calls.append(sum(len(asked.ids) for asked in sentences.values()))
        add(batch, sentences)

    def counted_step(batch: Batch, *arguments: object) -> object:
        calls.append(0)
        return step(batch, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Batch, "add", counted_add)
    monkeypatch.setattr(Batch, "step", counted_step)
    long = Sentence([*[5] * 29, EOS], 40, min_length=40)
    with running(Limits(1, encode_tokens=budget)) as scheduler:
        asyncio.run(scheduler.run(engine, [sentence(40)] * 5 + [long], nothing))
    assert [tokens for tokens in calls if tokens] == [8, 8, 4, 30]  # what fits; one that doesn't goes alone
    assert all(calls[number + 1] == 0 for number, tokens in enumerate(calls) if tokens)


def test_a_full_queue_refuses_at_once_and_an_empty_one_takes_anything(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        first = asyncio.create_task(scheduler.run(engine, [sentence()], nothing))
        await reached(gate)
        with scheduler.reserve_queue(1_000_000):
            assert scheduler.load().waiting_tokens == 1_000_000
            with pytest.raises(QueueFull) as refused, scheduler.reserve_queue(1):
                pass
            assert 1 <= refused.value.retry_after_s <= 60
        with (
            scheduler.reserve_queue(60),
            scheduler.reserve_queue(40),
            pytest.raises(QueueFull),
            scheduler.reserve_queue(1),
        ):
            pass
        gate.open()
        await first
        assert scheduler.load().waiting_tokens == 0

    with held_steps() as gate, running(Limits(1, queue_tokens=100)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))


def test_retry_after_is_the_queue_at_the_measured_throughput(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler) -> None:
        await scheduler.run(engine, [sentence(40, beam_size=4)] * 20, nothing)
        tokens_a_second = scheduler._done_tokens / scheduler._busy_s  # of one thread
        assert scheduler._done_tokens > 0.9 * 20 * 4 * 4
        queue = int(20 * 2 * tokens_a_second)
        with scheduler.reserve_queue(queue), pytest.raises(QueueFull) as refused, scheduler.reserve_queue(1):
            pass
        assert refused.value.retry_after_s == pytest.approx(20, abs=1)

    with running(Limits(2, queue_tokens=1)) as scheduler:
        asyncio.run(scenario(scheduler))


def throughput(*turns: tuple[float, int]) -> Scheduler:
    """Make a scheduler that measured turns of so many seconds and tokens; its queue is full from one token on."""
    scheduler = Scheduler(Limits(1, queue_tokens=1))
    for busy_s, tokens in turns:
        scheduler._measure(busy_s, tokens)
    return scheduler


def retry_after(scheduler: Scheduler, waiting: int) -> int:
    with scheduler.reserve_queue(waiting), pytest.raises(QueueFull) as refused, scheduler.reserve_queue(1):
        pass
    return refused.value.retry_after_s


def test_the_throughput_is_that_of_late() -> None:
    scheduler = throughput((1000.0, 1000), (100.0, 1_000_000))  # a token a second, then 10,000
    assert retry_after(scheduler, 200_000) == pytest.approx(20, abs=1)


@pytest.mark.parametrize(("waiting", "seconds"), [(1, 1), (59, 59), (60, 60), (61, 60), (1_000_000, 60)])
def test_nobody_is_told_to_wait_longer_than_a_minute(waiting: int, seconds: int) -> None:
    assert retry_after(throughput((1.0, 1)), waiting) == seconds


def test_who_leaves_frees_the_places_at_the_next_step(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        delivered: list[int] = []
        leaver = asyncio.create_task(
            scheduler.run(engine, [sentence()] * 9, lambda index, result: delivered.append(index))
        )
        stayer = asyncio.create_task(translated(scheduler, engine, [sentence(20)]))
        await until(lambda: scheduler.load().waiting_sentences + scheduler.load().running_sentences == 10)
        await reached(gate)
        gate.let_through()
        await reached(gate)
        assert scheduler.load().running_sentences == 5
        for _ in range(3):  # more than once, as a shutdown may
            leaver.cancel()
            await asyncio.sleep(0)
        assert scheduler.load().waiting_sentences == 0  # those who wait are gone at once
        assert not leaver.done()  # a thread still touches the engine
        gate.let_through()
        with pytest.raises(asyncio.CancelledError):
            await leaver  # before any further step
        await reached(gate)
        assert scheduler.load().running_sentences == 1
        assert scheduler.load().left_early == 9
        gate.open()
        assert await stayer == [alone(engine, sentence(20))]
        assert delivered == []

    with held_steps() as gate, running(Limits(1, batch_rows=8)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))


def test_one_s_fault_is_not_the_others(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        blocker = asyncio.create_task(scheduler.run(engine, [sentence(3)], nothing))
        await reached(gate)
        good = asyncio.create_task(translated(scheduler, engine, [sentence()]))
        bad = asyncio.create_task(scheduler.run(engine, [sentence(), Sentence([10**6, EOS], 5), sentence()], nothing))
        await until(lambda: scheduler.load().waiting_sentences == 4)  # all join together
        gate.open()
        with pytest.raises(InvalidRequest, match="outside the vocabulary"):
            await bad
        assert await good == [alone(engine, sentence())]
        await blocker

    with held_steps() as gate, running(Limits(1)) as scheduler:
        asyncio.run(held(scenario, scheduler, gate))


def test_a_batch_that_fails_takes_only_those_in_it_along(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(batch: Batch, *arguments: object) -> object:
        raise EngineError("Out of memory.")

    async def scenario(scheduler: Scheduler) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Batch, "step", failing)
            with pytest.raises(EngineError, match="Out of memory"):
                await scheduler.run(engine, [sentence()] * 40, nothing)
        assert await translated(scheduler, engine, [sentence()]) == [alone(engine, sentence())]
        assert scheduler.load().running_sentences == 0

    with running(Limits(1)) as scheduler:
        asyncio.run(scenario(scheduler))


def test_an_engine_that_fails_leaves_the_others_running(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = (engine_of(tiny_model, name) for name in ("full", "half"))
    together, step, calls = threading.Semaphore(0), Batch.step, 0

    def failing(batch: Batch, *arguments: object) -> object:
        nonlocal calls
        calls += batch._engine is bad
        if batch._engine is bad and calls == 1:
            assert together.acquire(timeout=60)  # until the other waits to join
        if batch._engine is bad and calls == 2:
            raise EngineError("Out of memory.")
        return step(batch, *arguments)  # type: ignore[arg-type]

    async def scenario(scheduler: Scheduler) -> None:
        first = asyncio.create_task(translated(scheduler, bad, [sentence()]))
        await until(lambda: scheduler.load().running_sentences == 1)
        second = asyncio.create_task(translated(scheduler, good, [sentence()]))
        await until(lambda: scheduler.load().waiting_sentences == 1)
        together.release()
        with pytest.raises(EngineError, match="Out of memory"):
            await first
        assert await second == [alone(good, sentence())]

    monkeypatch.setattr(Batch, "step", failing)
    with running(Limits(1)) as scheduler:
        asyncio.run(scenario(scheduler))


@pytest.mark.parametrize("has_reader", [False, True])
def test_an_error_of_the_receiver_ends_the_request(engine: Engine, has_reader: bool) -> None:
    def receive(index: int, result: SentenceResult) -> None:
        raise ZeroDivisionError

    async def scenario(scheduler: Scheduler, reader: ThreadPoolExecutor | None) -> None:
        with pytest.raises(ZeroDivisionError):
            await scheduler.run(engine, [sentence()] * 40, receive, reader)
        assert await translated(scheduler, engine, [sentence()]) == [alone(engine, sentence())]

    with running(Limits(1)) as scheduler, ThreadPoolExecutor(1) as reader:
        asyncio.run(scenario(scheduler, reader if has_reader else None))


def test_a_reader_gets_the_results_in_its_thread_and_the_loop_goes_on(engine: Engine) -> None:
    """The reader is held at its first result, and the others wait for it, not the event loop nor other requests."""
    held, reading = threading.Event(), threading.Event()
    found: dict[int, list[object]] = {}
    threads: set[str] = set()

    def receive(index: int, result: SentenceResult) -> None:
        reading.set()
        assert held.wait(60)
        found[index] = list(result.hypotheses)
        threads.add(threading.current_thread().name)

    async def scenario(scheduler: Scheduler, reader: ThreadPoolExecutor) -> None:
        request = asyncio.create_task(scheduler.run(engine, [sentence(3), sentence(9)], receive, reader))
        await asyncio.to_thread(reading.wait)
        assert await translated(scheduler, engine, [sentence()]) == [alone(engine, sentence())]
        assert not request.done()
        held.set()
        await request

    with running(Limits(1)) as scheduler, ThreadPoolExecutor(1, "reader") as reader:
        asyncio.run(scenario(scheduler, reader))
    assert found == {0: alone(engine, sentence(3)), 1: alone(engine, sentence(9))}
    assert threads == {"reader_0"}


def test_who_is_cancelled_waits_for_the_call_of_its_reader(engine: Engine) -> None:
    held, reading = threading.Event(), threading.Event()
    received: list[int] = []

    def receive(index: int, result: SentenceResult) -> None:
        reading.set()
        assert held.wait(60)
        received.append(index)

    async def scenario(scheduler: Scheduler, reader: ThreadPoolExecutor) -> None:
        request = asyncio.create_task(scheduler.run(engine, [sentence(3)] * 9, receive, reader))
        await asyncio.to_thread(reading.wait)
        await until(lambda: not scheduler._jobs)  # the engine has done all of it
        request.cancel()
        for _ in range(9):
            await asyncio.sleep(0)
        assert not request.done()
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert len(received) == 1

    with running(Limits(1)) as scheduler, ThreadPoolExecutor(1, "reader") as reader:
        asyncio.run(scenario(scheduler, reader))


def test_close_finishes_what_there_is_and_refuses_what_comes(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler, gate: Gate) -> None:
        tasks = [asyncio.create_task(translated(scheduler, engine, [sentence(9)] * 5)) for _ in range(4)]
        await reached(gate)
        closing = asyncio.create_task(asyncio.to_thread(scheduler.close))
        await until(lambda: scheduler._closed)
        with pytest.raises(SchedulerClosed), scheduler.reserve_queue(1):
            pass
        with pytest.raises(SchedulerClosed):
            await scheduler.run(engine, [sentence()], nothing)
        assert not any(task.done() for task in tasks)
        gate.open()
        assert await asyncio.gather(*tasks) == [[alone(engine, sentence(9))] * 5] * 4
        await closing

    with held_steps() as gate:
        scheduler = Scheduler(Limits(2, batch_rows=4))
        scheduler.start()
        asyncio.run(held(scenario, scheduler, gate))


def test_the_cost_of_a_request_is_what_its_sentences_cost(engine: Engine) -> None:
    async def scenario(scheduler: Scheduler) -> None:
        results: list[SentenceResult] = []
        cost = await scheduler.run(engine, [sentence(9)] * 3, lambda index, result: results.append(result))
        assert cost.latency_ms.encode == pytest.approx(sum(result.encode_ms for result in results), abs=1e-3)
        assert cost.latency_ms.decode == pytest.approx(sum(result.decode_ms for result in results), abs=1e-3)
        assert cost.latency_ms.queue > 0
        # all three ran together
        assert cost.memory.workspace_peak_bytes == sum(result.workspace_peak_bytes for result in results)
        assert cost.memory.kv_cache_peak_bytes == sum(result.kv_cache_peak_bytes for result in results)

        results.clear()
        one_by_one = await scheduler.run(
            engine, [sentence(9, beam_size=20)] * 3, lambda index, result: results.append(result)
        )
        assert one_by_one.memory.kv_cache_peak_bytes == max(result.kv_cache_peak_bytes for result in results)
        assert one_by_one.memory.workspace_peak_bytes == max(result.workspace_peak_bytes for result in results)

    with running(Limits(1, batch_rows=16)) as scheduler:
        asyncio.run(scenario(scheduler))


def test_who_leaves_as_another_joins_has_given_its_memory_back() -> None:
    def result(workspace: int, kv_cache: int) -> SentenceResult:
        return SentenceResult([], 0.0, 0.0, workspace, kv_cache)

    spans = [_Span(0.0, 1.0, result(100, 10)), _Span(1.0, 2.0, result(70, 20)), _Span(1.5, 3.0, result(20, 5))]
    assert _peaks(spans) == (100, 25)


def test_nothing_to_translate_costs_nothing(engine: Engine) -> None:
    scheduler = Scheduler(Limits(1))
    assert asyncio.run(scheduler.run(engine, [], nothing)) == NO_COST


def test_the_counts_of_steps_and_tokens(engine: Engine) -> None:
    with running(Limits(1)) as scheduler:
        asyncio.run(scheduler.run(engine, [sentence(10)] * 3, nothing))
        load = scheduler.load()
    assert load.steps[2] == sum(load.steps) == 10  # three sentences are in the bucket up to four
    assert load.step_sentences == 30
    assert load.target_tokens == 3 * 11


def test_idle_threads_sleep(engine: Engine) -> None:
    with running(Limits(2)) as scheduler:
        asyncio.run(scheduler.run(engine, [sentence()] * 4, nothing))
        clocks = [time.pthread_getcpuclockid(thread.ident) for thread in scheduler._threads if thread.ident]
        before = [time.clock_gettime(clock) for clock in clocks]
        started = time.thread_time()
        while time.thread_time() < started + 0.2:  # threads that spin would get at least half as much
            pass
        assert all(time.clock_gettime(clock) - then < 0.02 for clock, then in zip(clocks, before, strict=True))
