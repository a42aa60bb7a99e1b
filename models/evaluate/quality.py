"""Scores and fault rates of translations, and paired bootstrap tests between two systems."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sacrebleu

NUMBER = re.compile(r"\d+")
# Those of printf, of Python's and of JavaScript's templates, and entities of XML.
PLACEHOLDER = re.compile(r"%(?:\d+\$)?[sdifux]|\{\{?\w*\}?\}|\$\{?\w+\}?|&\w+;")
LOOP = re.compile(r"(\S+(?: \S+){0,3})(?: \1){2,}(?= |$)")


def scores(translations: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Score with sacreBLEU: BLEU and chrF with their signatures."""
    result: dict[str, Any] = {}
    for name, metric in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
        result[name] = round(metric.corpus_score(list(translations), [list(references)]).score, 2)
        result[f"{name}_signature"] = str(metric.get_signature())
    return result


def faults(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[str],
    rare_pieces: Callable[[str], Sequence[str]],
) -> dict[str, float | None]:
    """Count faults that BLEU does not show; shares are from 0 to 1, None where there was nothing to count.

    Args:
        sources: sentences.
        translations: of them, to be judged.
        references: of them, by people.
        rare_pieces: the pieces of a text that belong to the rarest words.

    Returns:
        length_ratio: characters of the translations by those of the references.
        empty: share of translations without a word.
        looping: share that repeats up to four words three times or more in a row, where the reference does not.
        copied: share that is the source itself, where the reference is not.
        rare_recall: share of the references' rarest pieces that the translations have.
        numbers_kept: share of the sources' runs of digits that the translations have.
        placeholders_kept: the same of placeholders.
    """
    count = len(sources)
    triples = list(zip(sources, translations, references, strict=True))
    return {
        "length_ratio": _share(sum(map(len, translations)), sum(map(len, references))),
        "empty": _share(sum(not t.strip() for t in translations), count),
        "looping": _share(sum(bool(LOOP.search(t)) and not LOOP.search(r) for _, t, r in triples), count),
        "copied": _share(sum(t.strip() == s.strip() != r.strip() for s, t, r in triples), count),
        "rare_recall": _kept((rare_pieces(r), rare_pieces(t)) for _, t, r in triples),
        "numbers_kept": _kept((NUMBER.findall(s), NUMBER.findall(t)) for s, t, _ in triples),
        "placeholders_kept": _kept((PLACEHOLDER.findall(s), PLACEHOLDER.findall(t)) for s, t, _ in triples),
    }


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _kept(pairs: Any) -> float | None:
    """Return the share of the wanted items, counted as often as they occur, that were found."""
    wanted = found = 0
    for want, have in pairs:
        wanted += len(want)
        found += (Counter(want) & Counter(have)).total()
    return _share(found, wanted)


class Interval(NamedTuple):
    """A difference of BLEU, and where 95 % of its resamples lie."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    translations: Sequence[str], baseline: Sequence[str], references: Sequence[str], *, samples: int = 1000
) -> Interval:
    """Estimate the difference in BLEU of two systems by paired bootstrap resampling (Koehn 2004).

    `sacrebleu.significance.PairedTest` gives a p-value and an interval of each system; this gives the interval of the
    difference. The seed is sacreBLEU's.

    Args:
        translations: of one system.
        baseline: of the other, sentence by sentence.
        references: one for each source.
        samples: how often as many sentences are drawn, with replacement and a fixed seed.
    """
    metric = sacrebleu.BLEU()
    systems = [_statistics(metric, texts, references) for texts in (translations, baseline)]
    drawn = np.random.default_rng(12345).integers(0, len(references), (samples, len(references)))
    draws = np.stack([np.bincount(row, minlength=len(references)) for row in drawn])
    ours, theirs = ([_bleu(row) for row in draws @ statistics] for statistics in systems)
    whole, other = (_bleu(statistics.sum(0)) for statistics in systems)
    low, high = np.percentile(np.subtract(ours, theirs), [2.5, 97.5])
    return Interval(round(whole - other, 2), round(float(low), 2), round(float(high), 2))


def _statistics(metric: sacrebleu.BLEU, translations: Sequence[str], references: Sequence[str]) -> Any:
    """Return the statistics of BLEU by sentence: int64 [sentences, 10], four counts, four totals, two lengths."""
    rows = []
    for translation, reference in zip(translations, references, strict=True):
        score = metric.corpus_score([translation], [[reference]])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(rows, dtype=np.int64)


def _bleu(sums: Any) -> float:
    counts, totals, (sys_len, ref_len) = sums[:4].tolist(), sums[4:8].tolist(), sums[8:].tolist()
    return sacrebleu.BLEU.compute_bleu(counts, totals, sys_len, ref_len, smooth_method="exp").score
