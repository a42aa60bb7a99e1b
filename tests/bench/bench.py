"""Speed against other engines: the same work on all sides, runs interleaved, medians and the spread of their ratio.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.seeded import TRANSFORMER_BASE, Sizes, seeded_checkpoint
from tests.bench.subjects import (
    CTranslate2,
    Lazy,
    Ours,
    Sources,
    Subject,
    Torch,
    coded,
    converted,
    listed,
    mapped,
    marian,
)

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SUB3_SHARED", ROOT.parent / "shared"))
MODEL = ROOT / "models" / "store" / "en-de"
WORK = ROOT / "build" / "bench"
OPUS_MT = TRANSFORMER_BASE._replace(vocabularies=(58_101,))
FIRST = "base, greedy, batch 1, 1 thread"
AVX2 = {"SUB3_FORCE_ISA": "avx2", "CT2_FORCE_CPU_ISA": "AVX2"}  # both engines read theirs at their start
SOURCE_TOKENS, TARGET_TOKENS = 24, 32


@dataclass(frozen=True)
class Case:
    """Several ways to do the same work; each callable does it once and returns its figure in `unit`."""

    name: str
    unit: str
    ours: Callable[[], float]
    peers: Mapping[str, Callable[[], float]]
    rounds: int
    more_is_better: bool = False

    def run(self) -> dict[str, object]:
        """Run interleaved: warm all up, then A B C A B C ...; the row's own peer is the best one."""
        sides = {"ours": self.ours, **self.peers}
        for run in sides.values():
            run()
        figures: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(self.rounds):
            for name, run in sides.items():
                figures[name].append(run())
        found = {name: self._against(figures["ours"], figures[name]) for name in self.peers}
        best = min(found, key=lambda name: found[name]["ratio"])
        about = {"ours": round(statistics.median(figures["ours"]), 4), "unit": self.unit, "rounds": self.rounds}
        return {"case": self.name, **about, "best": best, **found[best], "peers": found}

    def _against(self, ours: Sequence[float], peer: Sequence[float]) -> dict[str, Any]:
        """Return a peer's median, and how many times better we are; above 1 is better."""

        def times(mine: float, other: float) -> float:
            return mine / other if self.more_is_better else other / mine

        ratios = sorted(map(times, ours, peer))
        tenth = len(ratios) // 10
        median = statistics.median(peer)
        return {
            "peer": round(median, 4),
            "ratio": round(times(statistics.median(ours), median), 2),
            "ratio_10_to_90": [round(ratios[tenth], 2), round(ratios[-1 - tenth], 2)],
        }


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
    return [f"w{2 + (seed * 7919 + n * 104729) % 24000}" for n in range(length - 1)]


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


class Shape:
    """Our engine and the peers with one checkpoint, each made when it first runs.

    Attributes:
        alike: peers that compute the same: all words of the vocabulary.
        listed: peers with the same shortlist as ours.
    """

    def __init__(self, checkpoint: Path, directory: Path, listed_: Path, config: str | None = None) -> None:
        """Take a Marian checkpoint, our model directory of it, and the same with a shortlist."""
        self.checkpoint, self.directory, self.config = checkpoint, directory, config
        int8 = WORK / f"{checkpoint.name}-int8"
        self.int8 = Lazy(lambda: CTranslate2(converted(checkpoint, int8, "int8"), "int8"))
        self.ours = Lazy(lambda: Ours(directory, config))
        self.ours_listed = Lazy(lambda: Ours(listed_, config, shortlist=True))

        def with_map() -> CTranslate2:
            return CTranslate2(mapped(converted(checkpoint, int8, "int8"), listed_, WORK / f"{int8.name}-vmap"), "int8")

        def onnx(bits: int) -> Lazy:
            from tests.bench.onnx_peer import Onnx

            return Lazy(lambda: Onnx(checkpoint, bits))

        self.alike: dict[str, Subject] = {
            "CTranslate2 int8": self.int8,
            "onnxruntime 4 bits": onnx(4),
            "onnxruntime int8": onnx(8),
        }
        self.listed: dict[str, Subject] = {"CTranslate2 int8, shortlist": Lazy(with_map)}

    def case(
        self,
        name: str,
        unit: str,
        measure: Callable[[Subject], Callable[[], float]],
        rounds: int,
        *,
        beams: bool = False,
        more_is_better: bool = False,
    ) -> list[Case]:
        """Return the case against peers without, and with, a shortlist; onnxruntime's graph has no beams."""
        alike = {peer: each for peer, each in self.alike.items() if not beams or peer.startswith("CTranslate2")}
        sides = ((name, self.ours, alike), (f"{name}, shortlist", self.ours_listed, alike | self.listed))
        return [
            Case(title, unit, measure(ours), {p: measure(each) for p, each in peers.items()}, rounds, more_is_better)
            for title, ours, peers in sides
        ]


def seeded(sizes: Sizes, name: str) -> Shape:
    """Return random weights of these sizes, coded by a configuration of that name."""
    stem = f"seeded-{sizes.d_model}-{sizes.vocabularies[0]}"
    checkpoint = seeded_checkpoint(WORK / stem, sizes)
    directory = coded(checkpoint, WORK / f"{stem}-{name}", name)
    return Shape(checkpoint, directory, listed(directory, WORK / f"{stem}-{name}-listed", always=100, each=50))


