"""Texts in composed form."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from service.text.composed import composed

MARKS = "\u0300\u0301\u0316\u0323\u0338\u0345\u05b0\u0e38\u3099"
LETTERS = "aAo\u00e9\u1ea5\u03b1\u1100\u1161\u11a8\u2208=\u2603 \u0915"


@given(st.text(MARKS + LETTERS, max_size=29) | st.text(max_size=200))
def test_of_few_marks_it_is_nfc(text: str) -> None:
    assert composed(text) == unicodedata.normalize("NFC", text)


@given(st.lists(st.text(MARKS, min_size=1, max_size=9) | st.sampled_from(LETTERS), max_size=60).map("".join))
def test_of_many_it_has_the_same_characters(text: str) -> None:
    assert unicodedata.normalize("NFD", composed(text)) == unicodedata.normalize("NFD", text)
    assert composed("\u2208" * 40 + "\u0338") == "\u2208" * 39 + "\u2209"
