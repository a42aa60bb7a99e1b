"""The account of a load: how many, how long, what failed; and the JSON that keeps it."""

import json
import math
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.bench.bench import machine
from tests.load.sentences import ROOT, origin

RESULTS = ROOT / "docs" / "results"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many percent of them do not exceed (nearest rank).

    Args:
        ordered: ascending, not empty.
    """
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


class Tally:
    """Requests of one load as they end; eight bytes a figure, so that a soak may last."""

    def __init__(self) -> None:
        """Start empty."""
        self.latency_ms = array("d")  # of requests that were answered well
        self.over_engine_ms = array("d")  # their latency less the engine's own time, where replies tell it
        self.late_ms = array("d")  # of every request that had a time to be sent at: how much later it was sent
        self.characters = 0  # of their translations
        self.failures: Counter[str] = Counter()

    def add(self, latency_ms: float, failure: str | None = None) -> None:
        """Count a request; a refusal is fast, so the latency of a failure is not among the others."""
        if failure is None:
            self.latency_ms.append(latency_ms)
        else:
            self.failures[failure] += 1

    def merge(self, other: "Tally") -> None:
        """Count what another one counted, too."""
        self.latency_ms.extend(other.latency_ms)
        self.over_engine_ms.extend(other.over_engine_ms)
        self.late_ms.extend(other.late_ms)
        self.characters += other.characters
        self.failures.update(other.failures)

    def figures(self, seconds: float) -> dict[str, object]:
        """Return the figures of a load that lasted so long; a percentile is null where nothing was answered."""
        answered = len(self.latency_ms)
        figures: dict[str, object] = {
            "seconds": round(seconds, 2),
            "answered": answered,
            "failed": self.failures.total(),
            "failures": dict(self.failures.most_common(10)),
            "requests_per_second": round(answered / seconds, 1),
            "latency_ms": _percentiles(self.latency_ms),
        }
        if self.late_ms:
            figures["sent_late_ms"] = _percentiles(self.late_ms)
        if self.characters:
            figures["characters_a_reply"] = round(self.characters / answered, 1)
        return figures


def _percentiles(values: "array[float]") -> dict[str, float | None]:
    ordered = sorted(values)
    found: dict[str, float | None] = {
        f"p{percent}": round(percentile(ordered, percent), 3) if ordered else None for percent in (50, 95, 99)
    }
    return found | {"max": round(ordered[-1], 3) if ordered else None}


def write(name: str, module: str, report: dict[str, object], directory: Path = RESULTS) -> Path:
    """Write a report as load-NAME.json, with the command (module and arguments) and the conditions before it."""
    head = {
        "command": " ".join(["python -m", module, *sys.argv[1:]]),
        "conditions": machine()
        | {"python": sys.version.split()[0], "sentences": origin(), "at": time.strftime("%H:%M")},
    }
    path = directory / f"load-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head | report, indent=1) + "\n", encoding="utf-8")
    return path
