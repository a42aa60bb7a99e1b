"""`make load-curve`: throughput and latency against the rate at which requests arrive, for several configurations.

Requests arrive as a Poisson process whether earlier ones were answered or not, and each latency counts from the moment
at which the request should have been sent: a server (or a generator) that stalls is charged for all who came meanwhile.
"""

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.load.client import Client, bodies, closed_loop, run
from tests.load.figures import RESULTS, Tally, write
from tests.load.processes import Server, ours, pin_generator, placements
from tests.load.sentences import sentences

SHARES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1)  # of the saturated throughput, which a closed loop finds
SATURATING_CLIENTS = 16


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the times of a Poisson process of `rate` a second, in seconds from 0 to `seconds`; the seed fixes them."""
    chance = random.Random(seed)
    gaps = (chance.expovariate(rate) for _ in itertools.count())
    return list(itertools.takewhile(lambda at: at < seconds, itertools.accumulate(gaps)))


async def open_loop(url: str, requests: Sequence[bytes], times: Sequence[float]) -> tuple[Tally, float]:
    """Send a request at each of the times; the tally, and the seconds until the last answer."""
    tally = Tally()
    async with Client(url) as client, asyncio.TaskGroup() as tasks:
        started = time.perf_counter()
        for body, at in zip(itertools.cycle(requests), times, strict=False):
            intended = started + at
            # also yields when it is late: the answers must be read
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            tally.late_ms.append(1e3 * (time.perf_counter() - intended))
            tasks.create_task(client.translate(body, tally, intended))
    return tally, time.perf_counter() - started


async def curve(server: Server, seconds: float) -> list[dict[str, object]]:
    """Measure the points of one server, slowest first."""
    requests = bodies(sentences())
    await closed_loop(server.url, requests, SATURATING_CLIENTS, min(seconds, 2.0))  # warm
    tally, took = await closed_loop(server.url, requests, SATURATING_CLIENTS, seconds)
    saturated = len(tally.latency_ms) / took
    print(f"{server.name}: {saturated:.0f} requests/s saturated", flush=True)
    points = []
    for seed, share in enumerate(SHARES):
        times = arrivals(share * saturated, seconds, seed)
        tally, took = await open_loop(server.url, requests, times)
        point = {"arrivals_per_second": round(share * saturated, 1), **tally.figures(took)}
        print(f"{server.name}: {point['arrivals_per_second']}/s -> {point['latency_ms']}", flush=True)
        points.append(point)
    return points


def plot(curves: dict[str, list[dict[str, object]]], path: Path) -> None:
    """Plot throughput above, latency below, a colour for each configuration."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 9), sharex=True, layout="constrained")
    for number, (name, points) in enumerate(curves.items()):
        rates = [point["arrivals_per_second"] for point in points]
        above.plot(rates, [point["requests_per_second"] for point in points], f"C{number}o-", label=name)
        for style, percent in (("-", "p50"), ("--", "p95"), (":", "p99")):
            values = [point["latency_ms"][percent] for point in points]  # type: ignore[index]
            below.plot(rates, values, f"C{number}{style}", marker=".", label=f"{name} {percent}")
    above.set_ylabel("answered a second")
    below.set(xlabel="arrivals a second (Poisson)", ylabel="latency from the intended time, ms", yscale="log")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Return 1 if a request failed below the saturation."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.open_loop", description=__doc__)
    parser.add_argument("--configurations", nargs="+", default=["best-2", "best-1", "flat-4"])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the nine runs a configuration")
    parser.add_argument("--placement", choices=["split", "shared"], default="split")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of load-curve.json and load-curve.png")
    arguments = parser.parse_args()
    placement = placements()[arguments.placement]
    pin_generator(placement)
    curves, memory = {}, {}
    for configuration in arguments.configurations:
        with ours(configuration, placement) as server:
            curves[configuration] = run(curve(server, arguments.seconds))
            memory[configuration] = server.memory()
    report = {"placement": placement.report(), "curves": curves, "memory": memory}
    print(write("curve", "tests.load.open_loop", report, arguments.output))
    plot(curves, arguments.output / "load-curve.png")
    below = [point for points in curves.values() for point, share in zip(points, SHARES, strict=True) if share < 1]
    return int(any(point["failed"] for point in below))


if __name__ == "__main__":
    sys.exit(main())
