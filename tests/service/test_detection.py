"""Language detection on real sentences, and what it says of texts that tell nothing."""

from pathlib import Path

import pytest

from service.detection import UNKNOWN, detect


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
