"""Codes of languages as the clouds' clients write them, and the names that they show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.language_codes import accepted, read_code
from service.text import languages

ALL = {"de", "en", "he", "nb", "no", "pb", "pt", "tl", "zh", "zt"}


@pytest.mark.parametrize(
    ("given", "known", "code"),
    [
        ("de", ALL, "de"),
        ("DE", ALL, "de"),
        ("en-GB", ALL, "en"),
        ("en_us", ALL, "en"),
        ("zh-CN", ALL, "zh"),
        ("zh-Hans", ALL, "zh"),
        ("zh-TW", ALL, "zt"),
        ("zh-Hant", {"zh"}, None),  # another script is no variant
        ("pt", ALL, "pt"),
        ("pt", {"pb"}, "pb"),
        ("pt-BR", ALL, "pb"),
        ("pt-BR", {"pt"}, "pt"),
        ("pt-PT", ALL, "pt"),
        ("no", ALL, "no"),
        ("no", {"nb"}, "nb"),
        ("iw", ALL, "he"),
        ("fil", ALL, "tl"),
        ("fr", ALL, None),
        ("", ALL, None),
        ("-de", ALL, None),
        (None, ALL, None),
        (["de"], ALL, None),
        (7, ALL, None),
    ],
)
def test_a_code_is_read_as_its_language(given: object, known: set[str], code: str | None) -> None:
    assert read_code(given, known) == code


def test_names() -> None:
    assert (languages.name("de"), languages.native_name("de")) == ("German", "Deutsch")
    assert (languages.name("zt"), languages.native_name("zt")) == ("Chinese (traditional)", "繁體中文")
    assert languages.name("eo") == languages.native_name("eo") == "Esperanto"
    assert languages.name("xx") == languages.native_name("xx") == "xx"
    assert all(languages.native_name(code) != languages.name(code) for code in languages.RIGHT_TO_LEFT)


def test_every_language_has_a_name_in_every_language() -> None:
    for reader in languages.ENGLISH:
        named = [languages.name(code, reader) for code in languages.ENGLISH]
        assert all(name == name.strip() != "" for name in named), reader
        # Norwegian may be Bokmål by its name, Punjabi and Persian are near in none
        assert len(set(named)) >= len(named) - 2, reader
    assert languages.name("de", "fr") == "allemand"
    assert languages.name("zh-hant", "de") == "Chinesisch (Hant)"
    assert languages.name("de", "xx") == "German"
    assert languages.name("xx", "de") == "xx"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en;q=0.8, fr ; q=0.9", "fr"),
        ("zh-TW", "zt"),
        ("pt-BR", "pb"),
        ("tlh, de;q=0.5", "de"),
        ("de;q=0, fr;q=0.001", "fr"),
        ("de;q=2, fr;q=x, es;level=1", "en"),
        (";q=1,,;;=,de", "de"),
        ("xx," * 20 + "de", "en"),
    ],
)
def test_the_language_that_a_reader_likes_best(header: str | None, code: str) -> None:
    assert accepted(header) == code


@given(st.text("adefr-,;=q.015* \u0661", max_size=60))
def test_any_header_names_a_language(header: str) -> None:
    assert accepted(header) in languages.ENGLISH
