"""Languages: what models call them, and what BCP 47 does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.format.languages import canonical
from models.marian.names import languages_of, languages_of_name, target_tokens


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("deu", "de"),
        ("ger", "de"),
        ("pt_BR", "pt-BR"),
        ("pt_br", "pt-BR"),
        ("PT-br", "pt-BR"),
        ("cmn_Hans", "zh-Hans"),
        ("zho_Hant", "zh-Hant"),
        ("zh_CN", "zh-CN"),
        ("srp_Cyrl", "sr-Cyrl"),
        ("es_419", "es-419"),
        ("iw", "he"),
        ("nob", "nb"),
        ("yue_Hant", "yue-Hant"),
        ("mul", "mul"),
        ("ROMANCE", "ROMANCE"),
        ("de", "de"),
    ],
)
def test_canonical(given_: str, expected: str) -> None:
    assert canonical(given_) == expected
    assert canonical(expected) == expected


@given(st.text(max_size=12) | st.from_regex(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}", fullmatch=True))
def test_canonical_codes_stay(code: str) -> None:
    assert canonical(canonical(code)) == canonical(code)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("opus-mt-en-de", (("en",), ("de",))),
        ("Helsinki-NLP/opus-mt-en-ROMANCE", (("en",), ("ROMANCE",))),
        ("opus-mt-tc-big-cat_oci_spa-en", (("ca", "oc", "es"), ("en",))),
        ("opus-mt-tc-base-uk-hu", (("uk",), ("hu",))),
        ("opus-mt_tiny_eng-rus", (("en",), ("ru",))),
        ("opus-mt-mul-en", (("mul",), ("en",))),
        ("en_de", (("en",), ("de",))),
        ("my-model", ((), ())),
        ("model", ((), ())),
    ],
)
def test_names(name: str, expected: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    assert languages_of_name(name) == expected


def test_fields_and_tokens() -> None:
    assert languages_of("fr+it+pt_BR+pt_br") == ("fr", "it", "pt-BR")
    pieces = ["a", ">>fra<<", ">>pt_br<<", ">>pt_BR<<", ">>cmn_Hans<<", "<<x>>"]
    assert target_tokens(pieces) == {"fr": ">>fra<<", "pt-BR": ">>pt_BR<<", "zh-Hans": ">>cmn_Hans<<"}
