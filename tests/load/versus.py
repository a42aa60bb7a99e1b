"""`make load-versus`: the service against a FastAPI server over CTranslate2 int8 with the same model.

All servers are processes that run all the time, and each load goes to one after the other, round by round, while the
others idle. Each load is measured in both placements (see processes.py); a goal counts as met if it is in both.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.client import bodies, closed_loop, one_client, run
from tests.load.figures import RESULTS, Tally, percentile, write
from tests.load.open_loop import arrivals, open_loop
from tests.load.processes import Placement, Server, bare, inline, ours, peer, pin_generator, placements
from tests.load.sentences import ROOT, SHARED, sentences

MODEL = ROOT / "models" / "store" / "en-de"
WORK = ROOT / "build" / "bench"
SATURATING_CLIENTS = (8, 16)
MODERATE = 0.5  # of what the slowest server can do: the rate of the open loop
P50_TIMES, THROUGHPUT_TIMES, MEMORY_TIMES, OVERHEAD_MS = 2.0, 1.5, 3.0, 1.0
LOADS = ("1 client", "open loop", *(f"{clients} clients" for clients in SATURATING_CLIENTS))

Load = Callable[[Server, int], Awaitable[tuple[Tally, float]]]  # of a server and a round


@dataclass
class Sum:
    """One load on one server over all rounds."""

    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    p50: list[float] = field(default_factory=list)  # by round
    per_second: list[float] = field(default_factory=list)

    def add(self, tally: Tally, seconds: float) -> None:
        """Add a round."""
        self.tally.merge(tally)
        self.seconds += seconds
        self.per_second.append(len(tally.latency_ms) / seconds)
        if tally.latency_ms:
            self.p50.append(percentile(sorted(tally.latency_ms), 50))


Measured = dict[str, dict[str, Sum]]  # load -> server -> sum


async def measure(
    subjects: Sequence[Server], floors: Sequence[Server], rounds: int, seconds: float
) -> tuple[Measured, float]:
    """Put every load on every server, A B A B, one client on the floors too; and the rate of the open loop."""
    requests = bodies(sentences(), 1)  # greedy on all sides
    measured: Measured = defaultdict(lambda: defaultdict(Sum))

    def closed(clients: int) -> Load:
        return lambda server, _: closed_loop(server.url, requests, clients, seconds)

    async def interleaved(name: str, load: Load, servers: Sequence[Server] = subjects) -> None:
        for number in range(rounds):
            print(f"  {name}: round {number + 1} of {rounds}", flush=True)
            for server in servers:
                measured[name][server.name].add(*await load(server, number))
        for server in servers:
            total = measured[name][server.name]
            print(f"  {name}, {server.name}: {total.tally.figures(total.seconds)}", flush=True)

    for server in subjects:
        await closed_loop(server.url, requests, max(SATURATING_CLIENTS), min(seconds, 2.0))  # warm
    await interleaved("1 client", lambda server, _: one_client(server.url, requests, seconds), [*subjects, *floors])
    for clients in SATURATING_CLIENTS:
        await interleaved(f"{clients} clients", closed(clients))
    rate = MODERATE * min(_throughput(measured, server.name) for server in subjects)
    await interleaved(
        "open loop", lambda server, number: open_loop(server.url, requests, arrivals(rate, seconds, number))
    )
    return measured, rate


def _throughput(measured: Measured, server: str) -> float:
    """Return requests a second at the load that gets the most of a server."""
    return max(statistics.median(measured[f"{clients} clients"][server].per_second) for clients in SATURATING_CLIENTS)


def goals(measured: Measured, memory: dict[str, dict[str, int]], ours: str, peer: str, floor: str) -> dict[str, object]:
    """Compare one of our configurations with the goals: {goal: {"goal", "measured", "met"}}."""

    def p50_ratio(load: str) -> float:
        return statistics.median(measured[load][peer].p50) / statistics.median(measured[load][ours].p50)

    def above_bare(server: str) -> int:
        return memory[server]["resident_bytes"] - memory[floor]["resident_bytes"]

    overhead_ms = percentile(sorted(measured["1 client"][ours].tally.over_engine_ms), 50)
    found = {
        f"p50 at {load}, times lower": (p50_ratio(load), P50_TIMES, p50_ratio(load) >= P50_TIMES)
        for load in ("1 client", "open loop")
    }
    throughput = _throughput(measured, ours) / _throughput(measured, peer)
    found["saturated throughput, times higher"] = (throughput, THROUGHPUT_TIMES, throughput >= THROUGHPUT_TIMES)
    if memory[floor]:
        saved = above_bare(peer) / above_bare(ours)
        found["memory above bare FastAPI, times lower"] = (saved, MEMORY_TIMES, saved >= MEMORY_TIMES)
    found["HTTP, JSON and scheduling over the engine's time at 1 client, ms p50"] = (
        overhead_ms,
        OVERHEAD_MS,
        overhead_ms <= OVERHEAD_MS,
    )
    return {name: {"goal": goal, "measured": round(value, 3), "met": met} for name, (value, goal, met) in found.items()}


@contextmanager
def subjects(
    configurations: Sequence[str], placement: Placement
) -> Iterator[tuple[list[Server], Server, Server, Server]]:
    """Start ours, the peer, FastAPI with nothing but our engine in it, and the bare server; all are ready."""
    from tests.bench.subjects import converted, marian

    checkpoint = marian(MODEL, WORK)
    int8 = converted(checkpoint, WORK / f"{checkpoint.name}-int8", "int8")
    with ExitStack() as stack:
        floor = stack.enter_context(bare(placement))
        other = stack.enter_context(peer(int8, checkpoint, placement))
        engine = stack.enter_context(inline(configurations[0], placement))
        mine = [stack.enter_context(ours(configuration, placement)) for configuration in configurations]
        yield mine, other, engine, floor


def compare(configurations: Sequence[str], placement: Placement, rounds: int, seconds: float) -> dict[str, object]:
    """Write the part of the report for one placement."""
    print(f"{placement.name}: server on cores {placement.server}, generator on {placement.generator}", flush=True)
    pin_generator(placement)
    with subjects(configurations, placement) as (mine, other, engine, floor):
        ready = {server.name: server.memory() for server in (*mine, other, floor)}
        measured, rate = run(measure([*mine, other], [engine, floor], rounds, seconds))
        memory = {server.name: server.memory() for server in (*mine, other, floor)}
    loads = {
        load: {server: _figures(total, measured[load][other.name]) for server, total in measured[load].items()}
        for load in LOADS
    }
    return {
        "placement": placement.report(),
        "open_loop_arrivals_per_second": round(rate, 1),
        "loads": loads,
        "memory_when_ready": ready,
        "memory_after_the_load": memory,
        "goals": {server.name: goals(measured, memory, server.name, other.name, floor.name) for server in mine},
    }


def _figures(total: Sum, peer: Sum) -> dict[str, object]:
    figures = total.tally.figures(total.seconds)
    figures["p50_ms_by_round"] = [round(value, 3) for value in total.p50]
    figures["requests_per_second_by_round"] = [round(value, 1) for value in total.per_second]
    figures["p50_of_peer_over_this_by_round"] = [
        round(theirs / mine, 2) for theirs, mine in zip(peer.p50, total.p50, strict=False)
    ]
    if total.tally.over_engine_ms:
        figures["over_engine_ms_p50"] = round(percentile(sorted(total.tally.over_engine_ms), 50), 3)
    return figures


def main() -> int:
    """Return 1 if a request failed; missed goals are printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.versus", description=__doc__)
    parser.add_argument("--configurations", nargs="+", default=["best-2", "flat-4"])
    parser.add_argument("--placements", nargs="+", choices=["split", "shared"], default=["split", "shared"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load on each server in each round")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of load-versus.json")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error(f"no corpus at {SHARED}; set SUB3_SHARED to the folder that holds it")
    known = placements()
    parts = [
        compare(arguments.configurations, known[name], arguments.rounds, arguments.seconds)
        for name in dict.fromkeys(arguments.placements)
    ]
    about = {
        "peer": "FastAPI over CTranslate2 int8, one translator a core; uvicorn with h11 and asyncio as ours, "
        "no access log",
        "memory": "resident bytes (Rss of smaps_rollup: private pages and all mapped file pages that are in memory, "
        "shared or not) less those of a bare FastAPI process, both after the load",
        "latency": "client side, from the first byte sent to the last read; in the open loop from the intended time; "
        "one client uses a bare socket, several use aiohttp",
        "over_engine": "latency less X-Sub3-Encode-Ms and X-Sub3-Decode-Ms, request by request",
        "engine in FastAPI": "tests/bench/inline_server.py: one route that calls the engine, at the first "
        "configuration; its over_engine is the floor of ours",
        "rounds": arguments.rounds,
    }
    path = write("versus", "tests.load.versus", about | {"placements": parts}, arguments.output)
    for part in parts:
        _print_goals(part)
    print(path)
    return int(any(total["failed"] for part in parts for load in part["loads"].values() for total in load.values()))


def _print_goals(part: dict[str, object]) -> None:
    print(f"{part['placement']['name']}:")
    for server, found in part["goals"].items():
        for name, goal in found.items():
            state = "met" if goal["met"] else "MISSED"
            print(f"  {server}: {name}: {goal['measured']} (goal {goal['goal']}): {state}")


if __name__ == "__main__":
    sys.exit(main())
