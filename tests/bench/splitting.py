"""Sentence splitters on real paragraphs: `python -m tests.bench.splitting` writes docs/results/splitting.json.

Paragraphs are runs of five sentences that follow each other in a test set (news articles, Wikipedia), each ended by a
mark of its own, joined by a space. A boundary is right if it stands where two sentences were joined. Needs the corpus,
and `pip install pysbd`.
"""

import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from pathlib import Path

from tests.conftest import ROOT, SHARED

SETS = {
    "en": ("test/newstest2014.en", "test/flores101_devtest.en"),
    "de": ("test/newstest2014.de", "test/flores101_devtest.de"),
    "fr": ("test_enfr/newstest2014.fr", "test_enfr/flores101_devtest.fr"),
}
SENTENCES = 5
RESULT = ROOT / "docs" / "results" / "splitting.json"

Splitter = Callable[[str], Iterable[str]]


def paragraphs(path: Path) -> list[list[str]]:
    """Make runs of sentences."""
    lines = path.read_text(encoding="utf-8").splitlines()
    runs = [lines[n : n + SENTENCES] for n in range(0, len(lines) - SENTENCES + 1, SENTENCES)]
    return [run for run in runs if all(line.rstrip("\"'“”»)’ ").endswith((".", "!", "?", "…")) for line in run)]


def ours(language: str) -> Splitter:
    """Split as the product does: sentencex, with placeholders kept whole and lists' marks apart."""
    from service.text.sentences import split

    return lambda text: [piece.text for piece in split(text, language)]


def sentencex(language: str) -> Splitter:
    """Split with sentencex alone."""
    import sentencex as library

    return lambda text: library.segment(language, text)


def pysbd(language: str) -> Splitter:
    """Split with pysbd."""
    import pysbd as library

    return library.Segmenter(language=language, clean=False).segment


def boundaries(sentences: Iterable[str]) -> set[int]:
    """Return where sentences end, counted in characters other than spaces, so that spaces may go either way."""
    ends, position = set(), 0
    for sentence in sentences:
        position += len("".join(sentence.split()))
        ends.add(position)
    return ends - {0, position}


def measure(make: Callable[[str], Splitter], corpus: Path) -> dict[str, dict[str, float]]:
    """Measure precision, recall and F1 of boundaries in percent, by language; milliseconds a paragraph; megabytes."""
    results: dict[str, dict[str, float]] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for language, names in SETS.items():
        split = make(language)
        right = found = wanted = dropped = 0
        seconds, texts = 0.0, [run for name in names for run in paragraphs(corpus / name)]
        for run in texts:
            text = " ".join(run)
            started = time.process_time()
            sentences = list(split(text))
            seconds += time.process_time() - started
            expected, given = boundaries(run), boundaries(sentences)
            right, found, wanted = right + len(expected & given), found + len(given), wanted + len(expected)
            dropped += "".join("".join(sentences).split()) != "".join(text.split())
        precision, recall = right / found, right / wanted
        results[language] = {
            "paragraphs": len(texts),
            "precision": round(100 * precision, 2),
            "recall": round(100 * recall, 2),
            "f1": round(200 * precision * recall / (precision + recall), 2),
            "paragraphs_changed": dropped,
            "ms_a_paragraph": round(1e3 * seconds / len(texts), 3),
        }
    results["all"] = {"megabytes": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)}
    return results


def main() -> int:
    """Measure each in a process of its own."""
    corpus = SHARED / "corpus"
    results = {}
    for make in (sentencex, pysbd, ours):
        with get_context("spawn").Pool(1) as pool:
            results[make.__name__] = pool.apply(measure, (make, corpus))
        print(make.__name__, json.dumps(results[make.__name__]))
    document = {
        "command": "python -m tests.bench.splitting",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "results": results,
    }
    RESULT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
