"""Punctuation by Moses' rules: what sacremoses 0.2.0 made of odd texts, and where each character comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.format.punctuation import followed, normalized, rules

ODD = "ab1 2.,;:?!%()`'\"<>´‘’‚„“”–—…«»\xa0\r\té"


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "He said “no”, and left – “why?”.", 'He said "no," and left - "why?."'),
        ("en", "It’s 5 % of ‘all’ (or so) : see ``this''…", "It's 5% of 'all' (or so): see \" this \" ..."),
        ("de", "„Ja“, sagte er. „Nein.“ Er ging.", '"Ja", sagte er. "Nein". Er ging.'),
        (
            "fr",
            "«\xa0Bonjour\xa0», dit-il\xa0; 10\xa0000 nº\xa05 à 20\xa0ºC\xa0!",
            '"Bonjour", dit-il; 10,000 nº 5 à 20 ºC!',
        ),
        ("es", 'Dijo "sí", «no»—y 1\xa0000 .', 'Dijo "sí", "no" - y 1,000 .'),
        ("cs", "10\xa0000 „slov“", '10,000 "slov"'),
        ("it", "l’altro 10\xa0000 (a)(b)", "l'altro 10.000 (a) (b)"),
        ("en", "\tplain text.  two  spaces ", "plain text. two spaces"),
        (None, " “as it is” ", " “as it is” "),
    ],
)
def test_what_sacremoses_makes_of_it(language: str | None, text: str, expected: str) -> None:
    assert normalized(text, language) == expected


def test_the_rules_are_those_of_a_side_s_only_language() -> None:
    assert [rules(is_moses, ["pt-BR"]) for is_moses in (False, True)] == [None, "pt"]
    assert rules(True, ["en", "de"]) == ""


@given(st.text(ODD, max_size=30), st.sampled_from(["en", "de", "cs", ""]))
def test_each_character_is_followed_to_its_place(text: str, language: str) -> None:
    made, places = followed(text, language)
    assert made == normalized(text, language)
    assert len(places) == len(made) + 1
    assert list(places) == sorted(places)
    letters = [(text[place], character) for character, place in zip(made, places, strict=False) if character.isalpha()]
    assert all(before == after for before, after in letters)
