"""Speed against CTranslate2: the same work on both sides, runs interleaved, medians and the spread of their ratio.

`make bench-quick` and `make bench` write docs/results/bench-quick.json and bench.json: a list of {"case", "ours",
"peer", "unit", "ratio", ...}; a ratio above 1 means that we are better. `--output bench-avx2 --only base` measures the
cases with "base" in their names into bench-avx2.json and leaves there what it has of others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.subjects import (
    CTranslate2,
    Lazy,
    Ours,
    Sources,
    Subject,
    Torch,
    coded,
    converted,
    marian,
    seeded_checkpoint,
)

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SUB3_SHARED", ROOT.parent / "shared"))
MODEL = ROOT / "models" / "store" / "en-de"
WORK = ROOT / "build" / "bench"
BASE = {"d_model": 512, "ffn_dim": 2048, "layers": 6, "vocabulary": 32768}
BASE_NAME = "base-" + "-".join(str(size) for size in BASE.values())  # what is built is kept under its parameters
FIRST = "base, greedy, batch 1, 1 thread"
AVX2 = {"SUB3_FORCE_ISA": "avx2", "CT2_FORCE_CPU_ISA": "AVX2"}  # both engines read theirs at their start
SOURCE_TOKENS, TARGET_TOKENS = 24, 32


@dataclass(frozen=True)
class Case:
    """Two ways to do the same work; each callable does it once and returns its figure in `unit`."""

    name: str
    unit: str
    ours: Callable[[], float]
    peer: Callable[[], float]
    rounds: int
    more_is_better: bool = False

    def run(self) -> dict[str, object]:
        """Run interleaved: warm both up, then A B A B ..."""
        self.ours(), self.peer()
        pairs = [(self.ours(), self.peer()) for _ in range(self.rounds)]
        ratios = sorted(ours / peer if self.more_is_better else peer / ours for ours, peer in pairs)
        ours, peer = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = ours / peer if self.more_is_better else peer / ours
        tenth = len(ratios) // 10
        figures = {"ours": round(ours, 4), "peer": round(peer, 4), "unit": self.unit, "ratio": round(ratio, 2)}
        spread = [round(ratios[tenth], 2), round(ratios[-1 - tenth], 2)]
        return {"case": self.name, **figures, "ratio_10_to_90": spread, "rounds": self.rounds}


def per_token(subject: Subject, sources: Sources, beam_size: int = 1) -> Callable[[], float]:
    """Measure milliseconds for each target token, forced length, encoder included."""

    def run() -> float:
        begin = time.perf_counter()
        tokens = subject.translate(sources, beam_size, (TARGET_TOKENS, TARGET_TOKENS))
        return 1e3 * (time.perf_counter() - begin) / (tokens / len(sources))

    return run


def tokens_per_second(subject: Subject, sources: Sources) -> Callable[[], float]:
    """Measure tokens a second of a batch, forced length."""

    def run() -> float:
        begin = time.perf_counter()
        tokens = subject.translate(sources, 1, (TARGET_TOKENS, TARGET_TOKENS))
        return tokens / (time.perf_counter() - begin)

    return run


def encoder(subject: Subject, sources: Sources) -> Callable[[], float]:
    """Measure milliseconds to the first target token: the encoder and one step."""

    def run() -> float:
        begin = time.perf_counter()
        subject.translate(sources, 1, (1, 1))
        return 1e3 * (time.perf_counter() - begin)

    return run


def per_sentence(subject: Subject, sources: Sources, batch: int = 1) -> Callable[[], float]:
    """Measure milliseconds a sentence, free length, sentences of similar length together."""
    ordered = sorted(sources, key=len, reverse=True) if batch > 1 else sources

    def run() -> float:
        begin = time.perf_counter()
        for first in range(0, len(ordered), batch):
            subject.translate(ordered[first : first + batch], 1, None)
        return 1e3 * (time.perf_counter() - begin) / len(ordered)

    return run


def sentences(count: int) -> Sources:
    """Return the pieces of the first sentences of the Tatoeba test set."""
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(MODEL / "source.spm"))
    lines = (SHARED / "corpus" / "test" / "tatoeba.en").read_text(encoding="utf-8").splitlines()[:count]
    return [tokenizer.encode(line, out_type=str) for line in lines]


def words(length: int, seed: int = 0) -> list[str]:
    """Draw the pieces of a sentence of `length` tokens, eos included."""
    return [f"w{2 + (seed * 7919 + n * 104729) % 32000}" for n in range(length - 1)]


def python(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run a Python process and return what it prints."""
    command = [sys.executable, "-m", *arguments]
    env = os.environ | (environment or {})
    return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def fresh(side: str, directory: Path, figure: str) -> Callable[[], float]:
    """Return a figure of tests/bench/fresh.py."""
    return lambda: float(json.loads(python("tests.bench.fresh", side, str(directory)))[figure])


