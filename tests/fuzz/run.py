"""Run the fuzz targets, keep what they found, and add the figures to those of docs/results/fuzz.json.

`make fuzz` builds the native targets and calls this: an hour of each target, with MINUTES another time.
"""

import argparse
import base64
import json
import os
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NATIVE = ("create_fuzz", "batch_fuzz", "matmul_fuzz", "search_fuzz")
GOAL = 10**8  # executions, of all runs together
# ASan keeps back what is freed, and the stack of each allocation: with its defaults these take most of the time.
SANITIZERS = "allocator_may_return_null=1:quarantine_size_mb=16:malloc_context_size=1"
MOST_SEEDS, LONGEST_SEED = 400, 4096  # of a target, the smallest first


def main() -> int:
    """Return 1 if a target found something; what it found is an input beside the seeds."""
    arguments = _arguments()
    with ThreadPoolExecutor(arguments.at_once) as pool:
        figures = dict(
            zip(arguments.targets, pool.map(lambda target: _run(target, arguments), arguments.targets), strict=True)
        )
    run = {
        "command": f"make fuzz MINUTES={arguments.minutes:g}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0]),
        },
        "minutes": arguments.minutes,
        "at_once": arguments.at_once,
        "targets": figures,
    }
    runs = [*(json.loads(arguments.out.read_text())["runs"] if arguments.out.exists() else []), run]
    executions = sum(target["executions"] for each in runs for target in each["targets"].values())
    report = {"executions": executions, "goal": GOAL, "runs": runs}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return 1 if any(found["findings"] for found in figures.values()) else 0


def _run(target: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fuzz one target for its time, and return its figures."""
    corpus = arguments.work / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(_seeds(target)):
        (corpus / f"seed-{number:04}").write_bytes(base64.b64decode(line))
    options = [
        f"-max_total_time={round(60 * arguments.minutes)}",
        "-rss_limit_mb=2000",
        "-timeout=60",
        "-print_final_stats=1",
        "-max_len=1024",
        "-entropic=0",  # which would choose seeds by rarity, and take a fifth of the time
        f"-artifact_prefix={corpus}-",
        str(corpus),
    ]
    log = arguments.work / f"{target}.log"
    with log.open("wb") as output:
        status = subprocess.run(
            ["nice", "-n", "19", *_command(target, arguments), *options],
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, "ASAN_OPTIONS": SANITIZERS},
            check=False,
        ).returncode
    _keep_seeds(target, arguments)
    return _figures(target, status, log.read_text(errors="replace"), arguments.work)


def _command(target: str, arguments: argparse.Namespace) -> list[str]:
    return [str(arguments.build / target)]


def _figures(target: str, status: int, log: str, work: Path) -> dict[str, Any]:
    figures = dict(re.findall(r"stat::(\w+): +(\d+)", log))
    covered = re.findall(r"cov: (\d+)", log)
    return {
        "executions": int(figures.get("number_of_executed_units", 0)),
        "executions_a_second": int(figures.get("average_exec_per_sec", 0)),
        "edges_covered": int(covered[-1]) if covered else 0,
        "peak_rss_mb": int(figures.get("peak_rss_mb", 0)),
        "exit_status": status,
        "slow_by_the_clock": len(list(work.glob(f"{target}-slow-unit-*"))),
        "findings": sorted(
            path.name for path in work.glob(f"{target}-*") if path.is_file() and "-slow-unit-" not in path.name
        ),
    }


def _seeds(target: str) -> list[str]:
    file = HERE / "seeds" / f"{target}.txt"
    return file.read_text(encoding="ascii").split() if file.exists() else []


def _keep_seeds(target: str, arguments: argparse.Namespace) -> None:
    """Keep inputs that reach what no smaller one does, as lines of base64."""
    merged = arguments.work / f"merged-{target}"
    merged.mkdir(exist_ok=True)
    corpus = arguments.work / target
    subprocess.run(
        [*_command(target, arguments), "-merge=1", str(merged), str(corpus)], cwd=ROOT, capture_output=True, check=False
    )
    inputs = sorted((path.read_bytes() for path in merged.iterdir()), key=lambda kept: (len(kept), kept))
    kept = [base64.b64encode(each).decode() for each in inputs[:MOST_SEEDS] if 0 < len(each) <= LONGEST_SEED]
    (HERE / "seeds").mkdir(exist_ok=True)
    (HERE / "seeds" / f"{target}.txt").write_text("\n".join(kept) + "\n", encoding="ascii")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--build", type=Path, default=ROOT / "build/fuzz")
    parser.add_argument("--work", type=Path, default=ROOT / "build/fuzzing")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/fuzz.json")
    parser.add_argument("--targets", nargs="+", default=NATIVE, choices=NATIVE)
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="targets that run side by side")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
