"""In-flight batching: sentences of all requests join the running batches of the engine threads between two steps.

Each sentence goes to the worker with the fewest rows. The next free slot goes to the request with the fewest running
sentences (ties: longest wait since its last slot). A request that already has running sentences may use at most half of
a worker's rows and tokens; the other half is reserved for new requests, so a short request joins at the next step
however long the others are.
"""

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kernels.engine import Engine, Interrupt, Sentence, SentenceResult, set_threads
from service.process import trim_heap
from service.translation.batches import Batches, Turn
from service.translation.cost import NO_COST, Cost, Memory, StageTimings

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)  # upper bounds of the histogram of sentences in a step
LONGEST_RETRY_S = 60
_THROUGHPUT_WINDOW_S = 10.0  # time constant of the exponential moving average, in seconds of work
_DELIVERY_S = 0.005  # the time that a request's results may hold the event loop or a thread, then others' have theirs
_IDLE_S = 1.0  # without work, after which freed memory goes back to the system: 3 of 79 MB after 16 clients


class QueueFull(Exception):
    """The queue is full; carries the seconds after which a retry may find a place."""

    def __init__(self, retry_after_s: int) -> None:
        """Build the sentence; `retry_after_s` is the queue's length at the measured throughput, from 1 to 60."""
        super().__init__(f"The server is at its limit; retry after {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class SchedulerClosed(Exception):
    """Work arrived after the shutdown had begun."""

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__("The server is shutting down; retry elsewhere or later.")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the work; a token counts once for each row of its sentence, except where it is encoded."""

    threads: int
    batch_rows: int = 16  # hypotheses in a step of a thread
    batch_tokens: int = 4096  # of the sentences in a thread
    encode_tokens: int = 64  # source tokens encoded between two steps
    queue_tokens: int = 65536  # waiting


@dataclass(slots=True)
class Load:
    """The waiting and running work, and totals since the start."""

    waiting_sentences: int = 0
    waiting_tokens: int = 0
    running_sentences: int = 0
    steps: list[int] = field(default_factory=lambda: [0] * (len(BATCH_SIZES) + 1))  # by BATCH_SIZES, the rest last
    step_sentences: int = 0  # sum over the steps
    target_tokens: int = 0  # of best translations, eos counted
    left_early: int = 0  # sentences of requests that were cancelled


@dataclass(eq=False, slots=True)
class _Seat:
    """A sentence's slot in a worker, from its assignment until it has left."""

    job: "_Job"
    index: int
    key: int
    worker: "_Worker"
    rows: int
    tokens: int
    joined_at: float | None = None  # seconds of time.perf_counter


class _Span(NamedTuple):
    """The time that a finished sentence spent in its batch, and its result without hypotheses, whose links have MB."""

    joined_at: float
    left_at: float
    result: SentenceResult


@dataclass(eq=False, slots=True)
class _Job:
    """A request: its sentences from `assigned` on wait, those in `seats` run, those in `spans` have finished."""

    engine: Engine
    sentences: Sequence[Sentence]
    ready: Callable[[int, SentenceResult], None]
    loop: asyncio.AbstractEventLoop
    left: asyncio.Future[None]  # no engine thread touches the request any more
    submitted_at: float
    reader: Executor | None  # where `ready` is called; None: on the loop
    assigned: int = 0
    seats: set[_Seat] = field(default_factory=set)
    spans: list[_Span] = field(default_factory=list)
    arrived: deque[tuple[int, SentenceResult]] = field(default_factory=deque)  # not handed over yet
    is_finished: bool = False  # all results are in `arrived`, or were
    cancelled: bool = False  # by its caller, who gets no more results
    error: Exception | None = None


@dataclass(eq=False, slots=True)
class _Worker:
    """The state of an engine thread; the scheduler's lock guards all of it but `interrupt`."""

    wake: threading.Condition
    seats: dict[int, _Seat] = field(default_factory=dict)  # by key; those in `inbox` too
    inbox: deque[_Seat] = field(default_factory=deque)  # to join
    leaving: set[_Seat] = field(default_factory=set)  # to be removed
    rows: int = 0
    tokens: int = 0
    interrupt: Interrupt = field(default_factory=Interrupt)

    def notify(self) -> None:
        """Have the thread read `inbox` and `leaving` after the current step."""
        self.interrupt.set()
        self.wake.notify()


class Scheduler:
    """The engine threads, their running batches, and the queue in front of them."""

    def __init__(self, limits: Limits) -> None:
        """Make the threads; none runs before `start`."""
        self._limits = limits
        self._lock = threading.Lock()
        self._workers = [_Worker(threading.Condition(self._lock)) for _ in range(limits.threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), name=f"translate-{number}")
            for number, worker in enumerate(self._workers)
        ]
        self._keys = itertools.count()
        self._jobs: set[_Job] = set()
        # requests with sentences to assign, by the number of their running sentences, longest waiting first
        self._queues: dict[int, dict[_Job, None]] = {}
        self._load = Load()
        self._closed = False
        self._busy_s = self._done_tokens = 0.0  # moving sums over recent turns

    def start(self) -> None:
        """Start the threads; a thread that works alone also uses the cores of the others for its loops."""
        set_threads(self._limits.threads)
        for thread in self._threads:
            thread.start()

    def load(self) -> Load:
        """Return a copy of the figures."""
        with self._lock:
            return replace(self._load, steps=list(self._load.steps))

    @contextmanager
    def reserve_queue(self, tokens: int, *, is_admitted: bool = False) -> Iterator[None]:
        """Reserve queue capacity for `tokens` while the block runs. An empty queue takes a request of any size.

        Args:
            tokens: estimated source tokens times rows.
            is_admitted: they belong to a request that has been admitted, so a full queue takes them too.

        Raises:
            QueueFull: at once, if the queue has no room for them.
            SchedulerClosed: after `close`.
        """
        with self._lock:
            if self._closed:
                raise SchedulerClosed
            waiting = self._load.waiting_tokens
            if not is_admitted and waiting and waiting + tokens > self._limits.queue_tokens:
                raise QueueFull(self._retry_after_s())
            self._load.waiting_tokens += tokens
        try:
            yield
        finally:
            with self._lock:
                self._load.waiting_tokens -= tokens

    async def run(
        self,
        engine: Engine,
        sentences: Sequence[Sentence],
        ready: Callable[[int, SentenceResult], None],
        reader: Executor | None = None,
    ) -> Cost:
        """Translate sentences, for which the caller had reserved queue capacity while it made them.

        When the caller is cancelled, its sentences leave at the next step. This returns only once no thread uses the
        engine for the caller any more, so that what the caller holds may be released.

        Args:
            engine: must stay open until this returns.
            sentences: any number.
            ready: is called with the number of each sentence and its result, in any order.
            reader: one thread in which it is called; None for this event loop. When the caller is cancelled, the call
                that it is in goes on to its end.

        Returns:
            The cost of the engine's work: its stages, and peak bytes of scratch; no weights.

        Raises:
            SchedulerClosed: after `close`.
            InvalidRequest: the engine refuses a sentence.
            EngineError: the engine failed, for lack of memory say.
        """
        if not sentences:
            return NO_COST
        loop = asyncio.get_running_loop()
        job = _Job(engine, sentences, ready, loop, loop.create_future(), time.perf_counter(), reader)
        with self._lock:
            if self._closed:
                raise SchedulerClosed
            self._jobs.add(job)
            self._load.waiting_sentences += len(sentences)
            self._load.waiting_tokens += sum(map(_tokens, sentences))
            self._enqueue(job)
            self._assign()
        try:
            await asyncio.wait((job.left,))
        except asyncio.CancelledError:
            self._cancel(job)
            while not job.left.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((job.left,))
            raise
        if job.error is not None:
            raise job.error
        return _cost(job)

    def close(self) -> None:
        """Refuse new work, finish what has been accepted, and wait for the threads to end."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.wake.notify()
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join()

    def _work(self, worker: _Worker) -> None:
        """Run the worker loop."""
        batches = Batches()

        def has_work() -> bool:  # the end is work too
            return bool(worker.seats) or (self._closed and not self._jobs)

        while True:
            with self._lock:
                is_idle = not worker.wake.wait_for(has_work, _IDLE_S)
            if is_idle:
                trim_heap()  # without the lock, which the other threads and the event loop need
            with self._lock:
                worker.wake.wait_for(has_work)
                if not worker.seats:
                    return
                leaving = list(worker.leaving)
                worker.leaving.clear()
                joining = [] if leaving else self._joining(worker)
                if not worker.inbox:  # else steps and encoding alternate until everyone has joined
                    worker.interrupt.clear()
            started = time.perf_counter()
            if leaving:  # accounted for at once: the next turn may take long
                batches.remove(seat.key for seat in leaving)
                self._account(worker, leaving, Turn({}, {}, []), started)
                continue
            by_engine: dict[Engine, dict[int, Sentence]] = {}
            for seat in joining:
                by_engine.setdefault(seat.job.engine, {})[seat.key] = seat.job.sentences[seat.index]
            turn = batches.turn(by_engine, worker.interrupt)
            self._account(worker, [], turn, started)

    def _joining(self, worker: _Worker) -> list[_Seat]:
        """Take the next sentences from the inbox, as many as may be encoded between two steps, but at least one."""
        joining: list[_Seat] = []
        tokens, now = 0, time.perf_counter()
        while worker.inbox:
            seat = worker.inbox[0]
            tokens += len(seat.job.sentences[seat.index].ids)
            if joining and tokens > self._limits.encode_tokens:
                break
            worker.inbox.popleft()
            seat.joined_at = now
            self._load.waiting_sentences -= 1
            self._load.waiting_tokens -= seat.tokens
            self._load.running_sentences += 1
            joining.append(seat)
        return joining

    def _account(self, worker: _Worker, leaving: list[_Seat], turn: Turn, started: float) -> None:
        """Free the slots of sentences that left, early or in a turn, assign them again, and deliver results."""
        now = time.perf_counter()
        news: dict[_Job, list[tuple[int, SentenceResult]]] = {seat.job: [] for seat in leaving}
        with self._lock:
            self._load.running_sentences -= len(leaving) + len(turn.results) + len(turn.failures)
            self._load.left_early += len(leaving)
            done_tokens = 0
            for seat in leaving:
                self._free(seat)
            for key, result in turn.results.items():
                seat = worker.seats[key]
                self._free(seat)
                done_tokens += seat.tokens
                if result.hypotheses:
                    self._load.target_tokens += len(result.hypotheses[0].ids) + 1
                assert seat.joined_at is not None
                seat.job.spans.append(_Span(seat.joined_at, now, result._replace(hypotheses=[])))
                news.setdefault(seat.job, []).append((seat.index, result))
            for key, error in turn.failures.items():
                seat = worker.seats[key]
                self._free(seat)
                news.setdefault(seat.job, [])
                self._withdraw(seat.job, error)
            for run in turn.runs:
                self._count(run.steps, run.sentences)
            self._measure(now - started, done_tokens)
            self._assign()
            for job, results in news.items():  # with the lock: the thread that finishes a request delivers last
                job.arrived += results
                job.is_finished |= self._finish(job)
                self._hand_over(job, len(results))

    def _hand_over(self, job: _Job, results: int) -> None:
        """Have so many results delivered."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, or the thread: nobody waits any more
            if job.reader is None:
                job.loop.call_soon_threadsafe(self._deliver, job, results)
            else:
                job.reader.submit(self._deliver, job, results)

    def _deliver(self, job: _Job, results: int) -> None:
        """Deliver so many results, on the event loop or in the reader, in turns with others where that takes long."""
        is_finished = job.is_finished  # first: who sets it has left all results
        ends = time.perf_counter() + _DELIVERY_S
        try:
            while results and job.arrived and not job.cancelled and time.perf_counter() < ends:
                results -= 1
                job.ready(*job.arrived.popleft())
        except Exception as error:  # the caller's
            self._cancel(job, error)
        if results and job.arrived and not job.cancelled:
            self._hand_over(job, results)
        elif is_finished and (job.cancelled or not job.arrived):
            _tell(job)

    def _cancel(self, job: _Job, error: Exception | None = None) -> None:
        """Withdraw a request that its caller has given up, where its results are delivered or on the event loop."""
        job.cancelled = True
        with self._lock:
            self._withdraw(job, error)
            finished = self._finish(job)
        if finished:
            _tell(job)

    # All below: with the lock held.

    def _withdraw(self, job: _Job, error: Exception | None) -> None:
        """Drop the waiting sentences of a request; those that run leave at the next step."""
        job.error = job.error or error
        waiting = job.sentences[job.assigned :]
        self._load.waiting_sentences -= len(waiting)
        self._load.waiting_tokens -= sum(map(_tokens, waiting))
        self._load.left_early += len(waiting)
        self._dequeue(job)
        job.assigned = len(job.sentences)
        for seat in list(job.seats):
            if seat.joined_at is None:
                seat.worker.inbox.remove(seat)
                self._load.waiting_sentences -= 1
                self._load.waiting_tokens -= seat.tokens
                self._load.left_early += 1
                self._free(seat)
            else:
                seat.worker.leaving.add(seat)
                seat.worker.notify()

    def _finish(self, job: _Job) -> bool:
        """Tell, once, that a request has no sentence left."""
        if job.seats or job.assigned < len(job.sentences) or job not in self._jobs:
            return False
        self._jobs.remove(job)
        if self._closed and not self._jobs:
            for worker in self._workers:
                worker.wake.notify()
        return True

    def _enqueue(self, job: _Job) -> None:
        if job.assigned < len(job.sentences):
            self._queues.setdefault(len(job.seats), {})[job] = None

    def _dequeue(self, job: _Job) -> None:
        queue = self._queues.get(len(job.seats), {})
        queue.pop(job, None)
        if not queue:
            self._queues.pop(len(job.seats), None)

    def _assign(self) -> None:
        """Assign slots in order, as long as the next sentence fits somewhere."""
        while self._queues:
            job = next(iter(self._queues[min(self._queues)]))
            worker = min(self._workers, key=lambda worker: worker.rows)
            sentence = job.sentences[job.assigned]
            rows, tokens = sentence.rows, _tokens(sentence)
            share = 2 if job.seats else 1
            fits = (
                share * (worker.rows + rows) <= self._limits.batch_rows
                and share * (worker.tokens + tokens) <= self._limits.batch_tokens
            )
            if worker.seats and not fits:
                return
            self._dequeue(job)
            seat = _Seat(job, job.assigned, next(self._keys), worker, rows, tokens)
            worker.seats[seat.key] = seat
            worker.rows += rows
            worker.tokens += tokens
            worker.inbox.append(seat)
            worker.notify()
            job.seats.add(seat)
            job.assigned += 1
            self._enqueue(job)

    def _free(self, seat: _Seat) -> None:
        self._dequeue(seat.job)
        seat.job.seats.discard(seat)
        self._enqueue(seat.job)
        worker = seat.worker
        del worker.seats[seat.key]
        worker.leaving.discard(seat)
        worker.rows -= seat.rows
        worker.tokens -= seat.tokens

    def _count(self, steps: int, sentences: int) -> None:
        bucket = next((n for n, bound in enumerate(BATCH_SIZES) if sentences <= bound), len(BATCH_SIZES))
        self._load.steps[bucket] += steps
        self._load.step_sentences += steps * sentences

    def _measure(self, busy_s: float, tokens: int) -> None:
        faded = math.exp(-busy_s / _THROUGHPUT_WINDOW_S)
        self._busy_s = faded * self._busy_s + busy_s
        self._done_tokens = faded * self._done_tokens + tokens

    def _retry_after_s(self) -> int:
        if not self._done_tokens:
            return 1
        wait_s = self._load.waiting_tokens * self._busy_s / (self._done_tokens * len(self._workers))
        return min(max(1, math.ceil(wait_s)), LONGEST_RETRY_S)