def plot_planes(results: list[dict[str, object]]) -> None:
    """Plot docs/results/planes.png: time of a token by planes, beside time in proportion to them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    times = {}
    for result in results:
        flat = re.search(r"flat (\d) planes", str(result["case"]))
        if flat:
            times[int(flat[1])] = float(str(result["ours"]))
    figure, axes = pyplot.subplots(figsize=(6, 4))
    axes.plot(list(times), list(times.values()), marker="o", label="measured")
    axes.plot(list(times), [times[1] * planes for planes in times], linestyle="--", label="in proportion to planes")
    axes.set(xlabel="planes of every matrix", ylabel="ms per token", xticks=list(times), ylim=(0, None))
    axes.legend()
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "results" / "planes.png", dpi=120)


def cases(quick: bool) -> list[Case]:
    """Return the table of docs/benchmarks.md, the first and the real one only if `quick`."""
    checkpoint = seeded_checkpoint(WORK / BASE_NAME, MODEL, **BASE)
    int8 = converted(checkpoint, WORK / f"{BASE_NAME}-int8", "int8")
    base = coded(checkpoint, WORK / f"{BASE_NAME}-paper-2.5", "paper-2.5")
    real_checkpoint = marian(MODEL, WORK)
    real_int8 = converted(real_checkpoint, WORK / f"{real_checkpoint.name}-int8", "int8")
    ours, peer = Ours(base), CTranslate2(int8, "int8")
    real, real_peer = Ours(MODEL), CTranslate2(real_int8, "int8")
    real_few_planes = Ours(MODEL, "paper-2.5")
    one = [words(SOURCE_TOKENS)]
    first = Case(FIRST, "ms/token", per_token(ours, one), per_token(peer, one), 15)
    few = sentences(100)
    default, few_planes = (
        Case(
            f"default model{name}, test sentences, batch 1, 1 thread",
            "ms/sentence",
            per_sentence(subject, few),
            per_sentence(real_peer, few),
            7,
        )
        for name, subject in (("", real), (" at paper-2.5", real_few_planes))
    )
    if quick:
        return [first, default]
    fp32 = Lazy(lambda: CTranslate2(converted(checkpoint, WORK / f"{BASE_NAME}-float32", "float32"), "float32"))
    torch = Lazy(lambda: Torch(checkpoint))
    many = [words(SOURCE_TOKENS, seed) for seed in range(32)]
    ours_2, peer_2 = Lazy(lambda: Ours(base, threads=2)), Lazy(lambda: CTranslate2(int8, "int8", threads=2))
    real_2, real_peer_2 = Lazy(lambda: Ours(MODEL, threads=2)), Lazy(lambda: CTranslate2(real_int8, "int8", threads=2))
    everything = sentences(3000)
    found = [
        first,
        Case("base, greedy, against float32", "ms/token", per_token(ours, one), per_token(fp32, one), 7),
        Case("base, greedy, against torch fp32", "ms/token", per_token(ours, one), per_token(torch, one), 5),
        Case("base, beam 4, batch 1, 1 thread", "ms/token", per_token(ours, one, 4), per_token(peer, one, 4), 9),
    ]
    for length in (24, 128):
        source = [words(length)]
        name = f"base, encoder of {length} tokens and one step, 1 thread"
        found.append(Case(name, "ms", encoder(ours, source), encoder(peer, source), 15))
    found += [
        Case("base, greedy, batch 1, 2 threads", "ms/token", per_token(ours_2, one), per_token(peer_2, one), 15),
        Case(
            "default model, test sentences, batch 1, 2 threads",
            "ms/sentence",
            per_sentence(real_2, few),
            per_sentence(real_peer_2, few),
            7,
        ),
        Case(
            "base, greedy, batch 32, 2 threads",
            "tokens/s",
            tokens_per_second(ours_2, many),
            tokens_per_second(peer_2, many),
            5,
            more_is_better=True,
        ),
        default,
        few_planes,
        Case(
            "default model, whole Tatoeba test set, 2 threads",
            "ms/sentence",
            per_sentence(real_2, everything, 64),
            per_sentence(real_peer_2, everything, 64),
            3,
        ),
    ]
    memory = "memory added by loading base and translating (private + mapped resident)"
    found.append(Case(memory, "MB", fresh("ours", base, "mb"), fresh("peer", int8, "mb"), 3))
    load = "load to first translation, base (warm cache)"
    found.append(Case(load, "ms", fresh("ours", base, "ms"), fresh("peer", int8, "ms"), 5))
    for planes in (1, 2, 3, 4):
        config = f"flat-{planes}"
        flat = Lazy(lambda config=config: Ours(coded(checkpoint, WORK / f"{BASE_NAME}-{config}", config)))
        name = f"base, flat {planes} planes, greedy, batch 1, 1 thread"
        found.append(Case(name, "ms/token", per_token(flat, one), per_token(peer, one), 7))
    return found


def machine() -> dict[str, object]:
    """Describe the machine."""
    from kernels.engine import isa

    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    amx = "amx_int8" in Path("/proc/cpuinfo").read_text()
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "amx": amx,
        "isa": isa(),
        "load_average": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
    }


def report(result: dict[str, object]) -> None:
    """Print what was measured in one line."""
    ours, peer, unit, ratio = (result[key] for key in ("ours", "peer", "unit", "ratio"))
    print(f"{result['case']}: {ours} {unit}, peer {peer}: {ratio}x", flush=True)


def main() -> None:
    """Run the cases and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first case and the default model's only")
    parser.add_argument("--first", action="store_true", help="print the first case as JSON and write nothing")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in their names")
    parser.add_argument("--output", metavar="NAME", help="write docs/results/NAME.json, not bench(-quick).json")
    options = parser.parse_args()
    quick = options.quick or options.first
    WORK.mkdir(parents=True, exist_ok=True)
    about = machine()
    if options.first:
        print(json.dumps(cases(quick)[0].run() | {"machine": about}))
        return
    name = options.output or ("bench-quick" if quick else "bench")
    path = ROOT / "docs" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    recorded = json.loads(path.read_text()) if options.only and path.exists() else []
    results = {str(result["case"]): result for result in recorded}

    def record(result: dict[str, object]) -> None:
        results[str(result["case"])] = result
        report(result)

    for case in cases(quick):
        if options.only in case.name:
            record(case.run() | {"machine": about})
    if not quick and not options.only:
        avx2 = json.loads(python("tests.bench.bench", "--first", environment=AVX2).splitlines()[-1])
        record(avx2 | {"case": f"{FIRST}, AVX2 on both sides"})
    if name == "bench":
        plot_planes(list(results.values()))
    path.write_text(json.dumps(list(results.values()), indent=1) + "\n")


if __name__ == "__main__":
    main()
