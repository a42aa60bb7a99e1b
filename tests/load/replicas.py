"""A simulation of replicas under Poisson arrivals, fed by measured service times.

A replica is a process: one event loop and one engine thread a core, which take turns at the cores. A request passes
the loop, waits for an engine thread, is encoded between two steps, takes a step for each target token in a batch whose
steps are the longer the more rows it has, and passes the loop again. What is left out: the operating system's own
noise, garbage collection, requests of several sentences, beams.
"""

import itertools
import random
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import simpy

from tests.load.figures import percentile

MAX_ROWS = 16  # the service's defaults: service/settings.py
MAX_ENCODE_TOKENS = 64
_LOOP_FIRST, _ENGINE_AFTER = 0, 1
_SLICE_MS = 1.0


@dataclass(frozen=True)
class ServiceTimes:
    """Milliseconds of one core, as `tests.load.capacity` measures them."""

    step_ms: dict[int, float]  # by rows; between two of them on the straight line
    encode_ms: tuple[float, float]  # of a sentence: this, and this for each token
    turn_ms: float  # of the engine thread's Python for each sentence
    loop_ms: float  # of the event loop for each request
    sentences: list[tuple[int, int]]  # source and target tokens of those that are asked for
    wake_ms: dict[float, float] = field(default_factory=dict)  # more for work that finds its core idle so many ms
    outside_ms: float = 0.0  # of a request in no process of the replica: the client and the way to it

    def step(self, rows: int) -> float:
        """Return milliseconds of one step; beyond the largest measured batch in proportion."""
        known = sorted(self.step_ms)
        if rows > known[-1]:
            return self.step_ms[known[-1]] * rows / known[-1]
        return float(np.interp(rows, known, [self.step_ms[n] for n in known]))

    def wake(self, idle_ms: float) -> float:
        """Return the extra milliseconds of the first work after such an idle time, of cold caches and a slept core."""
        known = sorted(self.wake_ms)
        return float(np.interp(idle_ms, [0.0, *known], [0.0, *(self.wake_ms[gap] for gap in known)])) if known else 0.0

    def slowed(self, factor: float) -> "ServiceTimes":
        """Return the times of a machine on which everything takes `factor` times as long."""
        return replace(
            self,
            step_ms={rows: factor * each for rows, each in self.step_ms.items()},
            encode_ms=(factor * self.encode_ms[0], factor * self.encode_ms[1]),
            turn_ms=factor * self.turn_ms,
            loop_ms=factor * self.loop_ms,
            wake_ms={gap: factor * each for gap, each in self.wake_ms.items()},
            outside_ms=factor * self.outside_ms,
        )


@dataclass(eq=False, slots=True)
class _Sentence:
    tokens: int
    steps: int
    configuration: int
    ended: simpy.Event


class _Replica:
    """`cores` engine threads and one event loop on as many cores."""

    def __init__(self, env: simpy.Environment, times: ServiceTimes, cores: int) -> None:
        self._env, self._times = env, times
        self._cores = simpy.PriorityResource(env, cores)
        self._idle_since = [0.0] * cores  # of the cores that are idle, the last one to become so at the end
        self._loop = simpy.Resource(env, 1)
        self._queue = simpy.Store(env)
        self._steps = {rows: times.step(rows) for rows in range(MAX_ROWS + 1)}
        self.requests = 0  # here now
        for _ in range(cores):
            env.process(self._thread())

    def request(self, tokens: int, steps: int, configuration: int, latencies: list[float]) -> Generator[Any, Any, None]:
        started = self._env.now
        self.requests += 1
        yield from self._on_loop(self._times.loop_ms / 2)
        sentence = _Sentence(tokens, steps, configuration, self._env.event())
        yield self._queue.put(sentence)
        yield sentence.ended
        yield from self._on_loop(self._times.loop_ms / 2)
        self.requests -= 1
        latencies.append(self._env.now - started + self._times.outside_ms)

    def _on_loop(self, milliseconds: float) -> Generator[Any, Any, None]:
        with self._loop.request() as turn:
            yield turn
            yield from self._on_core(milliseconds, _LOOP_FIRST)

    def _on_core(self, milliseconds: float, priority: int) -> Generator[Any, Any, None]:
        """Use a core in slices, so that the event loop, which sleeps more, soon gets one, as the kernel sees to it."""
        while milliseconds > 0:
            with self._cores.request(priority=priority) as core:
                yield core
                milliseconds += self._times.wake(self._env.now - self._idle_since.pop())
                yield self._env.timeout(min(milliseconds, _SLICE_MS))
                self._idle_since.append(self._env.now)
            milliseconds -= _SLICE_MS

    def _thread(self) -> Generator[Any, Any, None]:
        running: list[_Sentence] = []
        fixed, for_token = self._times.encode_ms
        while True:
            joining: list[_Sentence] = []
            if not running:
                joining.append((yield self._queue.get()))
            waiting = self._queue.items
            while waiting and len(running) + len(joining) < MAX_ROWS:
                if joining and sum(s.tokens for s in joining) + waiting[0].tokens > MAX_ENCODE_TOKENS:
                    break
                joining.append(waiting.pop(0))
            running += joining
            encode = sum(fixed + for_token * sentence.tokens + self._times.turn_ms for sentence in joining)
            rows: dict[int, int] = {}  # the batches of configurations alternate: a step of each
            for sentence in running:
                rows[sentence.configuration] = rows.get(sentence.configuration, 0) + 1
            step = sum(self._steps[n] for n in rows.values())
            yield from self._on_core(encode + step, _ENGINE_AFTER)
            for sentence in running:
                sentence.steps -= 1
                if sentence.steps == 0:
                    sentence.ended.succeed()
            running = [sentence for sentence in running if sentence.steps]


