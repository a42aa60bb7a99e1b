"""What `compress` takes of each shape that people have, and how fast the result is beside CTranslate2 with int8.

Checkpoints are of random weights, calibrated to two bits on real pairs without training: bytes, time and memory do not
depend on what the weights say. Each number of tokens is forced, so that both translate as much.

    python -m tests.bench.shapes FOLDER TEXT.tsv[.xz] JSON [SHAPE...]
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from models.evaluate.evaluate import conditions
from tests.bench.seeded import Sizes, seeded_checkpoint
from tests.bench.subjects import CTranslate2, Ours, Subject, converted

TOKENS = 24  # of source and target
ROUNDS, REPEATS = 5, 3
BEAMS = (1, 4, 6)


SHAPES = {
    "tiny": Sizes(256, 1536, (6, 2), (32_000,), "relu"),
    "small": Sizes(512, 2048, (6, 6), (32_000,), "relu"),
    "opus-mt": Sizes(512, 2048, (6, 6), (58_101,), "swish"),
    "tc-big": Sizes(1024, 4096, (6, 6), (32_001, 32_001), "relu"),
}


def compressed(checkpoint: Path, text: Path, out: Path) -> dict[str, Any]:
    """Compress to two bits in a process of its own; return what it took."""
    figures = out.with_suffix(".json")
    command = [sys.executable, "-m", "models", "compress", str(checkpoint), str(out), "--bits", "2", "--minutes", "0"]
    command += ["--text", str(text), "--threads", "1", "--overwrite", "--json", str(figures)]
    began = time.monotonic()
    process = os.posix_spawn(sys.executable, command, {**os.environ, "TQDM_DISABLE": "1"})
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"compress ended with {status}.")
    return {
        "bytes": json.loads(figures.read_text())["bytes"],
        "minutes": round((time.monotonic() - began) / 60, 2),
        "processor_minutes": round((usage.ru_utime + usage.ru_stime) / 60, 2),
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def speeds(ours: Subject, peer: Subject) -> dict[str, dict[str, float]]:
    """Return processor milliseconds a target token, one thread, by the beam: medians of rounds in turns."""
    source = [[f"w{n}" for n in range(100, 100 + TOKENS - 1)]]
    found = {}
    for beam_size in BEAMS:
        times: dict[str, list[float]] = {"ours": [], "ctranslate2": []}
        for n in range(ROUNDS + 1):
            for name, subject in (("ours", ours), ("ctranslate2", peer)):
                began = time.process_time()
                for _ in range(REPEATS):
                    subject.translate(source, beam_size, (TOKENS, TOKENS))
                if n:  # the first warms up
                    times[name].append(1e3 * (time.process_time() - began) / REPEATS / TOKENS)
        medians = {name: round(statistics.median(each), 3) for name, each in times.items()}
        found[f"beam {beam_size}"] = {**medians, "times": round(medians["ctranslate2"] / medians["ours"], 2)}
    return found


def main(folder: Path, text: Path, report: Path, *names: str) -> None:
    """Measure the shapes; those that are not named keep what the report has."""
    found = json.loads(report.read_text())["shapes"] if report.exists() else {}
    for name in names or SHAPES:
        checkpoint, out = seeded_checkpoint(folder / name, SHAPES[name], half=True), folder / f"{name}-2"
        taken = compressed(checkpoint, text, out)
        peer = CTranslate2(converted(checkpoint, folder / f"{name}-ctranslate2", "int8"), "int8")
        found[name] = {"shape": SHAPES[name]._asdict(), **taken, "ms_per_token": speeds(Ours(out), peer)}
        print(name, json.dumps(found[name]), flush=True)
        told = {**conditions(), "command": "python -m tests.bench.shapes FOLDER TEXT.tsv JSON"}
        report.write_text(json.dumps({"shapes": found, "conditions": told}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
