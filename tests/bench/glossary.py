"""Glossaries: terms obeyed, BLEU and milliseconds, with constrained decoding and without.

    python -m tests.bench.glossary [--sentences 300]

Of each test sentence up to three words are terms: words for which the training corpus' dictionary has a translation
that stands in the reference. A term is obeyed if its translation stands in the output as a word; "begun" counts words
that begin with it ("Drucker" in "Druckers", "Druckertreiber") too. New words are those of the output that are not in
the one without a glossary, for each term that this one lacked: 1 is the term alone. A term is stuck on where its
translation stands in the output more often than the term in the source (and than in the output without a glossary), is
part of a longer word that the output without a glossary does not have, or stands behind the end of the sentence.
"inflected" leaves endings to the model. Sentences are translated one at a time by one thread, the ways in turn. Writes
docs/results/glossary.json.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import sacrebleu

from models.format.directory import open_model
from service.text.glossary import Glossary
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.bench.bench import MODEL, ROOT, SHARED, machine

SETS = ("tatoeba", "software_po", "libreoffice_help", "multi30k_2016_flickr")
MOST_TERMS = 3
WAYS = ("without", "with", "inflected")
_SENTENCE_END = re.compile(r"(?<!\d)[.!?](?=\s+\S)")
_WORD = re.compile(r"\w+")
_LETTERS = re.compile(r"[^\W\d_]{4,}")  # shorter words are articles and the like


class Example(NamedTuple):
    """A test sentence with its terms."""

    source: str
    reference: str
    terms: dict[str, str]


def dictionary() -> dict[str, set[str]]:
    """Map an English word in lower case to its German words."""
    words: dict[str, set[str]] = defaultdict(set)
    with lzma.open(SHARED / "corpus" / "train" / "ding_dict.tsv.xz", "rt", encoding="utf-8") as file:
        for line in file:
            source, target = line.rstrip("\n").split("\t")[:2]
            if _LETTERS.fullmatch(source) and _LETTERS.fullmatch(target):
                words[source.lower()].add(target)
    return words


def examples(name: str, words: dict[str, set[str]], most: int) -> list[Example]:
    """Pick the first sentences of a test set that have terms, with the longest of these."""
    lines = [
        (SHARED / "corpus" / "test" / f"{name}.{language}").read_text(encoding="utf-8").splitlines()
        for language in ("en", "de")
    ]
    found = []
    for source, reference in zip(*lines, strict=True):
        there = set(_WORD.findall(reference))
        terms = {word: words[word] & there for word in _WORD.findall(source.lower()) if words.get(word, set()) & there}
        chosen = sorted(terms, key=lambda word: (-len(word), word))[:MOST_TERMS]
        if chosen:
            found.append(Example(source, reference, {word: min(terms[word]) for word in chosen}))
    return found[:most]


def obeyed(terms: dict[str, str], text: str) -> tuple[int, int]:
    """Count the translations that are words of a text, and those that begin one; a sentence's first is capitalised."""
    words = _WORD.findall(text)
    spellings = [(target, target[0].upper() + target[1:]) for target in terms.values()]
    whole = sum(any(spelling in words for spelling in ways) for ways in spellings)
    return whole, sum(any(word.startswith(ways) for word in words) for ways in spellings)


def is_stuck_on(example: Example, without: str, text: str) -> bool:
    """Tell whether a term stands in an output where the sentence has no place for it."""
    words, plain = _WORD.findall(text), _WORD.findall(without)
    source = Counter(_WORD.findall(example.source.lower()))
    targets = {word for target in example.terms.values() for word in (target, target[0].upper() + target[1:])}
    for target in set(example.terms.values()):
        ways = {target, target[0].upper() + target[1:], target.upper()}
        often = sum(word in ways for word in words)
        wanted = sum(source[term] for term, own in example.terms.items() if own == target)
        if often > max(wanted, sum(word in ways for word in plain)):
            return True
        parts = [word for word in words if target.lower() in word.lower() and word not in ways | targets]
        if any(word not in plain and not _is_inflected(word, target) for word in parts):
            return True
    ends = [len(_SENTENCE_END.findall(each)) for each in (example.source, without, text)]
    return ends[2] > max(ends[:2])


def _is_inflected(word: str, target: str) -> bool:
    return word.lower().startswith(target.lower()) and len(word) - len(target) <= 3


def measured(translator: Translator, examples: list[Example], beam_size: int) -> list[dict[str, object]]:
    """Measure translation with and without a glossary."""
    outputs: dict[str, list[str]] = {way: [] for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for example in examples:
        for way in WAYS:
            glossary = None if way == "without" else Glossary(example.terms, "en", "de")
            options = Options("en", "de", beam_size, glossary=glossary, exact_terms=way != "inflected")
            started = time.thread_time()
            outputs[way].append(translator.translate([example.source], options).translations[0].best.text)
            times[way].append(1e3 * (time.thread_time() - started))
    plain = [obeyed(example.terms, text)[0] for example, text in zip(examples, outputs["without"], strict=True)]
    lacked = sum(len(example.terms) - count for example, count in zip(examples, plain, strict=True))
    results = []
    for way in WAYS:
        pairs = list(zip(outputs["without"], outputs[way], strict=True))
        others = sum(sum((Counter(_WORD.findall(new)) - Counter(_WORD.findall(old))).values()) for old, new in pairs)
        stuck = [
            (example.source, example.terms, new)
            for example, (old, new) in zip(examples, pairs, strict=True)
            if is_stuck_on(example, old, new)
        ]
        counts = [obeyed(example.terms, text) for example, text in zip(examples, outputs[way], strict=True)]
        total = sum(len(example.terms) for example in examples)
        bleu = sacrebleu.corpus_bleu(outputs[way], [[example.reference for example in examples]])
        results.append(
            {
                "beam_size": beam_size,
                "glossary": way,
                "sentences": len(examples),
                "terms": total,
                "obeyed": round(sum(whole for whole, _ in counts) / total, 4),
                "obeyed_or_begun": round(sum(begun for _, begun in counts) / total, 4),
                "bleu": round(bleu.score, 2),
                "ms_per_sentence": round(statistics.mean(times[way]), 2),
                "ms_median": round(statistics.median(times[way]), 2),
                **(
                    {}
                    if way == "without"
                    else {
                        "new_words_for_each_lacked_term": round(others / max(lacked, 1), 2),
                        "stuck_on": len(stuck),
                        "stuck_on_sentences": stuck[:10],
                    }
                ),
            }
        )
    return results


def main() -> None:
    """Translate both ways and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=300, help="of each test set")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "glossary.json")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    options = parser.parse_args()
    directory = open_model(MODEL)
    default = directory.config.default_configuration
    translator = Translator(directory, Tokenizer(directory), default, directory.allocation(default), 4096)
    words = dictionary()
    results = []
    for name in options.sets:
        chosen = examples(name, words, options.sentences)
        for beam_size in options.beams:
            for result in measured(translator, chosen, beam_size):
                results.append({"set": name, **result})
                print(results[-1], flush=True)
    report = {"command": f"python -m tests.bench.glossary {' '.join(sys.argv[1:])}".strip(), "machine": machine()}
    report |= {"configuration": default, "results": results}
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
