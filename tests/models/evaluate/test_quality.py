"""Figures of quality on sentences whose faults are known, and the bootstrap against sacreBLEU's own."""

import random

import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from models.evaluate.quality import faults, paired_bootstrap, scores


def words(text: str) -> list[str]:
    return text.split()


def test_each_fault_is_counted_once():
    sources = ["one", "two 12 and 12", "three %s {name}", "four", "five"]
    references = ["eins", "zwei 12 und 12", "drei %s {name}", "vier", "five"]
    translations = ["", "zwei 12", "three %s {name}", "das ist das ist das ist vier", "five"]
    found = faults(sources, translations, references, words)
    assert found["empty"] == 0.2
    assert found["looping"] == 0.2
    assert found["copied"] == 0.2  # "five" is right as it is
    assert found["numbers_kept"] == 0.5
    assert found["placeholders_kept"] == 1.0
    # eins; zwei 12 und 12; drei %s {name}; vier; five
    assert found["rare_recall"] == pytest.approx((0 + 2 + 2 + 1 + 1) / 10)
    assert found["length_ratio"] == pytest.approx(sum(map(len, translations)) / sum(map(len, references)), abs=1e-4)


def test_two_repetitions_are_no_loop_and_a_loop_of_the_reference_is_none():
    found = faults(["a", "b"], ["ja ja", "nein nein nein"], ["ja", "nein nein nein"], words)
    assert found["looping"] == 0.0


def test_what_does_not_occur_has_no_share():
    found = faults(["a"], ["b"], ["c"], lambda text: [])
    assert (found["numbers_kept"], found["placeholders_kept"], found["rare_recall"]) == (None, None, None)


@pytest.fixture(scope="module")
def systems() -> tuple[list[str], list[str], list[str]]:
    """Make references, a system that drops a tenth of the words, and one that drops a third."""
    generator = random.Random(5)
    vocabulary = [f"w{n}" for n in range(60)]
    references = [" ".join(generator.choices(vocabulary, k=generator.randint(6, 14))) for _ in range(150)]

    def spoilt(share: float) -> list[str]:
        return [" ".join(w for w in line.split() if generator.random() > share) for line in references]

    return references, spoilt(0.1), spoilt(0.33)


def test_the_difference_is_that_of_sacrebleu_and_its_interval_holds_it(systems):
    references, good, bad = systems
    interval = paired_bootstrap(good, bad, references)
    difference = scores(good, references)["bleu"] - scores(bad, references)["bleu"]
    assert interval.difference == pytest.approx(difference, abs=0.011)
    assert 0 < interval.low < interval.difference < interval.high
    same = paired_bootstrap(good, good, references)
    assert same == (0.0, 0.0, 0.0)


def test_the_spread_is_that_of_sacrebleus_bootstrap(systems):
    references, good, _ = systems
    nothing = ["w0"] * len(references)
    ours = paired_bootstrap(good, nothing, references)
    metrics = {"BLEU": sacrebleu.BLEU(references=[references])}
    _, results = PairedTest([("nothing", nothing), ("good", good)], metrics, None, "bs", 1000)()
    theirs = results["BLEU"][1].ci  # half the width of 95 % of BLEU; that of nothing hardly varies
    assert (ours.high - ours.low) / 2 == pytest.approx(theirs, rel=0.15)
