"""Numbers: how many of 2,000 sentences have all of theirs in the translation, and what it costs.

    python -m tests.bench.numbers [--sentences 2000] [--beams 1 4]

Half of the sentences are frames filled with numbers, dates, times, amounts, versions and telephone numbers
(`models/text/frames.py`, a seed of its own), half are those of the test sets with a digit. A sentence is right if the
comparison of the evaluation, `models/text/numbers.py`, which shares no code with the server's, finds each number of
either side on the other; what the server's own says stands beside. Without the check each takes the first hypothesis.
Sentences are translated one at a time by one thread, the two ways in turn. Plain sentences, those of Tatoeba's
validation set, tell what the check costs where it has nothing to do. Writes docs/results/numbers.json.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice

import sacrebleu

from models.format.directory import open_model
from models.text.frames import generate
from models.text.numbers import arrive
from service.live.configurations import by_name
from service.text import numbers
from service.translation.assembly import SourceSentence
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.bench.bench import MODEL, ROOT, SHARED, machine
from tests.bench.two_ways import both_ways, changed

SETS = ("tatoeba", "newstest2014", "flores101_devtest", "software_po", "libreoffice_help", "games_po", "manpages")
SEED = 2_000
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
KINDS = {
    "telephone": r"\+\d|\(\d{2,}\)|\b0\d{2,}[ /-]\d|\b\d{3}-\d{4}\b",
    "version": r"\b\d+\.\d+\.\d+|\b[vV]\d|[Vv]ersion \d",
    "date": rf"(?:{MONTHS}) \d|\d (?:{MONTHS})|\d{{4}}-\d\d-\d\d|\d+/\d+/\d+",
    "time": r"\b\d{1,2}[:.]\d\d\b(?! ?%)|\b\d{1,2} ?[ap]\.?m\b",
    "amount": r"[$€£¥] ?\d|\d ?(?:[$€£¥]|dollars|euros|pounds)",
    "percent": r"\d ?%|\d per ?cent",
    "year": r"\b(?:1[5-9]|20)\d\d\b",
    "large or with decimals": r"\d[.,]\d",
    "number": r"\d",
}
Pair = tuple[str, str]


def is_right(source: str, translation: str) -> bool:
    """Tell whether the numbers of an English sentence and of its German translation are the same."""
    return arrive(source, "en", translation, "de") and arrive(translation, "de", source, "en")


def kind_of(source: str) -> str:
    """Return the first kind of number that a sentence has."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, source)), "number")


def has_digit(pair: Pair) -> bool:
    """Tell whether the English side has a digit."""
    return any(map(str.isdecimal, pair[0]))


def lines(folder: str, name: str) -> list[Pair]:
    """Read a set of the corpus."""
    sides = (
        (SHARED / "corpus" / folder / f"{name}.{language}").read_text("utf-8").splitlines() for language in ("en", "de")
    )
    return list(zip(*sides, strict=True))


@contextmanager
def unchecked() -> Iterator[None]:
    """Take the first hypothesis, whatever its numbers are."""
    check = SourceSentence.has_its_numbers
    SourceSentence.has_its_numbers = lambda *_: True  # type: ignore[method-assign]
    try:
        yield
    finally:
        SourceSentence.has_its_numbers = check  # type: ignore[method-assign]


def measured(translator: Translator, pairs: Sequence[Pair], beam_size: int) -> dict[str, dict[str, object]]:
    """Translate without the check and with it."""
    ways = both_ways(translator, [source for source, _ in pairs], Options("en", "de", beam_size), unchecked)
    found: dict[str, dict[str, object]] = {}
    for name, way in ways.items():
        texts = way.texts
        right = [is_right(source, text) for (source, _), text in zip(pairs, texts, strict=True)]
        agree = [numbers.agree(source, "en", text, "de") for (source, _), text in zip(pairs, texts, strict=True)]
        found[name] = {
            "numbers_right": round(sum(right) / len(right), 4),
            "by_the_server_s_comparison": round(sum(agree) / len(agree), 4),
            "bleu": round(sacrebleu.corpus_bleu(texts, [[reference for _, reference in pairs]]).score, 2),
            "ms_per_sentence": way.mean_ms,
        }
    kinds: dict[str, dict[str, object]] = {}
    for kind in KINDS:
        own = [index for index, (source, _) in enumerate(pairs) if kind_of(source) == kind]
        if own:
            shares = {
                name: round(sum(is_right(pairs[index][0], way.texts[index]) for index in own) / len(own), 4)
                for name, way in ways.items()
            }
            kinds[kind] = {"sentences": len(own), **shares}
    return found | {"kinds": kinds, "rungs": asdict(ways["with"].rungs), "changed": {"sentences": changed(ways)}}


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    half = arguments.sentences // 2
    made = list(islice(filter(has_digit, generate(SEED)), half))
    real = [pair for name in SETS for pair in filter(has_digit, lines("test", name))]
    random.Random(SEED).shuffle(real)
    sets = {"made": made, "corpus": real[:half], "plain": lines("valid", "tatoeba")[:half]}
    directory = open_model(MODEL)
    default = by_name(directory, directory.config.default_configuration)
    translator = Translator(directory, Tokenizer(directory), *default, max_batch_tokens=4096)
    results: dict[str, object] = {}
    for name, pairs in sets.items():
        for beam_size in arguments.beams:
            results[f"{name}, beam {beam_size}"] = found = {
                "sentences": len(pairs),
                **measured(translator, pairs, beam_size),
            }
            print(name, beam_size, json.dumps(found), file=sys.stderr)
    whole = {
        "command": " ".join(["python -m tests.bench.numbers", *sys.argv[1:]]),
        "machine": machine(),
        "results": results,
    }
    (ROOT / "docs/results/numbers.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
