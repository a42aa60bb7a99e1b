"""`python -m tests.load.search`: what the default search costs a server, against greedy search and four beams.

One server; each load with each search, in turns, round by round.
"""

import argparse
import statistics
import sys
from collections import defaultdict

from tests.load.client import bodies, closed_loop, one_client, run
from tests.load.figures import Tally, percentile, write
from tests.load.processes import Server, ours, pin_generator, placements
from tests.load.sentences import sentences

CLIENTS = 16
SEARCHES = {"greedy": 1, "default": None, "four beams": 4}
Rounds = dict[str, dict[str, list[tuple[Tally, float]]]]  # load -> search -> its rounds


async def measure(server: Server, rounds: int, seconds: float) -> Rounds:
    """Put both loads on the server with each search, A B C A B C."""
    requests = {name: bodies(sentences(), beam_size) for name, beam_size in SEARCHES.items()}
    measured: Rounds = defaultdict(lambda: defaultdict(list))
    await closed_loop(server.url, requests["default"], CLIENTS, 1.0)  # warm
    for _ in range(rounds):
        for name, texts in requests.items():
            measured["1 client"][name].append(await one_client(server.url, texts, seconds))
            measured[f"{CLIENTS} clients"][name].append(await closed_loop(server.url, texts, CLIENTS, seconds))
    return measured


def main() -> int:
    """Return 1 if a request failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.search", description=__doc__)
    parser.add_argument("--configuration", default="best-2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load with each search in each round")
    arguments = parser.parse_args()
    placement = placements()["split"]
    pin_generator(placement)
    with ours(arguments.configuration, placement) as server:
        measured = run(measure(server, arguments.rounds, arguments.seconds))
    loads, failed = {}, 0
    for load, searches in measured.items():
        loads[load] = {
            name: {
                "p50_ms": round(statistics.median(percentile(sorted(t.latency_ms), 50) for t, _ in found), 3),
                "p99_ms": round(statistics.median(percentile(sorted(t.latency_ms), 99) for t, _ in found), 3),
                "per_second": round(statistics.median(len(t.latency_ms) / seconds for t, seconds in found), 1),
            }
            for name, found in searches.items()
        }
        failed += sum(tally.failures.total() for found in searches.values() for tally, _ in found)
        print(load, loads[load])
    write("search", "tests.load.search", {"placement": placement.report(), "loads": loads, "failed": failed})
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
