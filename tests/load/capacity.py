"""`make capacity`: how many replicas and cores some rates take, what is full first, and what sharding does.

Measures this machine's service times and its curve (`service_times.py`), simulates replicas with them (`replicas.py`),
writes docs/results/load-capacity.json and the tables of docs/scaling.md. `--measured FILE` takes those of an earlier
run.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.reports.report import put_between_markers
from tests.bench.bench import machine
from tests.load.costs import PIECE_S, first_request
from tests.load.figures import RESULTS, percentile, write
from tests.load.open_loop import arrivals
from tests.load.processes import cores_of_others, pin_generator, placements
from tests.load.replicas import ServiceTimes, highest_rate, replay, simulate
from tests.load.sentences import ROOT
from tests.load.service_times import measure, service_times

P99_MS = 200.0
RATES = (10, 1_000, 100_000)
CORES = (1, 2, 4, 8)  # of a replica
PLANNED = 0.7  # of the highest rate: the rest is for bursts, and for the replica that is just being replaced
PAIRS = (1, 10, 50)
PAIRS_RATE = 1_000
QUIET = 0.1  # cores that other work may keep busy at the start, lest a measurement say nothing
LINK_GBIT = 10.0
SEGMENT_BYTES = 66  # Ethernet, IP and TCP of a packet; a request takes about four


def replica_sizes(times: ServiceTimes, requests: int) -> list[dict[str, float]]:
    """Return, for each size, the highest rate below the limit, and the rate that is planned for."""
    sizes = []
    for cores in CORES:
        highest = highest_rate(times, P99_MS, requests, cores=cores)
        planned = PLANNED * highest
        p99 = percentile(simulate(times, planned, requests, cores=cores), 99)
        sizes.append({"cores": cores, "highest": highest, "planned": planned, "p99_ms": p99})
        print(f"{cores} cores: {highest:.0f} requests/s at most, p99 {p99:.0f} ms at {planned:.0f}", file=sys.stderr)
    return sizes


def plan(measured: dict[str, Any], requests: int) -> dict[str, Any]:
    """Plan replicas, bottlenecks and sharding."""
    times = service_times(measured)
    sizes = replica_sizes(times, requests)
    best = max(sizes, key=lambda size: size["planned"] / size["cores"])
    nginx_ms, redis = measured["nginx_ms"], measured["redis"]
    octets = sum(measured["bytes_a_request"].values()) + 4 * SEGMENT_BYTES
    fleets = []
    for rate in RATES:
        replicas = needed(rate, best["planned"])
        fleets.append(
            {
                "requests_per_second": rate,
                "replicas": replicas,
                "cores": replicas * best["cores"],
                "nginx_cores": nginx_ms and rate * nginx_ms / 1e3,
                "redis_share": redis and rate * redis["ms"] / 1e3,
                "gbit": rate * octets * 8e-9,
                "p99_ms": percentile(_fleet(times, rate, replicas, int(best["cores"]), requests), 99),
            }
        )
    full = {
        "event loop of a replica": 1e3 / times.loop_ms,
        "one core of nginx": nginx_ms and 1e3 / nginx_ms,
        "Redis, with API keys": redis and 1e3 / redis["ms"],
        f"a link of {LINK_GBIT:g} Gbit/s": LINK_GBIT * 1e9 / 8 / octets,
    }
    shared = highest_rate(times, P99_MS, requests, cores=int(best["cores"]), configurations=2)
    return {
        "p99_limit_ms": P99_MS,
        "planned_share": PLANNED,
        "replica_sizes": sizes,
        "fleets": fleets,
        "full_at_requests_per_second": full,
        "two_configurations_in_a_replica": {"highest": shared, "of_one": best["highest"]},
        "pairs": [{"pairs": n, "replicas": by_pair(n, best["planned"])} for n in PAIRS],
        "core_hours_a_million_characters": best["cores"]
        / (best["planned"] * 3600 * measured["characters_a_request"] / 1e6),
    }


def needed(rate: float, planned: float) -> int:
    """Return the replicas for a rate, one of which may be away."""
    return math.ceil(rate / planned) + 1


def by_pair(pairs: int, planned: float) -> int:
    """Return the replicas for PAIRS_RATE over so many pairs, the n-th asked for 1/n as often as the first (Zipf)."""
    weights = [1 / n for n in range(1, pairs + 1)]
    return sum(needed(PAIRS_RATE * weight / sum(weights), planned) for weight in weights)


def _fleet(times: ServiceTimes, rate: float, replicas: int, cores: int, requests: int) -> list[float]:
    """Simulate the whole fleet or, beyond sixteen replicas, one with its share, as if nobody balanced."""
    if replicas <= 16:
        return simulate(times, rate, requests, cores=cores, replicas=replicas)
    return simulate(times, rate / replicas, requests, cores=cores)


def against_curve(measured: dict[str, Any]) -> list[dict[str, float]]:
    """Put each measured point beside the simulation's: by piece the same arrivals and sentences, as slow a machine."""
    times, cores = service_times(measured), len(measured["placement"]["server"])
    points = []
    for point in measured["curve"]:
        rate, simulated = point["arrivals_per_second"], []
        for seed, slowness in enumerate(point["slowness"]):
            first = first_request(seed, len(times.sentences))
            simulated += replay(times.slowed(slowness), arrivals(rate, PIECE_S, seed), first, cores=cores)
        simulated.sort()
        points.append(
            {"arrivals_per_second": rate}
            | {f"measured_p{n}_ms": point["latency_ms"][f"p{n}"] for n in (50, 99)}
            | {f"simulated_p{n}_ms": round(percentile(simulated, n), 3) for n in (50, 99)}
        )
    return points