def _tell(job: _Job) -> None:
    """Tell the caller of a request, on its event loop, that it has left the engine."""

    def tell() -> None:
        if not job.left.done():
            job.left.set_result(None)

    if job.reader is None:
        tell()
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed
        job.loop.call_soon_threadsafe(tell)


def _tokens(sentence: Sentence) -> int:
    return len(sentence.ids) * sentence.rows


def _cost(job: _Job) -> Cost:
    """Sum the shares of a request's sentences; its queue stage ends when the first one joins a batch."""
    results = [span.result for span in job.spans]
    timings = StageTimings.of(
        queue=1e3 * (min(span.joined_at for span in job.spans) - job.submitted_at),
        encode=sum(result.encode_ms for result in results),
        decode=sum(result.decode_ms for result in results),
    )
    return Cost({}, timings, Memory(0, *_peaks(job.spans), 0))


def _peaks(spans: Sequence[_Span]) -> tuple[int, int]:
    """Return the peak bytes of workspace and of KV cache, where each sentence has its own peak all of its time.

    A sentence that leaves at the instant when another joins has given its memory back before.
    """
    events = [(span.joined_at, 1, span.result) for span in spans]
    events += [(span.left_at, -1, span.result) for span in spans]
    workspace = kv_cache = workspace_peak = kv_cache_peak = 0
    for _, sign, result in sorted(events, key=lambda event: event[:2]):
        workspace += sign * result.workspace_peak_bytes
        kv_cache += sign * result.kv_cache_peak_bytes
        workspace_peak, kv_cache_peak = max(workspace_peak, workspace), max(kv_cache_peak, kv_cache)
    return workspace_peak, kv_cache_peak
