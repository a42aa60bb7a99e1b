"""Generated sentence pairs: the same numbers on both sides, in the form of each language."""

import re
from datetime import datetime
from itertools import islice

import pytest

from models.text.frames import generate, read_frames

SLOT = re.compile(r"\{[a-z]+2?\}")


@pytest.mark.parametrize("frame", read_frames(), ids=lambda frame: frame[0])
def test_both_sides_of_a_frame_have_the_same_slots(frame):
    english, german = frame
    assert sorted(SLOT.findall(english)) == sorted(SLOT.findall(german))


def test_pairs_follow_from_their_seed():
    first, again, other = ([*islice(generate(seed), 50)] for seed in (1, 1, 2))
    assert first == again != other


def test_nothing_of_a_frame_is_left():
    for pair in islice(generate(3), 2000):
        for text in pair:
            assert text.strip() == text
            assert not re.search(r"[{}#@]|\.\.|  ", text), text


@pytest.mark.parametrize(
    ("slot", "english", "german"),
    [
        ("money", r"[\d,.]+", r"[\d,.]+"),
        ("big", r"[\d,.]+", r"[\d,.]+"),
        ("length", r"[\d,.]+", r"[\d,.]+"),
    ],
)
def test_numbers_change_their_separators_and_keep_their_value(slot, english, german):
    for ours, theirs in islice(generate(4, [(f"{{{slot}}}", f"{{{slot}}}")]), 500):
        there = float(re.search(english, ours).group().replace(",", ""))
        here = float(re.search(german, theirs).group().replace(".", "").replace(",", "."))
        assert here == there, (ours, theirs)


def test_times_of_both_sides_are_the_same_minute():
    for english, german in islice(generate(5, [("{time}", "{time}")]), 500):
        text = english.replace(".m.", "m").upper()
        form = "%I:%M %p" if ":" in text and text[-1] == "M" else "%I %p" if text[-1] == "M" else "%H:%M"
        there = datetime.strptime(text, form)
        here = datetime.strptime(german.removesuffix(" Uhr"), "%H:%M" if ":" in german else "%H")
        assert here == there, (english, german)
