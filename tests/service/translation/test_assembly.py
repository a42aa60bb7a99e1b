"""The sentences of a text: in order, in their places, and without a kept unit lost."""

from pathlib import Path

import pytest

from kernels.engine import Hypothesis
from models.format.directory import open_model
from service.live.configurations import by_name
from service.text.glossary import Glossary
from service.text.placeholders import same
from service.translation.assembly import Arrivals, Document, join
from service.translation.results import Candidate, Options, TranslatedSentence
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

EN_DE = Options("en", "de")


@pytest.fixture(scope="module")
def translator(tiny_model: Path) -> Translator:
    directory = open_model(tiny_model)
    return Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)


def document(translator: Translator, text: str) -> Document:
    return list(translator._sentences(text, EN_DE))


def hypothesis(translator: Translator, text: str, score: float = -1.0) -> Hypothesis:
    """Return what the engine would have to find for the tokenizer to write the text."""
    ids = translator._tokenizer.encode(text, "de")[:-1]
    assert translator._tokenizer.decode(ids) == text
    return Hypothesis(ids, score)


def replaced(translator: Translator, text: str, *translations: str) -> str:
    """Translate a sentence of which the model lost a span, by the texts around its spans."""
    whole = document(translator, text)
    arrivals = Arrivals([whole], translator._tokenizer)
    arrivals.read(0, [hypothesis(translator, "house")])  # without the mask
    assert arrivals.failed == [0]
    parts = [list(translator._parts(arrivals.searched(0), EN_DE))]
    arrived = Arrivals(parts, translator._tokenizer)
    for index, translation in enumerate(translations):
        arrived.read(index, [hypothesis(translator, translation)])
    arrivals.replace_failed(parts, arrived)
    return join(whole, arrivals.candidates()).best.text


def test_the_last_hypothesis_of_a_sentence_stands_in_for_those_it_lacks(translator: Translator) -> None:
    of = {"The old house.": ("a", "b", "c"), "A tree.": ("x", "y")}
    found = [[Candidate(text, -float(rank)) for rank, text in enumerate(texts, 1)] for texts in of.values()]
    best, alternatives, *_ = join(document(translator, " ".join(of)), iter(found))
    assert [candidate.text for candidate in (best, *alternatives)] == ["a x", "b y", "c y"]
    assert [candidate.score for candidate in (best, *alternatives)] == [-1.0, -2.0, -2.5]


def test_a_sentence_that_lost_a_span_is_joined_from_its_parts(translator: Translator) -> None:
    text = "The house https://example.org/a sees a tree"
    made = replaced(translator, text, "A river", "near the sun")
    assert made == "A river https://example.org/a near the sun"


def test_marks_beside_a_unit_stay_whatever_its_parts_become(translator: Translator) -> None:
    """Without the comma the address would go on in the next word."""
    text = "The house https://example.org/a, a tree"
    made = replaced(translator, text, "A river", "house")
    assert same(made, text)
    assert made == "A river https://example.org/a, house"


def with_terms(translator: Translator, text: str, entries: dict[str, str]) -> tuple[Arrivals, Options]:
    """Search a sentence that has terms, of which the model said none."""
    options = Options("en", "de", glossary=Glossary(entries, "en", "de"))
    arrivals = Arrivals([list(translator._sentences(text, options))], translator._tokenizer)
    arrivals.read(0, [hypothesis(translator, "A river")])
    assert arrivals.failed == [0]
    return arrivals, options


def test_a_part_of_a_sentence_has_no_term_that_stands_beside_it(translator: Translator) -> None:
    arrivals, options = with_terms(translator, "The house sees a tree near the river", {"tree": "Baum"})
    again = translator._masked(arrivals, 0, options)
    assert again is not None
    parts = [list(translator._parts(again, options))]
    arrived = Arrivals(parts, translator._tokenizer)
    arrived.read(0, [hypothesis(translator, text) for text in ("A Baum", "A house")])
    arrived.read(1, [hypothesis(translator, "near the sun")])
    arrivals.replace_failed(parts, arrived)
    (found,) = arrivals.candidates()
    assert [candidate.text for candidate in found] == ["A house Baum near the sun"]


def test_a_sentence_without_any_hypothesis_stays_as_it_is(translator: Translator) -> None:
    whole = document(translator, "The house")
    arrivals = Arrivals([whole], translator._tokenizer)
    arrivals.read(0, [])
    assert arrivals.failed == []
    assert [sentence.best.text for sentence in arrivals.translated()] == ["The house"]
    assert join(whole, arrivals.candidates()).best.text == "The house"


def test_sentences_are_passed_on_in_the_order_of_their_text(translator: Translator) -> None:
    told: list[TranslatedSentence] = []
    documents = [document(translator, "The old house. A tree."), document(translator, "The sun.")]
    arrivals = Arrivals(documents, translator._tokenizer, told.append)
    arrivals.read(1, [hypothesis(translator, "a river")])
    assert not told
    arrivals.read(2, [hypothesis(translator, "sun")])
    arrivals.read(0, [hypothesis(translator, "house")])
    places = [(sentence.text, sentence.sentence, sentence.best.text, sentence.is_last) for sentence in told]
    assert places == [(1, 0, "sun", True), (0, 0, "house", False), (0, 1, "a river", True)]
    candidates = arrivals.candidates()
    assert [join(of_text, candidates).best.text for of_text in documents] == ["house a river", "sun"]
