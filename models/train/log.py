"""The log of a training: JSON lines, a plot of them, and the meter of loss and speed."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.train.state import Progress

LOG, PLOT = "log.jsonl", "loss.png"


class Log:
    """JSON lines. What a killed run wrote after its last state is dropped, since it will be written again."""

    def __init__(self, path: Path, resumed: Progress | None) -> None:
        """Open the log of a run; `resumed` is where it goes on, None for a run that begins."""
        self._path = path
        lines = path.read_text().splitlines() if path.exists() and resumed else []
        # The last line of a killed run may be half a line.
        parsed = [line for line in map(_parsed, lines) if line is not None]
        self._lines = [
            line for line in parsed if resumed and (line["phase"], line["step"]) <= (resumed.phase, resumed.step)
        ]
        new = path.with_suffix(".new")
        new.write_text("".join(json.dumps(line) + "\n" for line in self._lines))
        new.replace(path)

    def add(self, progress: Progress, kind: str, figures: Mapping[str, Any]) -> None:
        """Append a line."""
        line = {"kind": kind, "step": progress.step, "tokens": progress.tokens, "phase": progress.phase, **figures}
        self._lines.append(line)
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def plot(self, path: Path) -> None:
        """Plot losses against tokens, and BLEU where it was measured."""
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        series: dict[str, list[tuple[float, float]]] = {}
        for line in self._lines:
            label = "training" if line["kind"] == "training" else f"validation {line['version']}".strip()
            series.setdefault(label, []).append((line["tokens"] / 1e6, line["loss"]))
        for label, points in series.items():
            style = "-" if label == "training" else "o-"
            axes.plot(*zip(*points, strict=True), style, markersize=3, linewidth=1, label=label)
        axes.set(xlabel="million target tokens", ylabel="nats a piece")
        if bleu := [(line["tokens"] / 1e6, line["bleu"]) for line in self._lines if "bleu" in line]:
            right = axes.twinx()
            right.plot(*zip(*bleu, strict=True), "s--", color="grey", markersize=3, linewidth=1)
            right.set_ylabel("validation BLEU (dashed)")
        axes.legend()
        figure.savefig(path, dpi=120)
        pyplot.close(figure)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        parsed: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return parsed


class Meter:
    """Mean loss and tokens per second since it was last read; a restart leaves out the time of a validation."""

    def __init__(self, tokens: int) -> None:
        self.losses: list[float] = []
        self.restart(tokens)

    def restart(self, tokens: int) -> None:
        """Begin to measure the time from here."""
        self._tokens, self._time = tokens, time.monotonic()

    def read(self, tokens: int) -> dict[str, float]:
        """Return the figures of the steps up to so many tokens."""
        speed = (tokens - self._tokens) / (time.monotonic() - self._time)
        figures = {"loss": sum(self.losses) / len(self.losses), "tokens_per_second": round(speed)}
        self.losses.clear()
        self.restart(tokens)
        return figures