def cases(quick: bool) -> list[Case]:
    """Return the table of docs/benchmarks.md, the first and the real one only if `quick`."""
    wide = seeded(TRANSFORMER_BASE, "paper-2.5")
    one = [words(SOURCE_TOKENS)]
    first = wide.case(FIRST, "ms/token", lambda subject: per_token(subject, one), 15)
    few = sentences(100)
    real = Shape(marian(MODEL, WORK), MODEL, MODEL)
    what = "default model, test sentences, batch 1, 1 thread"
    default = real.case(what, "ms/sentence", lambda subject: per_sentence(subject, few), 7)
    if quick:
        return [first[0], default[0]]
    found = [
        *first,
        *wide.case(
            "base, beam 4, batch 1, 1 thread", "ms/token", lambda subject: per_token(subject, one, 4), 9, beams=True
        ),
    ]
    for size in (4, 24, 64):
        batch = [words(SOURCE_TOKENS, seed) for seed in range(size)]
        found += wide.case(
            f"base, greedy, batch {size}, 1 thread",
            "tokens/s",
            lambda subject, batch=batch: tokens_per_second(subject, batch),
            5,
            more_is_better=True,
        )
    for length in (24, 128):
        source = [words(length)]
        name = f"base, encoder of {length} tokens and one step, 1 thread"
        measure = lambda subject, source=source: encoder(subject, source)  # noqa: E731
        found.append(wide.case(name, "ms", measure, 15)[0])
    opus = seeded(OPUS_MT, "flat-2")
    name = "base with the vocabulary of Opus-MT, two planes, greedy, batch 1, 1 thread"
    found += opus.case(name, "ms/token", lambda subject: per_token(subject, one), 9)
    return [*found, *default, *_beside(wide, real, one, few)]


def _beside(wide: Shape, real: Shape, one: Sources, few: Sources) -> list[Case]:
    """Return the cases of float32, two threads, a whole test set, memory, loading and numbers of planes."""
    checkpoint, int8 = wide.checkpoint, WORK / f"{wide.checkpoint.name}-int8"
    real_int8 = WORK / f"{real.checkpoint.name}-int8"
    fp32 = Lazy(lambda: CTranslate2(converted(checkpoint, WORK / f"{checkpoint.name}-float32", "float32"), "float32"))
    torch = Lazy(lambda: Torch(checkpoint))
    many = [words(SOURCE_TOKENS, seed) for seed in range(32)]
    ours_2, real_2 = Lazy(lambda: Ours(wide.directory, threads=2)), Lazy(lambda: Ours(MODEL, threads=2))
    peer_2, real_peer_2 = (Lazy(lambda path=path: CTranslate2(path, "int8", threads=2)) for path in (int8, real_int8))
    everything = sentences(3000)
    few_planes = Lazy(lambda: Ours(MODEL, "paper-2.5"))
    ct2 = "CTranslate2 int8"

    def pair(
        name: str,
        unit: str,
        measure: Callable[[Subject], Callable[[], float]],
        sides: tuple[Subject, Subject],
        rounds: int,
        *,
        peer: str = ct2,
        more_is_better: bool = False,
    ) -> Case:
        ours, other = sides
        return Case(name, unit, measure(ours), {peer: measure(other)}, rounds, more_is_better)

    def token(subject: Subject) -> Callable[[], float]:
        return per_token(subject, one)

    found = [
        pair("base, greedy, against float32", "ms/token", token, (wide.ours, fp32), 7, peer="CTranslate2 float32"),
        pair("base, greedy, against torch fp32", "ms/token", token, (wide.ours, torch), 5, peer="torch fp32"),
        pair("base, greedy, batch 1, 2 threads", "ms/token", token, (ours_2, peer_2), 15),
        pair(
            "base, greedy, batch 32, 2 threads",
            "tokens/s",
            lambda subject: tokens_per_second(subject, many),
            (ours_2, peer_2),
            5,
            more_is_better=True,
        ),
    ]
    for name, sides in (
        ("default model, test sentences, batch 1, 2 threads", (real_2, real_peer_2)),
        ("default model at paper-2.5, test sentences, batch 1, 1 thread", (few_planes, real.int8)),
    ):
        found.append(pair(name, "ms/sentence", lambda subject: per_sentence(subject, few), sides, 7))
    found.append(
        pair(
            "default model, whole Tatoeba test set, 2 threads",
            "ms/sentence",
            lambda subject: per_sentence(subject, everything, 64),
            (real_2, real_peer_2),
            3,
        )
    )
    memory = "memory added by loading base and translating (private + mapped resident)"
    load = "load to first translation, base (warm cache)"
    for name, unit, figure, rounds in ((memory, "MB", "mb", 3), (load, "ms", "ms", 5)):
        ours, peer = fresh("ours", wide.directory, figure), fresh("peer", int8, figure)
        found.append(Case(name, unit, ours, {ct2: peer}, rounds))
    for planes in (1, 2, 3, 4):
        config = f"flat-{planes}"
        flat = Lazy(lambda config=config: Ours(coded(checkpoint, WORK / f"{checkpoint.name}-{config}", config)))
        name = f"base, flat {planes} planes, greedy, batch 1, 1 thread"
        found.append(pair(name, "ms/token", token, (flat, wide.int8), 7))
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
    peers = result["peers"]
    assert isinstance(peers, dict)
    others = ", ".join(f"{name} {found['peer']} ({found['ratio']}x)" for name, found in peers.items())
    print(f"{result['case']}: {result['ours']} {result['unit']}; {others}", flush=True)


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
