"""Language detection on real sentences and short everyday texts, and what it says of texts that tell nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.detection import UNKNOWN, detect, rank

KNOWN = ("en", "de")  # as with the models that come with the server
EVERYDAY = [
    line.split("\t") for line in Path(__file__).with_name("everyday.tsv").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("known", [(), KNOWN])
@pytest.mark.parametrize(
    ("directory", "name", "language", "least"),
    [
        ("test", "tatoeba", "en", 0.98),
        ("test", "tatoeba", "de", 0.98),
        ("test_enfr", "tatoeba", "fr", 0.98),
        ("test", "flores101_devtest", "en", 0.995),
        ("test", "flores101_devtest", "de", 0.995),
        ("test_enfr", "flores101_devtest", "fr", 0.995),
        ("test", "games_po", "en", 0.97),
        ("test", "games_po", "de", 0.97),
    ],
)
def test_sentences(
    corpus_dir: Path, directory: str, name: str, language: str, least: float, known: tuple[str, ...]
) -> None:
    lines = (corpus_dir / directory / f"{name}.{language}").read_text(encoding="utf-8").splitlines()[:500]
    assert sum(detect(line, known).language == language for line in lines) >= least * len(lines)


@pytest.mark.parametrize("language", KNOWN)
def test_everyday_texts_of_up_to_three_words(language: str) -> None:
    texts = [text for code, text in EVERYDAY if code == language]
    assert len(texts) == 250
    assert max(len(text.split()) for text in texts) == 3
    assert sum(detect(text, KNOWN).language == language for text in texts) >= 0.95 * len(texts)
    assert sum(rank(text, KNOWN, KNOWN)[0].language == language for text in texts) >= 0.95 * len(texts)


def test_who_is_sure_is_right() -> None:
    """Clients ask for 50 to 90 percent: of short texts with that confidence, at least as many are right."""
    for least in (0.5, 0.7, 0.9):
        sure = [(code, found) for code, text in EVERYDAY if (found := detect(text, KNOWN)).confidence >= least]
        assert sum(code == found.language for code, found in sure) >= least * len(sure)
        assert len(sure) > 0.8 * len(EVERYDAY)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("¿Dónde está la biblioteca?", "es"),
        ("Где находится библиотека?", "ru"),
        ("図書館はどこですか。", "ja"),
        ("أين المكتبة؟", "ar"),
        ("WHERE IS THE LIBRARY?", "en"),
        ("Où est\n\nla gare ?", "fr"),
        ("Bonjour", "fr"),
        ("Merci beaucoup", "fr"),
        ("Il y a du pain.", "fr"),
        ("Das ist ein Satz. " * 1000, "de"),
    ],
)
def test_any_language_however_it_is_laid_out(text: str, language: str) -> None:
    assert detect(text, KNOWN).language == language
    assert detect(text).language == language


@pytest.mark.parametrize("text", ["", " ", "😀🎉", "42", "?!\n", "\x00"])
def test_a_text_without_letters_tells_nothing(text: str) -> None:
    assert detect(text, KNOWN) == UNKNOWN
    assert rank(text, KNOWN, KNOWN) == [UNKNOWN]
    assert rank(text, ["de"], ["de", "fr"]) == [("de", 0.0)]


@given(text=st.text(max_size=80) | st.sampled_from(["x", "OK", "hello handsome", "\x00a", "中", "ﷺ", "a" * 100_000]))
def test_the_ranks_are_those_of_the_sources_by_confidence(text: str) -> None:
    found = rank(text, KNOWN, {*KNOWN, "fr"})
    confidences = [each.confidence for each in found]
    assert confidences == sorted(confidences, reverse=True)
    assert len(found) >= 1
    assert {each.language for each in found} <= set(KNOWN)
    assert sum(confidences) <= 1.001
    assert 0 <= detect(text, KNOWN).confidence <= 1


@pytest.mark.parametrize("text", ["Abbrechen", "Abmelden", "Registrieren", "Warenkorb", "Kennwort", "Rotwein"])
def test_a_rare_word_is_told_by_its_letters(text: str) -> None:
    assert detect(text, KNOWN).language == "de"
    assert detect("Whiteboard", KNOWN).language == "en"


def test_a_short_text_is_not_claimed_to_be_certain() -> None:
    sure = detect("Where is the nearest railway station, please?", KNOWN)
    assert detect("Hi", KNOWN).confidence < 0.5 < 0.9 < sure.confidence


@pytest.mark.parametrize("name", ["tatoeba", "flores101_devtest"])
def test_of_few_words_what_is_known_comes_first(corpus_dir: Path, name: str) -> None:
    """Of the beginnings of sentences more are found, and others are still told from them."""
    starts: dict[str, list[str]] = {}
    for language, directory in (("en", "test"), ("de", "test"), ("fr", "test_enfr")):
        lines = (corpus_dir / directory / f"{name}.{language}").read_text(encoding="utf-8").splitlines()[:500]
        starts[language] = [" ".join(line.split()[:3]) for line in lines]

    def found(language: str, *known: str) -> float:
        return sum(detect(start, known).language == language for start in starts[language]) / len(starts[language])

    for language in KNOWN:
        assert found(language, *KNOWN) >= max(found(language), 0.97)
    assert found("fr", *KNOWN) > 0.8
