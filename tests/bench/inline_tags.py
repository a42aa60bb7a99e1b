"""Inline tags in HTML: kept in their sentence and placed by alignment, against ending a unit at each tag.

    python -m tests.bench.inline_tags [--sentences 200]

Of each test sentence one word is put in bold whose partner in German is beyond doubt (Dice coefficient of at least 0.5
in the training pairs). Told for both ways: BLEU of the text without tags, and in how many of the sentences whose
translation has the partner it stands in bold, alone or with others. Writes docs/results/inline-tags.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import re
import sys
from collections import Counter
from pathlib import Path

import sacrebleu

from models.format.directory import open_model
from service.text.markup import Document
from service.text.markup_tokens import Markup
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.bench.bench import MODEL, ROOT, SHARED, machine

_WORD = re.compile(r"\w+")
_TAG = re.compile(r"<[^>]*>")
SETS = ("tatoeba", "software_po")


def partners(pairs_of_each: int = 60000, least: float = 0.5) -> dict[str, str]:
    """Map German words to the English words they go with, where one does, both in lower case."""
    source: Counter[str] = Counter()
    target: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for name in SETS:
        with lzma.open(SHARED / "corpus" / "train" / f"{name}.tsv.xz", "rt", encoding="utf-8") as file:
            for line in itertools.islice(file, pairs_of_each):
                left, right = (set(_WORD.findall(text.lower())) for text in line.rstrip("\n").split("\t")[:2])
                if len(left) <= 20 and len(right) <= 20:
                    source.update(left)
                    target.update(right)
                    both.update(itertools.product(left, right))
    dice = {pair: 2 * count / (source[pair[0]] + target[pair[1]]) for pair, count in both.items() if count >= 10}
    best = sorted((value, *pair) for pair, value in dice.items() if value >= least)
    return {right: left for _, left, right in best}


def in_bold(sentence: str, words: set[str]) -> tuple[str, str] | None:
    """Return the sentence with the last of the words that it has once in bold, and that word."""
    found = Counter(_WORD.findall(sentence.lower()))
    for match in reversed(list(_WORD.finditer(sentence))):
        word = match[0].lower()
        if word in words and found[word] == 1 and match.start() > 0:
            return f"{sentence[: match.start()]}<b>{match[0]}</b>{sentence[match.end() :]}", word
    return None


def main() -> None:
    """Translate both ways and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=200, help="of each test set")
    options = parser.parse_args()
    directory = open_model(MODEL)
    default = directory.config.default_configuration
    translator = Translator(directory, Tokenizer(directory), default, directory.allocation(default), 4096)
    german = partners()
    examples = []
    for name in SETS:
        lines = [
            (SHARED / "corpus" / "test" / f"{name}.{language}").read_text(encoding="utf-8").splitlines()
            for language in ("en", "de")
        ]
        for sentence, reference in itertools.islice(zip(*lines, strict=True), options.sentences):
            if "<" not in sentence and (bold := in_bold(sentence, set(german.values()))):
                examples.append((*bold, reference))
    results = []
    for is_aligned in (False, True):
        documents = [Document(text, Markup("html"), is_aligned=is_aligned) for text, _, _ in examples]
        asked = Options("en", "de", alignment=is_aligned)
        translations = translator.translate([document.text for document in documents], asked).translations
        rendered = [
            document.render(translation.best.text, translation.best.alignment)
            for document, translation in zip(documents, translations, strict=True)
        ]
        assert all(len(_TAG.findall(text)) == 2 for text in rendered)
        judged = right = 0
        for text, (_, word, _) in zip(rendered, examples, strict=True):
            inside = {german.get(other) for other in _WORD.findall(re.findall("<b>(.*?)</b>", text, re.S)[0].lower())}
            if word in {german.get(other) for other in _WORD.findall(_TAG.sub("", text).lower())}:
                judged, right = judged + 1, right + (word in inside)
        bleu = sacrebleu.corpus_bleu(
            [_TAG.sub("", text) for text in rendered], [[reference for *_, reference in examples]]
        )
        results.append(
            {
                "way": "placed by alignment" if is_aligned else "a unit ends at each tag",
                "sentences": len(examples),
                "bleu": round(bleu.score, 2),
                "with_partner": judged,
                "partner_in_bold": right,
                "share": round(right / judged, 3),
            }
        )
        print(results[-1], flush=True)
    report = {"command": f"python -m tests.bench.inline_tags {' '.join(sys.argv[1:])}".strip(), "machine": machine()}
    path: Path = ROOT / "docs" / "results" / "inline-tags.json"
    path.write_text(json.dumps(report | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
