"""Sentences in their texts, from hypotheses written by hand."""

from pathlib import Path

import pytest

from kernels.engine import Hypothesis, Sentence
from models.format.directory import open_model
from service.text.glossary import Glossary
from service.text.sentences import Piece
from service.translation.assembly import Arrivals, Document, SourceSentence, join
from service.translation.results import Candidate
from service.translation.tokenizer import Tokenizer


def translated(text: str, *kept: tuple[int, int]) -> SourceSentence:
    return SourceSentence(Piece(text, True, kept), Sentence([2, 0], 10))


def copied(text: str) -> SourceSentence:
    return SourceSentence(Piece(text, False), None)


def candidates(*texts: str) -> list[Candidate]:
    return [Candidate(text, -float(rank)) for rank, text in enumerate(texts, 1)]


def test_the_last_hypothesis_of_a_sentence_stands_in_for_those_it_lacks() -> None:
    document = [translated("One."), copied(" "), translated("Two."), copied("\n")]
    best, alternatives, *_ = join(document, iter([candidates("a", "b", "c"), candidates("x", "y")]))
    assert [candidate.text for candidate in (best, *alternatives)] == ["a x\n", "b y\n", "c y\n"]
    assert [candidate.score for candidate in (best, *alternatives)] == [-1.0, -2.0, -2.5]


def test_a_sentence_whose_parts_lose_a_placeholder_too_is_copied(default_model_dir: Path) -> None:
    tokenizer = Tokenizer(open_model(default_model_dir))

    def arrives(arrivals: Arrivals, index: int, text: str) -> None:
        (ids,) = tokenizer.phrases(text, follows_mark=False)
        arrivals.read(index, [Hypothesis(ids, -1.0)])

    source, kept = 'Set "value_x" now', (5, 12)
    for part, expected in (('Setze "', 'Setze "value_x jetzt'), ("Setze $", source)):  # $value_x is a placeholder
        arrivals = Arrivals([[translated(source, kept)]], tokenizer)
        arrives(arrivals, 0, "Setze jetzt")  # without a stand-in
        assert arrivals.failed == [0]
        parts: Document = [translated('Set "'), copied("value_x"), copied(" "), translated('" now')]
        arrived = Arrivals([parts], tokenizer)
        arrives(arrived, 0, part)
        arrives(arrived, 1, "jetzt")
        arrivals.replace_failed([parts], arrived)
        (found,) = arrivals.candidates()
        assert [candidate.text for candidate in found] == [expected]


def test_a_mask_of_a_term_is_a_word_of_its_own_and_stands_alone_for_it(default_model_dir: Path) -> None:
    tokenizer = Tokenizer(open_model(default_model_dir))
    terms = Glossary({"trees": "Baum"}, "en", "de").find("The trees are old", ())
    masked = translated("The trees are old", (4, 9))._replace(stands=("Baum",), terms=terms)
    arrivals = Arrivals([[masked]], tokenizer)
    texts = ("Die %s-Aktionen", "Der Netz-%s", "Ein Baum wie %s", "Baum. %s ist alt", "Der %s ist alt")
    ids = [next(iter(tokenizer.phrases(text, follows_mark=False))) for text in texts]
    arrivals.read(0, [Hypothesis(own, -1.0) for own in ids])
    (found,) = arrivals.candidates()
    assert [candidate.text for candidate in found] == ["Der Baum ist alt"]


@pytest.mark.parametrize(
    ("source", "part", "expected"),
    [
        ("and the dog", "Und der Hund.", "und der Hund"),
        ("house of", "Haus der", "Haus der"),
        ("the file", "Die Datei", "die Datei"),
        ("is it", "Ist es?", "ist es"),
        ("Is it", "Ist es", "Ist es"),
        ("here.", "Hier.", "hier."),
        ("HTML of", "HTML von", "HTML von"),
    ],
)
def test_a_part_of_a_sentence_reads_as_one(default_model_dir: Path, source: str, part: str, expected: str) -> None:
    """It begins with a capital, or ends with a full stop, only where its source does or the word is a noun."""
    tokenizer = Tokenizer(open_model(default_model_dir))
    arrivals = Arrivals([[translated(f"%d {source}", (0, 2))]], tokenizer)
    arrivals.read(0, [Hypothesis([], -1.0)])
    parts: Document = [copied("%d"), copied(" "), translated(source)]
    arrived = Arrivals([parts], tokenizer)
    (ids,) = tokenizer.phrases(part, follows_mark=False)
    arrived.read(0, [Hypothesis(ids, -1.0)])
    arrivals.replace_failed([parts], arrived)
    (found,) = arrivals.candidates()
    assert [candidate.text for candidate in found] == [f"%d {expected}"]