def tables(report: dict[str, Any], machines: Sequence[str]) -> str:
    """Write Markdown for docs/scaling.md."""
    measured, planned = report["measured"], report["plan"]
    conditions = report["conditions"]
    best = max(planned["replica_sizes"], key=lambda size: size["planned"] / size["cores"])
    busy = conditions["cores_of_others"] > QUIET
    parts = [
        ("**Placeholders: other work kept the cores busy while these were measured.** " if busy else "")
        + f"Measured on {conditions['cpu']}, {conditions['cores']} cores, of which other work kept "
        f"{conditions['cores_of_others']} busy, {conditions['date']}: the default model at "
        f"`{measured['configuration']}`, one Tatoeba sentence a request "
        f"({measured['characters_a_request']} characters).",
        _table(
            ["cores of a replica", "requests/s with p99 < 200 ms", f"planned ({PLANNED:.0%})", "p99 there, ms"],
            [
                [s["cores"], f"{s['highest']:,.0f}", f"{s['planned']:,.0f}", f"{s['p99_ms']:.0f}"]
                for s in planned["replica_sizes"]
            ],
        ),
        _table(
            [
                "requests/s",
                f"replicas of {best['cores']} cores",
                "cores",
                "nginx cores",
                "Redis (keys), of one core",
                "Gbit/s",
                "p99 simulated, ms",
            ],
            [
                [
                    f"{f['requests_per_second']:,}",
                    f"{f['replicas']:,}",
                    f"{f['cores']:,}",
                    _number(f["nginx_cores"]),
                    _number(f["redis_share"]),
                    f"{f['gbit']:.3g}",
                    f"{f['p99_ms']:.0f}",
                ]
                for f in planned["fleets"]
            ],
        ),
        _table(
            ["what is full", "at requests/s"],
            [
                [name, "not measured" if at is None else f"{at:,.0f}"]
                for name, at in planned["full_at_requests_per_second"].items()
            ],
        ),
        _table(
            [f"language pairs at {PAIRS_RATE:,} requests/s", "replicas"],
            [[each["pairs"], each["replicas"]] for each in planned["pairs"]],
        ),
        "Two configurations in each replica, asked for equally often: "
        f"{planned['two_configurations_in_a_replica']['highest']:,.0f} requests/s where one alone has "
        f"{planned['two_configurations_in_a_replica']['of_one']:,.0f}.",
        _costs(planned["core_hours_a_million_characters"], machines),
        _table(
            ["arrivals/s", "measured p50, ms", "simulated", "measured p99, ms", "simulated"],
            [
                [
                    p["arrivals_per_second"],
                    p["measured_p50_ms"],
                    p["simulated_p50_ms"],
                    p["measured_p99_ms"],
                    p["simulated_p99_ms"],
                ]
                for p in report["against_curve"]
            ],
        ),
    ]
    return "\n\n".join(parts)


def _costs(core_hours: float, machines: Sequence[str]) -> str:
    """Tabulate the costs on machines NAME=CORES or NAME=CORES:PRICE, the price of an hour in any currency."""
    rows = []
    for size in machines:
        name, _, rest = size.partition("=")
        cores, _, price = rest.partition(":")
        hours = core_hours / int(cores)
        cost = f"{hours * float(price):.4f}" if price else f"{hours:.6f} x its price an hour"
        rows.append([name, cores, f"{1 / hours:,.0f}", cost])
    return f"A million characters take {core_hours:.4f} core hours.\n\n" + _table(
        ["machine", "cores", "million characters an hour", "cost of a million characters"], rows
    )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def _table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---:"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def main() -> None:
    """Measure, simulate, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.capacity", description=__doc__)
    parser.add_argument("--configuration", default="best-2")
    parser.add_argument("--pieces", type=int, default=10, help="of two seconds, of each point of the curve")
    parser.add_argument("--requests", type=int, default=4000, help="of each simulated run")
    parser.add_argument("--placement", choices=["split", "shared"], default="split")
    parser.add_argument("--measured", type=Path, help="capacity.json of an earlier run; nothing is measured")
    parser.add_argument(
        "--machines",
        nargs="+",
        default=[f"{cores} cores={cores}" for cores in (2, 4, 8, 16, 48)],
        metavar="NAME=CORES[:PRICE]",
        help="what the costs are for; the price of an hour is yours to look up",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of load-capacity.json")
    parser.add_argument("--document", type=Path, default=ROOT / "docs" / "scaling.md", help="gets the tables")
    arguments = parser.parse_args()
    if arguments.measured:
        earlier = json.loads(arguments.measured.read_text())
        measured, head = earlier["measured"], {name: earlier[name] for name in ("command", "conditions")}
    else:
        head = {"conditions": machine() | {"cores_of_others": cores_of_others()}}  # before our own load
        placement = placements()[arguments.placement]
        pin_generator(placement)
        measured = measure(arguments.configuration, placement, arguments.pieces)
        # kept before the simulations, which --measured can then make again
        write("capacity", "tests.load.capacity", {"measured": measured} | head, arguments.output)
    report = {"measured": measured, "against_curve": against_curve(measured)}
    report["plan"] = plan(measured, arguments.requests)
    path = write("capacity", "tests.load.capacity", report | head, arguments.output)
    put_between_markers(arguments.document, tables(json.loads(path.read_text()), arguments.machines))
    print(path)


if __name__ == "__main__":
    main()
