"""Splitting: exact, whatever the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.text import Piece, halve, split

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(list("aBÉ. \n\r\t!?\"'(😀。|\u2028\u00a0\x0b\x85\u3000\u200d\ufe0f")),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["en", "de", "ja", "xx"]))
def test_the_pieces_joined_are_the_text(text: str, language: str) -> None:
    assert "".join(piece.text for piece in split(text, language)) == text


@settings(max_examples=300, deadline=None)
@given(TEXTS.filter(lambda text: len(text) > 1))
def test_the_halves_joined_are_the_sentence_and_shorter(sentence: str) -> None:
    halves = halve(sentence)
    assert "".join(piece.text for piece in halves) == sentence
    assert all(len(piece.text) < len(sentence) for piece in halves if piece.translate)


def test_sentences_are_translated_and_what_is_between_is_copied() -> None:
    pieces = split("Hello Mr. Smith.  How are you?\r\n\r\n\tFine.\n", "en")
    assert pieces == [
        Piece("Hello Mr. Smith.", True),
        Piece("  ", False),
        Piece("How are you?", True),
        Piece("\r\n", False),
        Piece("\r\n", False),
        Piece("\t", False),
        Piece("Fine.", True),
        Piece("\n", False),
    ]


def test_a_line_break_ends_a_sentence() -> None:
    assert [piece.text for piece in split("one line\nanother", "en") if piece.translate] == ["one line", "another"]


@pytest.mark.parametrize("text", ["😀", "😀 🎉👍🏽", "  \n", "12.50", "!?", "👨‍👩‍👧", "→ 3 × 4"])
def test_without_a_letter_nothing_is_translated(text: str) -> None:
    assert not any(piece.translate for piece in split(text, "en"))


def test_emoji_around_a_sentence_are_copied() -> None:
    assert split("🎉 I love you 😀❤️", "en") == [
        Piece("🎉 ", False),
        Piece("I love you", True),
        Piece(" 😀❤️", False),
    ]


def test_a_long_sentence_is_cut_after_a_clause_near_its_middle() -> None:
    sentence = "one two three four five, six seven eight nine ten eleven"
    assert [piece.text for piece in halve(sentence)] == [
        "one two three four five,",
        " ",
        "six seven eight nine ten eleven",
    ]


def test_without_clauses_it_is_cut_at_a_space_and_without_spaces_in_the_word() -> None:
    assert [piece.text for piece in halve("one two three four")] == ["one two", " ", "three four"]
    assert [piece.text for piece in halve("abcdef")] == ["abc", "def"]
