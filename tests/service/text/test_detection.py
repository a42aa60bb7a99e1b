"""Language detection on real sentences, and what it says of texts that tell nothing."""

from pathlib import Path

import pytest

from service.text.detection import UNKNOWN, detect


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
def test_accuracy(corpus_dir: Path, directory: str, name: str, language: str, least: float) -> None:
    lines = (corpus_dir / directory / f"{name}.{language}").read_text(encoding="utf-8").splitlines()[:500]
    assert sum(detect(line)[0].language == language for line in lines) >= least * len(lines)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("¿Dónde está la biblioteca?", "es"),
        ("Где находится библиотека?", "ru"),
        ("図書館はどこですか。", "ja"),
        ("أين المكتبة؟", "ar"),
        ("WHERE IS THE LIBRARY?", "en"),
        ("Où est\n\nla gare ?", "fr"),
        ("Das ist ein Satz. " * 1000, "de"),
    ],
)
def test_any_language_however_it_is_laid_out(text: str, language: str) -> None:
    assert detect(text)[0].language == language


@pytest.mark.parametrize("text", ["", " ", "😀🎉", "42", "?!\n", "\x00"])
def test_a_text_without_letters_tells_nothing(text: str) -> None:
    assert detect(text) == [UNKNOWN]


@pytest.mark.parametrize("text", ["x", "OK", "hello handsome", "\x00a", "中", "ﷺ", "a" * 100_000])
def test_the_likeliest_comes_first_and_there_is_always_one(text: str) -> None:
    found = detect(text)
    confidences = [each.confidence for each in found]
    assert confidences == sorted(confidences, reverse=True)
    assert len(found) >= 1
    assert all(0 <= confidence <= 1 for confidence in confidences)


def test_a_short_text_is_not_claimed_to_be_certain() -> None:
    assert (
        detect("Hi")[0].confidence < 0.5 < 0.9 < detect("Where is the nearest railway station, please?")[0].confidence
    )


@pytest.mark.parametrize("name", ["tatoeba", "flores101_devtest"])
def test_of_few_words_what_is_served_comes_first(corpus_dir: Path, name: str) -> None:
    """More of them are found, others are still told from them, and the probability stays the model's own."""
    starts: dict[str, list[str]] = {}
    for language, directory in (("en", "test"), ("de", "test"), ("fr", "test_enfr")):
        lines = (corpus_dir / directory / f"{name}.{language}").read_text(encoding="utf-8").splitlines()[:500]
        starts[language] = [" ".join(line.split()[:3]) for line in lines]

    def found(language: str, *served: str) -> int:
        return sum(detect(start, served)[0].language == language for start in starts[language])

    for language in ("en", "de"):
        assert found(language, "en", "de") > found(language)
    assert found("fr", "en", "de") > 0.8 * len(starts["fr"])
    for start in starts["de"][:100]:
        known = {guess.language: guess.confidence for guess in detect(start)}
        assert all(
            known.get(guess.language, guess.confidence) == guess.confidence for guess in detect(start, ("en", "de"))
        )
