"""Names that a translation must have, and whether it has them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text import names


def found(text: str, source: str = "en", target: str = "de") -> list[tuple[str, str]]:
    return [(text[slice(*name.span)], name.written) for name in names.find(text, source, target)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yesterday I met Anna Kowalski in Munich.", [("Anna Kowalski", "Anna Kowalski"), ("Munich", "München")]),
        ("Please call Krzysztof O'Brady-Nowak.", [("Krzysztof O'Brady-Nowak", "Krzysztof O'Brady-Nowak")]),
        ("Munich's beer and Zelenskyy's letter", [("Munich", "München"), ("Zelenskyy", "Zelenskyy")]),
        ("We flew to New York City.", [("New York City", "New York City")]),
        ("Florence Nightingale came from Florence.", [("Florence", "Florenz")]),  # the first is no place
        ("I love the Cologne Cathedral.", []),  # what follows belongs to the place
        ("In Cologne it rains.", [("Cologne", "Köln")]),
        ("Nice to meet you. Turkey is a bird.", []),  # other words where a sentence begins
        ("Uncheck the box. Passphrases differ.", []),  # not in the dictionary, at the begin of a sentence
        ("We see Kenyans, Buddhists and Byzantine art.", []),  # other languages have words of their own
        ("I'll ask Mr. Smith on Tuesday, don't I?", []),
        ("The Guide To Knitting With Kowalski", []),  # a headline: a capital says nothing
        ("Press Ctrl in the LibreOffice window of NATO.", []),
        ("She reads B2Kowalski and x_Kowalski.", []),
    ],
)
def test_names_of_english(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ich fahre von Köln nach Essen.", [("Köln", "Cologne")]),  # Essen is food, too
        ("Gestern traf ich Robert Kowalski.", [("Robert Kowalski", "Robert Kowalski")]),
        ("Im April Kinder zu haben ist schön.", []),
        ("Microsoft Forschung und Robert Ehefrauen", []),  # nouns
        ("Die Bushaltestelle liegt am Marktplatz.", []),
    ],
)
def test_names_of_german(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text, "de", "en") == expected


def test_other_languages_have_their_own_places() -> None:
    assert found("J'habite à Cologne.", "fr", "de") == [("Cologne", "Köln")]
    assert found("I live in Munich.", "en", "fr") == [("Munich", "Munich")]
    assert found("I met Kowalski in Munich.", "en", "pl") == []  # which inflects names
    assert found("I met Kowalski in Munich.", "en", "ja") == []


def test_what_is_kept_or_a_term_is_no_name() -> None:
    text = "I met Kowalski and Nowak in Munich."
    assert [text[slice(*name.span)] for name in names.find(text, "en", "de", [(6, 14), (28, 34)])] == ["Nowak"]


@pytest.mark.parametrize(
    ("source", "translation", "is_lost"),
    [
        ("I live in Munich.", "Ich wohne in München.", False),
        ("I live in Munich.", "Ich lebe in der Mühle.", True),
        ("I like the Munich beer.", "Ich mag das Münchner Bier.", False),
        ("I like the streets of Munich.", "Ich mag Münchens Straßen.", False),
        ("I was in Bruges.", "Ich war in Bruge.", True),
        ("I met Kowalski.", "Ich traf Kowalsi.", True),
        ("I met Kowalski.", "Ich las Kowalskis Brief.", False),
        ("I met Kowalski.", "Ich traf die Kowalski-Schwestern.", False),
        ("I was on Crete.", "Ich war auf Kreta.", False),
        ("I was on Crete.", "Ich war auf dem Gras.", True),
        ("I met Anna Kowalski.", "Ich traf Kowalski.", True),
    ],
)
def test_a_name_is_lost_where_no_form_of_it_stands(source: str, translation: str, is_lost: bool) -> None:
    assert bool(names.lost(names.find(source, "en", "de"), translation)) == is_lost


@given(
    st.lists(st.sampled_from(["Kowalski", "Munich", "the", "Anna", ",", ".", "of", "New York", "x1", "-", "’s"])),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=4),
)
def test_names_stand_in_the_text_in_order_and_apart(words: list[str], marks: list[tuple[int, int]]) -> None:
    text, kept, end = " ".join(words), [], 0
    for begin, length in sorted(marks):
        if begin >= end:
            kept.append((begin, end := begin + length))
    spans = [name.span for name in names.find(text, "en", "de", kept)]
    assert all(0 <= begin < end <= len(text) for begin, end in spans)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    assert not any(begin < last and first < end for begin, end in kept for first, last in spans)


def test_the_word_list_is_sorted_and_every_word_is_found() -> None:
    lines = names._english().splitlines(keepends=True)
    assert lines == sorted(lines)
    assert all(names._is_listed(line.decode().strip()) for line in (*lines[::997], lines[0], lines[-1]))
    assert not any(map(names._is_listed, ("", "A", "zzzz", "kowalski", "aardvar", "aardvarkx")))
