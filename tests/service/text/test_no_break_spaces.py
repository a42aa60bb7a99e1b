"""No-break spaces in translations: between the words that they stood between, none lost and none made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.alignment import Link
from service.text.no_break_spaces import restore
from service.text.placeholders import followed


@pytest.mark.parametrize(
    ("source", "translation", "expected"),
    [
        ("It is 10~km away.", "Es ist 10 km weit weg.", "Es ist 10~km weit weg."),
        ("We saw Mr.~Smith today.", "Wir haben heute Herrn Smith gesehen.", "Wir haben heute Herrn~Smith gesehen."),
        ("It has 1,250.5~miles or 5~km.", "Es hat 1.250,5 Meilen oder 5 km.", "Es hat 1.250,5~Meilen oder 5~km."),
        ("See page~7 of 7~pages.", "Siehe Seite 7 von 7 Seiten.", "Siehe Seite~7 von 7~Seiten."),
        ("One~~two three.", "Eins zwei drei.", "Eins~~zwei drei."),
        ("Wait ~ here now.", "Warte hier jetzt.", "Warte ~ hier jetzt."),
        ("Good~morning all.", "Guten Morgen alle.", "Guten~Morgen alle."),
        ("Good~morning.", "Moin.", "Moin."),
        ("12~500 people", "12~500 Menschen", "12~500 Menschen"),
        ("A house is old.", "Ein Haus ist alt.", "Ein Haus ist alt."),
    ],
)
def test_each_stands_between_the_words_that_are_its_own(source: str, translation: str, expected: str) -> None:
    source, translation, expected = (text.replace("~", "\u00a0") for text in (source, translation, expected))
    assert restore(source, [], translation, []).text == expected


def test_one_within_a_unit_comes_with_that() -> None:
    assert restore("Set {a\u00a0b} now", [(4, 9)], "Setze {a\u00a0b} jetzt", []).text == "Setze {a\u00a0b} jetzt"


def test_the_links_tell_where_words_have_no_likeness() -> None:
    source, translation = "the\u00a0dog saw cats", "Katzen sah der Hund"
    spans = [(0, 6), (7, 10), (11, 14), (15, 19)]
    links = [Link((12, 16), spans[0]), Link((8, 11), spans[1]), Link((0, 3), spans[2]), Link((4, 7), spans[3])]
    assert restore(source, [], translation, links).text == "Katzen sah der\u00a0Hund"


@given(
    st.lists(st.sampled_from(["a", "7", "1,5", "km", "\u00a0", " ", "\u202f"]), max_size=12).map("".join),
    st.lists(st.sampled_from(["a", "7", "x", "km", "y"]), max_size=8).map(" ".join),
)
def test_nothing_else_of_a_translation_changes(source: str, translation: str) -> None:
    found = restore(source, [], translation, [])
    assert found.text.split() == translation.split()
    for place, character in enumerate(translation):
        begin, end = followed((place, place + 1), found.moves)
        assert (found.text[begin:end] == character) or (character == " " and found.text[begin:end].isspace())
