"""Codes of languages as the clouds' clients write them, and the names that they show."""

import pytest

from service.api.language_codes import read_code
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
