"""Sequence-level knowledge distillation (Kim & Rush 2016, arXiv 1606.07947): text that the teacher translated.

Beam search finds better translations than greedy search, and they are easier to learn than references, so a student
that learns them finds by greedy search much of what took beams before. Where a translation is far from the references,
a reference is taken instead.

    sample -> shards of JSON lines with text and references -> `sub3 corpus` adds the translation -> select -> pairs
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from sacrebleu.metrics.chrf import CHRF

from models.text.lines import DataError, read_lines
from models.train.recipe import Source

SHARD_LINES = 4000
_CHRF = CHRF()


def sample(counts: Mapping[str, int], corpus: Path, out: Path, *, seed: int) -> None:
    """Write shards of distinct sentences in random order, each with all its references.

    Args:
        counts: source, as recipes name them -> number of sentences to draw.
        corpus: has train/<source>.tsv.xz.
        out: a directory; it must not have shards yet.
        seed: of the draws.

    Raises:
        DataError: a source can't be read or has too few sentences, or there are shards already.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty; shards of another sample would be translated too.")
    draw = random.Random(seed)
    drawn: list[tuple[str, list[str]]] = []
    for name, count in counts.items():
        references: dict[str, list[str]] = {}
        for line in read_lines(Source(name, "").path(corpus)):
            references.setdefault(line.source, []).append(line.target or "")
        if count > len(references):
            raise DataError(f"{name} has {len(references)} distinct sentences, not {count}.")
        drawn += [(text, references[text]) for text in draw.sample(sorted(references), count)]
    draw.shuffle(drawn)
    out.mkdir(parents=True, exist_ok=True)  # not before all is read: make takes it for the shards
    for number, begin in enumerate(range(0, len(drawn), SHARD_LINES)):
        lines = (
            json.dumps({"text": text, "references": references}, ensure_ascii=False) + "\n"
            for text, references in drawn[begin : begin + SHARD_LINES]
        )
        (out / f"part-{number:03}.jsonl").write_text("".join(lines), encoding="utf-8")


def select(translated: Path, out: Path, *, least_chrf: float) -> tuple[int, int]:
    """Write source TAB target: the model's translation if it is near a reference and as long, else a reference.

    Args:
        translated: a directory of shards that `sample` wrote and `sub3 corpus` translated.
        out: a .tsv file.
        least_chrf: least chrF of the translation with its nearest reference, 0 to 100.

    Returns:
        Numbers of the model's own translations, and of all.

    Raises:
        DataError: the directory has no translated shards.
    """
    kept, pairs = 0, []
    for path in sorted(translated.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            values = json.loads(line)
            own = _is_near(values["translation"], values["references"], least_chrf)
            pairs.append(f"{values['text']}\t{values['translation'] if own else values['references'][0]}\n")
            kept += own
    if not pairs:
        raise DataError(f"{translated} has no translated shards.")
    out.write_text("".join(pairs), encoding="utf-8", newline="\n")
    return kept, len(pairs)


def _is_near(translation: str, references: Sequence[str], least_chrf: float) -> bool:
    """Tell whether a translation is near its nearest reference, and not shorter.

    A student of shorter ones too had 95.5 % of the length of Tatoeba's references where fp32 has 96.7 %, which
    alone costs 0.4 BLEU.
    """
    if {"\t", "\n"} & set(translation):
        return False
    score, words = max((_CHRF.sentence_score(translation, [each]).score, len(each.split())) for each in references)
    return score >= least_chrf and len(translation.split()) >= words