def simulate(
    times: ServiceTimes,
    rate: float,
    requests: int,
    *,
    cores: int = 1,
    replicas: int = 1,
    configurations: int = 1,
    seed: int = 0,
) -> list[float]:
    """Return latencies in ms, ascending, of so many requests that arrive at `rate` a second; wait for all.

    Args:
        cores: of each replica.
        replicas: behind a balancer that picks the one with the fewest requests.
        configurations: live in each replica, asked for equally often.
    """
    chance = random.Random(seed)
    at = itertools.accumulate(chance.expovariate(rate / 1e3) for _ in range(requests))
    asked = ((ms, chance.choice(times.sentences)) for ms in at)
    return _run(times, asked, cores=cores, replicas=replicas, configurations=configurations)


def replay(times: ServiceTimes, at_s: Iterable[float], first: int = 0, *, cores: int = 1) -> list[float]:
    """Return latencies in ms, ascending, of requests that arrive at these seconds, for sentences from the first on."""
    sentences = itertools.islice(itertools.cycle(times.sentences), first, None)
    asked = zip((1e3 * at for at in at_s), sentences, strict=False)
    return _run(times, asked, cores=cores, replicas=1, configurations=1)


def _run(
    times: ServiceTimes,
    asked: Iterable[tuple[float, tuple[int, int]]],
    *,
    cores: int,
    replicas: int,
    configurations: int,
) -> list[float]:
    env = simpy.Environment()
    pool = [_Replica(env, times, cores) for _ in range(replicas)]
    latencies: list[float] = []

    def arrive() -> Generator[Any, Any, None]:
        running = []
        for number, (at_ms, (tokens, steps)) in enumerate(asked):
            yield env.timeout(at_ms - env.now)
            replica = min(pool, key=lambda each: each.requests)
            running.append(env.process(replica.request(tokens, steps, number % configurations, latencies)))
        yield env.all_of(running)

    env.run(env.process(arrive()))
    return sorted(latencies)


def highest_rate(times: ServiceTimes, limit_ms: float, requests: int = 4000, **replica: int) -> float:
    """Find the highest rate a second at which the 99th percentile stays below the limit, to 3 %."""

    def good(rate: float) -> bool:
        return percentile(simulate(times, rate, max(requests, int(5 * rate)), **replica), 99) < limit_ms

    tokens, steps = (sum(side) / len(times.sentences) for side in zip(*times.sentences, strict=True))
    alone = times.encode_ms[0] + times.encode_ms[1] * tokens + times.turn_ms + times.loop_ms + steps * times.step(1)
    low = high = 1e3 / alone * replica.get("cores", 1)
    while good(high):
        low, high = high, 1.5 * high
    while not good(low):
        low, high = low / 1.5, low
    while high / low > 1.03:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if good(middle) else (low, middle)
    return float(low)
