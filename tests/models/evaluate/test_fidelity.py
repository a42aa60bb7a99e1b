"""Fidelity: numbers that arrive whatever form they have, and names."""

from __future__ import annotations

import random

import pytest

from models.evaluate.fidelity import named, names_right, numbers_all_arrive
from models.text.frames import generate
from models.text.numbers import arrive, numbers


@pytest.mark.parametrize(
    ("source", "target", "right"),
    [
        ("It costs $1,250.50.", "Es kostet 1.250,50 $.", True),
        ("It costs $1,250.50.", "Es kostet 1.250,05 $.", False),
        ("Version 2.10.3", "Version 2.10.3", True),
        ("at 2:38 PM", "um 14:38 Uhr", True),
        ("at 2:38 PM", "um 2:38 Uhr", True),
        ("at 2:38 PM", "um 13:38 Uhr", False),
        ("3 of 12 men", "drei von zwölf Männern", True),
        ("3 of 12 men", "drei von dreizehn Männern", False),
        ("13 men", "dreizehn Männer", False),
        ("1 man", "ein Mann", True),
        ("7 and 7", "7 und 8", False),
        ("7 and 7", "7 und sieben", True),
        ("call 555-1234", "rufen Sie 555-1234 an", True),
        ("call 555-1234", "rufen Sie 555-1243 an", False),
        ("no number", "und 5", True),
        ("1.5 km", "1,5 km", True),
        ("1.5 km", "15 km", False),
    ],
)
def test_numbers_arrive_in_either_form(source, target, right):
    assert arrive(source, "en", target, "de") is right


def test_generated_pairs_have_their_numbers_until_a_digit_changes():
    """Of three thousand pairs in both languages' forms; those of dates and scores stand in the reference."""
    choose = random.Random(3)
    pairs = [pair for _, pair in zip(range(3000), generate(7), strict=False)]
    sources, references = zip(*pairs, strict=True)
    right = numbers_all_arrive(sources, references, references, ("en", "de"))
    assert right["numbers_all_arrive"] == 1.0
    assert right["sentences_with_numbers"] > 1500
    for source, reference in pairs:
        found = [n for n, character in enumerate(reference) if character.isdecimal()]
        if not numbers(source, "en") or not found:
            continue
        place = choose.choice(found)
        changed = f"{reference[:place]}{(int(reference[place]) + choose.randint(1, 9)) % 10}{reference[place + 1 :]}"
        if sorted(numbers(changed, "de"), key=sorted) != sorted(numbers(reference, "de"), key=sorted):
            assert not arrive(reference, "de", changed, "de"), (reference, changed)


def test_sentences_without_numbers_are_not_counted():
    nothing = {"numbers_all_arrive": None, "sentences_with_numbers": 0}
    assert numbers_all_arrive(["a"], ["5"], ["b"], ("en", "de")) == nothing


def test_the_list_has_500_names_and_either_direction_reads_it():
    there, back = named("en", "de"), named("de", "en")
    assert len(there) == len(back) == 500
    assert len({each.sentence for each in there}) == 500
    assert names_right(there, [each.sentence for each in back])["names_right"] == 1.0
    assert names_right(back, [each.sentence for each in there])["names_right"] == 1.0
    differing = sum(a.name != b.name for a, b in zip(there, back, strict=True))
    assert differing == 100
    assert named("en", "fr") == []


def test_a_name_must_stand_as_a_word():
    sentences = [each for each in named("en", "de") if each.name in {"Moskau", "Berlin"}]
    assert sentences
    for each in sentences:
        assert names_right([each], [f"Wir sehen {each.name}s Straßen."])["names_right"] == 1.0
        assert names_right([each], [f"Wir sehen {each.name}er."])["names_right"] == 0.0
        assert names_right([each], ["Wir sehen Mühlen."])["names_wrong"][0]["name"] == each.name
