"""`python -m tests.load.swap`: a swap every second under load on a real server process, and what it cost."""

import argparse
import json
import os
import platform
import secrets
import statistics
import sys
import time
from pathlib import Path

from tests.load.figures import RESULTS
from tests.load.processes import MODEL, ours, placements
from tests.load.swapping import CLIENTS, Outcome, offline_answers, swap_under_load

SWAP_MS = 100.0
RSS_SHARE = 0.02
WARM_UP_ROUNDS = 4  # through all configurations, before resident memory is compared
TEXTS = [
    "Would you like another cup of coffee?",
    "The train was late.",
    "I have never been to the sea, but my sister lives there with her two dogs.",
    "She opened the window and looked at the street. Nobody was there. Then the telephone rang.",
    "Please send me the report by Friday.",
    "What time is it?",
]


def main() -> int:
    """Return 1 if a request failed or a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.swap", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between the starts of two swaps")
    parser.add_argument("--output", type=Path, default=RESULTS / "swap.json")
    arguments = parser.parse_args()
    answers = offline_answers(MODEL, TEXTS)
    token = secrets.token_hex(16)
    with ours("best-2", placements()["shared"], {"SUB3_ADMIN_TOKEN": token}) as server:
        started = time.monotonic()

        def until_next(number: int) -> None:
            time.sleep(max(0.0, started + (number + 1) * arguments.every - time.monotonic()))

        headers = {"Authorization": f"Bearer {token}"}
        outcome = swap_under_load(server.url, headers, MODEL.name, TEXTS, answers, arguments.seconds, until_next)
    report = _report(outcome, arguments.seconds, len(answers))
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    for failure in outcome.failures[:10]:
        print(failure, file=sys.stderr)
    return 0 if report["passed"] else 1


def _report(outcome: Outcome, seconds: float, configurations: int) -> dict[str, object]:
    """Compare resident memory between rounds through all configurations, as each has its own."""
    rounds = [
        statistics.mean(outcome.rss_bytes[begin : begin + configurations])
        for begin in range(0, len(outcome.rss_bytes) - configurations + 1, configurations)
    ][WARM_UP_ROUNDS:]
    growth = rounds[-1] / rounds[0] - 1 if rounds else None
    swing = max(abs(value / rounds[0] - 1) for value in rounds) if rounds else None
    passed = (
        not outcome.failures
        and swing is not None
        and swing <= RSS_SHARE
        and statistics.median(outcome.swap_ms) <= SWAP_MS
    )
    return {
        "passed": passed,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load_average_at_the_end": os.getloadavg()[0],
        "seconds": seconds,
        "clients": CLIENTS,
        "requests": sum(outcome.answered.values()),
        "requests_by_configuration": dict(sorted(outcome.answered.items())),
        "failed_or_wrong": len(outcome.failures),
        "swaps": len(outcome.swap_ms),
        "swap_ms": {
            "p50": round(statistics.median(outcome.swap_ms), 1),
            "p95": round(statistics.quantiles(outcome.swap_ms, n=20)[-1], 1),
            "max": round(max(outcome.swap_ms), 1),
            "goal_p50": SWAP_MS,
        },
        "swap_round_trip_ms_p50": round(statistics.median(outcome.round_trip_ms), 1),
        "rss": {
            "warm_up_swaps": WARM_UP_ROUNDS * configurations,
            "mean_mb_of_first_round": round(rounds[0] / 1e6, 2) if rounds else None,
            "mean_mb_of_last_round": round(rounds[-1] / 1e6, 2) if rounds else None,
            "mean_mb_of_each_round": [round(value / 1e6, 2) for value in rounds],
            "growth": round(growth, 5) if growth is not None else None,
            "largest_deviation_of_a_round": round(swing, 5) if swing is not None else None,
            "goal": RSS_SHARE,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
