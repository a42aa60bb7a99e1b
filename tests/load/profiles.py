"""`python -m tests.load.profiles NAME` = `make load-NAME`: one load by locust on a real server process.

It ends with 1 if the profile promises that no request fails and one did.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.load.figures import RESULTS, write
from tests.load.processes import LOGS, Placement, Server, ours, pinned, placements
from tests.load.sentences import ROOT

BREAK_P95_MS = 500.0


@dataclass(frozen=True)
class Profile:
    """Users in a closed loop. A step is (the share of the time at which it ends, users)."""

    meaning: str
    seconds: float
    steps: tuple[tuple[float, int], ...]
    none_fails: bool = True
    until_it_breaks: bool = False  # ends after a step with a failure, or with a p95 above BREAK_P95_MS
    swaps: bool = False  # one more user swaps the configuration every second


PROFILES = {
    "smoke": Profile("does it answer at all", 10, ((1, 1),)),
    "load": Profile("a usual day", 30, ((1, 8),)),
    "stress": Profile("more than it can do at once", 60, ((0.25, 8), (0.5, 16), (0.75, 32), (1, 64))),
    "soak": Profile("for long; lengthen it", 60, ((1, 4),)),
    "spike": Profile("a crowd comes and goes", 40, ((0.4, 2), (0.6, 64), (1, 2))),
    "breakpoint": Profile(
        f"twice the users until a request fails or p95 is above {BREAK_P95_MS:.0f} ms",
        60,
        tuple((step / 10, 2**step) for step in range(1, 11)),
        none_fails=False,
        until_it_breaks=True,
    ),
    "swap": Profile("an administrator swaps under load", 30, ((1, 4),), swaps=True),
}


def step_at(profile: Profile, share: float) -> int | None:
    """Return the index of the step at a share of the profile's time; None after the end."""
    return next((index for index, (end, _) in enumerate(profile.steps) if share < end), None)


def broken(figures: Mapping[str, object]) -> bool:
    """Tell whether a step's figures are past the breakpoint."""
    latency = figures["latency_ms"]
    assert isinstance(latency, dict)
    return bool(figures["failed"]) or latency["p95"] is None or latency["p95"] > BREAK_P95_MS


def load(name: str, seconds: float, server: Server, token: str, placement: Placement) -> tuple[int, dict[str, object]]:
    """Run locust in a process of its own; its exit status, its figures, and the server's memory meanwhile."""
    LOGS.mkdir(parents=True, exist_ok=True)
    record = LOGS / f"{name}.json"
    record.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "LOAD_PROFILE": name,
        "LOAD_SECONDS": str(seconds),
        "LOAD_RECORD": str(record),
        "LOAD_ADMIN_TOKEN": token,
    }
    command = [sys.executable, "-m", "locust", "-f", "tests/load/locustfile.py", "--headless", "--host", server.url]
    command += ["--stop-timeout", "60", "--loglevel", "WARNING", "--only-summary"]
    with subprocess.Popen(pinned(placement.generator, command), cwd=ROOT, env=environment) as locust:
        resident = []
        while locust.poll() is None:
            resident.append(server.memory().get("resident_bytes", 0))
            try:
                locust.wait(1)
            except subprocess.TimeoutExpired:
                continue
    if not record.exists():
        raise RuntimeError(f"locust ended with {locust.returncode} and left no figures; what it wrote is above.")
    warm, end = resident[len(resident) // 4], resident[-1]  # the first quarter warms up
    memory = {**server.memory(), "resident_bytes_after_a_quarter": warm, "growth_since": round(end / warm - 1, 4)}
    return locust.returncode, json.loads(record.read_text()) | {"memory": memory}


def run(name: str, arguments: argparse.Namespace) -> int:
    """Start the server, run the load, write the report."""
    profile = PROFILES[name]
    seconds = arguments.seconds or profile.seconds
    placement = placements()[arguments.placement]
    token = secrets.token_hex(16)
    print(f"{name}: {profile.meaning}; {seconds:g} s on {arguments.configuration}", flush=True)
    with ours(arguments.configuration, placement, {"SUB3_ADMIN_TOKEN": token} if profile.swaps else {}) as server:
        status, figures = load(name, seconds, server, token, placement)
    about = {"profile": name, "configuration": arguments.configuration, "placement": placement.report()}
    path = write(
        name, "tests.load.profiles", about | {"no_failure_promised": profile.none_fails} | figures, arguments.output
    )
    print(json.dumps(figures, indent=1))
    print(path)
    total = figures["total"]
    assert isinstance(total, dict)
    return int(status != 0 or not total["answered"]) if profile.none_fails else 0


def main() -> int:
    """Run the profile named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.profiles", description=__doc__)
    parser.add_argument("profile", choices=list(PROFILES))
    parser.add_argument("--seconds", type=float, help="the whole load; each profile has its own default")
    parser.add_argument("--configuration", default="best-2")
    parser.add_argument("--placement", choices=["split", "shared"], default="split")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of load-PROFILE.json")
    arguments = parser.parse_args()
    return run(arguments.profile, arguments)


if __name__ == "__main__":
    sys.exit(main())
