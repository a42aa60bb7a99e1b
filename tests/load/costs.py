"""What a request costs a running server, and its latencies against the rate, measured in turns.

A machine that others share drifts by a third within seconds. So the costs are medians over all the time in which the
curve is measured; the curve is made of pieces of two seconds, the rates taking turns; and each piece has a slowness: by
what factor the closed loops before and after it took longer than in the median.
"""

import asyncio
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.load.client import Client, closed_loop, run
from tests.load.figures import Tally
from tests.load.open_loop import arrivals, open_loop
from tests.load.processes import Server
from tests.load.replicas import MAX_ROWS

SHARES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9)  # of the saturated throughput; above, a latency is how long one has measured
PIECE_S = 2.0
CLOSED_S = 0.5
PAUSES_MS = (2.0, 10.0, 50.0)
ALONE, FULL = (1, 0.0), (MAX_ROWS, 0.0)  # clients, and the pause of each in ms
_NS = 1e-6  # milliseconds


@dataclass(frozen=True)
class Costs:
    """Milliseconds a request."""

    engine_alone_ms: float  # processor time of the threads beside the event loop, one request at a time
    loop_ms: float  # processor time of the event loop while all rows are full
    wake_ms: dict[float, float]  # processor time that a request takes more when the server was idle so long before it
    outside_ms: float  # of one request at a time, what is in no thread of the server
    full_ms: float  # from one answer to the next while all rows are full


@dataclass(frozen=True)
class Threads:
    """Milliseconds a request of one load: processor time of the event loop, of the other threads, and wall time."""

    loop_ms: float
    others_ms: float
    wall_ms: float


def costs_and_curve(server: Server, requests: list[bytes], pieces: int) -> tuple[Costs, list[dict[str, Any]]]:
    """Return the costs, and the curve's points, slowest first, each of so many pieces."""
    _closed(server, requests, MAX_ROWS)  # warm
    saturated = 1e3 / _closed(server, requests, MAX_ROWS).wall_ms
    rates = [round(share * saturated, 1) for share in SHARES]
    tallies = [Tally() for _ in rates]
    loads: dict[tuple[int, float], list[Threads]] = defaultdict(list)
    probes: list[list[tuple[float, float]]] = []  # of each round: alone and full, before the first piece and after each
    for seed in range(pieces):
        for pause in PAUSES_MS:
            loads[1, pause].append(_threads(server, _paced(server.url, requests, pause)))
        probes.append([])
        for rate, tally in zip([0.0, *rates], [None, *tallies], strict=True):
            if tally is not None:
                first = first_request(seed, len(requests))
                times = arrivals(rate, PIECE_S, seed)
                tally.merge(run(open_loop(server.url, requests[first:] + requests[:first], times))[0])
            for load in (ALONE, FULL):
                loads[load].append(_closed(server, requests, load[0]))
            probes[-1].append((loads[ALONE][-1].wall_ms, loads[FULL][-1].wall_ms))
        print(f"{server.name}: round {seed + 1} of {pieces}", flush=True)
    usual = {load: _median(each) for load, each in loads.items()}
    points = []
    for number, (rate, tally) in enumerate(zip(rates, tallies, strict=True)):
        slowness = [
            statistics.mean(
                (alone / usual[ALONE].wall_ms + full / usual[FULL].wall_ms) / 2
                for alone, full in each[number : number + 2]
            )
            for each in probes
        ]
        point = {"arrivals_per_second": rate, "slowness": [round(each, 3) for each in slowness]}
        points.append(point | tally.figures(pieces * PIECE_S))
        print(f"{server.name}: {rate}/s -> {points[-1]['latency_ms']}", flush=True)
    return costs_of(usual), points


def first_request(seed: int, requests: int) -> int:
    """Choose the request that a piece begins with, so that not every piece asks for the same ones."""
    return 97 * seed % requests


def costs_of(usual: dict[tuple[int, float], Threads]) -> Costs:
    """Fit the cost of requests to each load's usual figures: clients and the pause of each in ms -> of a request."""
    alone, full = usual[ALONE], usual[FULL]
    outside = alone.wall_ms - alone.loop_ms - alone.others_ms
    hot = full.loop_ms + alone.others_ms
    wake = {
        pause + outside: max(threads.loop_ms + threads.others_ms - hot, 0.0)
        for (clients, pause), threads in usual.items()
        if clients == 1
    }
    return Costs(alone.others_ms, full.loop_ms, wake, outside, full.wall_ms)


def _median(loads: list[Threads]) -> Threads:
    return Threads(
        statistics.median(each.loop_ms for each in loads),
        statistics.median(each.others_ms for each in loads),
        statistics.median(each.wall_ms for each in loads),
    )


def _closed(server: Server, requests: list[bytes], clients: int) -> Threads:
    return _threads(server, closed_loop(server.url, requests, clients, CLOSED_S))


async def _paced(url: str, requests: list[bytes], pause_ms: float) -> tuple[Tally, float]:
    """Send one request at a time, with a pause after each; the seconds are those of the requests alone."""
    tally, asked = Tally(), 0.0
    ends = time.perf_counter() + CLOSED_S
    async with Client(url) as client:
        for body in itertools.cycle(requests):
            started = time.perf_counter()
            if started > ends:
                break
            await client.translate(body, tally)
            asked += time.perf_counter() - started
            await asyncio.sleep(1e-3 * pause_ms)
    return tally, asked


def _threads(server: Server, load: Coroutine[Any, Any, tuple[Tally, float]]) -> Threads:
    before = processor_ms(server.pid)
    tally, took = run(load)
    after = processor_ms(server.pid)
    answered = len(tally.latency_ms)
    loop = after[server.pid] - before[server.pid]
    others = sum(after.values()) - sum(before.values()) - loop
    return Threads(loop / answered, others / answered, 1e3 * took / answered)


def processor_ms(pid: int) -> dict[int, float]:
    """Return the processor time of each thread; the first one has the process' number."""
    tasks = Path(f"/proc/{pid}/task")
    return {int(task.name): _NS * int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()}
