"""Names: how many of 500 places and people arrive in the translation, and what looking for them costs and buys.

    python -m tests.bench.names [--sentences 500]

The sentences with a name are those of the evaluation (`models/evaluate/fidelity.py`); a name is right if it stands
there as a word, maybe in the genitive. Test sets tell what the check does to BLEU and chrF, with the other checks on
both ways. Sentences are translated one at a time by one thread, the two ways in turn. Writes docs/results/names.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import sacrebleu

from models.evaluate.fidelity import named, names_right
from models.format.directory import open_model
from service.live.configurations import by_name
from service.text import names
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.bench.bench import MODEL, ROOT, SHARED, machine
from tests.bench.two_ways import both_ways, changed

SETS = ("newstest2014", "flores101_devtest", "tatoeba", "software_po")


@contextmanager
def unchecked() -> Iterator[None]:
    """Take hypotheses whatever names they have."""
    find = names.find
    names.find = lambda *_: []  # type: ignore[assignment]
    try:
        yield
    finally:
        names.find = find


def measured(model: Path, languages: tuple[str, str], count: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the figures of the sentences with a name, then of each test set."""
    directory = open_model(model)
    default = by_name(directory, directory.config.default_configuration)
    translator = Translator(directory, Tokenizer(directory), *default, max_batch_tokens=4096)
    options = Options(*languages)
    sentences = named(*languages)
    figures: dict[str, object] = {"sentences": len(sentences)}
    for side, way in both_ways(translator, [each.sentence for each in sentences], options, unchecked).items():
        judged = names_right(sentences, way.texts)
        cost = {"ms": way.mean_ms, "rungs": asdict(way.rungs)}
        figures[side] = {"names_right": judged["names_right"], **cost, "wrong": judged["names_wrong"]}
    yield f"{model.name}, names", figures
    for name in SETS:
        sources, references = (
            (SHARED / f"corpus/test/{name}.{code}").read_text("utf-8").splitlines()[:count] for code in languages
        )
        ways = both_ways(translator, sources, options, unchecked)
        figures = {
            "sentences": len(sources),
            "with_a_name": sum(bool(names.find(source, *languages)) for source in sources),
            "changed": changed(ways),
        }
        for side, way in ways.items():
            bleu, chrf = sacrebleu.corpus_bleu(way.texts, [references]), sacrebleu.corpus_chrf(way.texts, [references])
            cost = {"ms": way.mean_ms, "rungs": asdict(way.rungs)}
            figures[side] = {"bleu": round(bleu.score, 2), "chrf": round(chrf.score, 2), **cost}
        yield f"{model.name}, {name}", figures


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=500)
    arguments = parser.parse_args()
    results = {}
    for model, languages in ((MODEL, ("en", "de")), (MODEL.parent / "de-en", ("de", "en"))):
        for name, figures in measured(model, languages, arguments.sentences):
            results[name] = figures
            print(name, json.dumps(figures)[:600], file=sys.stderr)
    command = " ".join(["python -m tests.bench.names", *sys.argv[1:]])
    whole = {"command": command, "machine": machine(), "results": results}
    (ROOT / "docs/results/names.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
