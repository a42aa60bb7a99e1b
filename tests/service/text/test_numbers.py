"""Numbers of a source and its translation, compared in a normal form."""

import itertools
import re
from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.frames import generate
from service.text.numbers import agree, are_made_up, find, keeps_marked, stretches
from tests.linear import growth


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("It costs 1,250.00 dollars.", "Es kostet 1.250,00 Dollar."),
        ("It costs 1,250.00 dollars.", "Es kostet 1250 Dollar."),
        ("The average is 3.50.", "Der Durchschnitt ist 3,5."),
        ("Version 2.4.1 is here.", "Version 2.4.1 ist da."),
        ("Version 2.4 is here.", "Version 2.4 ist da."),
        ("We meet at 2:38 PM.", "Wir treffen uns um 14:38 Uhr."),
        ("We meet at 2:38 p.m.", "Wir treffen uns um 2:38 p.m."),
        ("We meet at 2:38 p. m.", "Wir treffen uns um 14.38 Uhr."),
        ("He ran 42.195 km.", "Er lief 42,195 km."),
        ("Version 2.125 is out.", "Version 2.125 ist da."),
        ("We meet at 3 pm.", "Wir treffen uns um 3 Uhr nachmittags."),
        ("We meet at 10:30 am.", "Wir treffen uns um 10.30 Uhr."),
        ("We meet at 12:45 a.m.", "Wir treffen uns um 0:45 Uhr."),
        ("We meet at 12 a.m.", "Wir treffen uns um 0 Uhr."),
        ("We meet at 2 pm.", "Wir treffen uns um 14.00 Uhr."),
        ("On January 1, 2024 it rained.", "Am 1. Januar 2024 regnete es."),
        ("On January 1, 2024 it rained.", "Am 01.01.2024 regnete es."),
        ("About 75% of people", "Etwa 75 % der Menschen"),
        ("Call 555-0199.", "Rufen Sie 555-0199 an."),
        ("I have 2 cats.", "Ich habe zwei Katzen."),
        ("I have two cats.", "Ich habe 2 Katzen."),
        ("In the 1990s and the 19th century", "In den 1990er Jahren und im 19. Jahrhundert"),
        ("the 3rd floor", "der 3. Stock"),
        ("12,500 and 7 million", "12 500 und 7 Millionen".replace(" 500", "\u202f500")),
        ("From 10-15 people", "10–15 Personen"),
        ("On 1/2/2024", "Am 2.1.2024"),
        ("It ended 3-1.", "Es endete 3:1."),
        ("It rose 5% to $3.50.", "Es stieg um fünf Prozent auf 3,50 Dollar."),
        ("It rose by 5 percent.", "Es stieg um 5\u00a0%."),
        ("A 10-percent share of 20%", "Ein 10-prozentiger Anteil von 20 Prozent"),
        ("We meet at 7.30 p.m.", "Wir treffen uns um 19:30 Uhr."),
        ("It costs A$45.", "Es kostet 45 AUD."),
        ("It was during World War 2.", "Es war im Zweiten Weltkrieg."),
        ("World War 2 is over.", "Der Zweite Weltkrieg ist vorbei."),
        ("World War 2 is over.", "Der 2. Weltkrieg ist vorbei."),
        ("World War 2 is over.", "Weltkrieg II ist vorbei."),
        ("The twelfth of May", "Der 12. Mai"),
        ("A rate of 0.0 is low.", "Eine Rate von 0,0 ist niedrig."),
        ("It takes 1.5 hours or 2.0 days.", "Es dauert 1,5 Stunden oder 2,0 Tage."),
        ("It takes 3.00 dollars.", "Es kostet drei Dollar."),
        ("It costs $1.2 million or $3.00.", "Es kostet 1,2 Millionen Dollar oder 3 Dollar."),
        ("The pages 17-21 are here.", "Die Seiten 17 bis 21 sind hier."),
        ("It costs €20 or £5.", "Es kostet 20 Euro oder 5 Pfund."),
    ],
)
def test_the_same_numbers(english, german):
    assert agree(english, "en", german, "de")
    assert agree(german, "de", english, "en")


def test_round_words_may_become_digits_but_digits_stay():
    assert agree("A hundred people and 2", "en", "100 Menschen und 2", "de")
    assert not agree("100 people and 20%", "en", "Hundert Menschen und 20 %", "de")
    assert not agree("100 people and 20%", "en", "100 Menschen und zwanzig Prozent", "de")


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("The year 2024 was good.", "Das Jahr war gut."),
        ("About 75% of people agree.", "Etwa 195 % der Menschen stimmen zu."),
        ("Please call 555-0199.", "Bitte rufen Sie 55-0199 an."),
        ("The meeting is on January 1, 2024.", "Die Besprechung ist im Januar."),
        ("It costs 1.5 euros.", "Es kostet 15 Euro."),
        ("It costs 1,500 euros.", "Es kostet 1,5 Euro."),
        ("I have 2 cats.", "Ich habe drei Katzen."),
        ("I have cats.", "Ich habe 2 Katzen."),
        ("2 and 2", "2"),
        ("We meet at 2:38 PM.", "Wir treffen uns um 15:38 Uhr."),
        ("We meet at 5:30 pm.", "Wir treffen uns um 5.30 Uhr."),
        ("We meet at 5 pm.", "Wir treffen uns um 5 Uhr."),
        ("He ran 42.195 km.", "Er lief 42.195 km."),
        ("It has 1,250 rooms.", "Es hat 1,250 Zimmer."),
        ("We meet at 12:45 a.m.", "Wir treffen uns um 12.45 Uhr."),
        ("Version 2.4.1", "Version 2.4.2"),
        ("Only 5% off today!", "Nur fünf!"),
        ("About 75% of people agree.", "Etwa 75 Menschen stimmen zu."),
        ("About 75 people agree.", "Etwa 75 % stimmen zu."),
        ("It costs $5.", "Es kostet 5."),
        ("A rate of 0.0 is low.", "Eine Rate von 0 ist niedrig."),
        ("Version 2.0 is here.", "Version 2 ist da."),
        ("It costs $1.2 million.", "Es kostet $1.2 Millionen."),
        ("It grew by 3.5% then.", "Es wuchs dann um 3.5 %."),
        ("It takes 1.5 hours.", "Es dauert 1.5 Stunden."),
        ("It is 1.5 m high.", "Es ist 1.5 Meter hoch."),
        ("World War 2 is over.", "Der Weltkrieg ist vorbei."),
        ("World War 2 is over.", "Der Dritte Weltkrieg ist vorbei."),
        ("The pages 17-21 are here.", "Die Seiten 1721 sind hier."),
        ("The pages 17-21 are here.", "Die Seiten 17 sind hier."),
        ("It costs EUR 2,000.", "Es kostet EUR 2000,000."),
        ("It costs $5.", "Es kostet 5 Euro."),
        ("It costs 5 euros.", "Es kostet $5."),
    ],
)
def test_other_numbers(english, german):
    assert not agree(english, "en", german, "de")


@pytest.mark.parametrize(
    ("english", "german", "is_made_up"),
    [
        ("the exit signal set to SIGCHLD", "das Signal auf SIGCHLD6", True),
        ("The house is old.", "Das Haus ist 2 alt.", True),
        ("The house is old.", "Das Haus ist alt.", False),
        ("Thirty-five people came.", "35 Personen kamen.", False),
        ("World War II ended at noon.", "Der 2. Weltkrieg endete um 12 Uhr.", False),
    ],
)
def test_digits_that_come_from_nothing_are_made_up(english, german, is_made_up):
    assert are_made_up(english, "en", german) == is_made_up


@pytest.mark.parametrize(
    ("english", "german", "is_kept"),
    [
        ("Henry VIII had wives.", "Heinrich VIII. hatte Frauen.", True),
        ("Henry VIII had wives.", "Heinrich der Achte hatte Frauen.", True),
        ("Henry VIII had wives.", "Heinrich der 8. hatte Frauen.", True),
        ("Henry VIII had wives.", "Heinrich VIIII hatte Frauen.", False),
        ("Henry VIII had wives.", "Heinrich XVIII. hatte Frauen.", False),
        ("World War II is over.", "Der Zweite Weltkrieg ist vorbei.", True),
        ("World War II is over.", "Der Weltkrieg ist vorbei.", False),
        ("I see IV and MIX and A.", "Ich sehe IV und mehr.", True),
        ("Go to gate B12 now.", "Gehen Sie zum Tor B12.", True),
        ("Go to gate B12 now.", "Gehen Sie zum Tor 12.", False),
        ("Use 12V or 5V.", "Verwenden Sie 12 V oder 5 Volt.", True),
        ("Use 12V or 5V.", "Verwenden Sie 12V oder 5.", False),
        ("It weighs 1.5kg.", "Es wiegt 1,5 Kilogramm.", True),
        ("A 3D film of the 1980s at 5pm", "Ein 3-D-Film der 1980er um 17 Uhr", True),
    ],
)
def test_numerals_names_and_units_are_kept(english, german, is_kept):
    assert keeps_marked(english, german, "de") == is_kept


def test_generated_pairs_agree_and_not_with_a_digit_changed():
    for english, german in islice(generate(6), 2000):
        assert agree(english, "en", german, "de"), (english, german)
        if digits := [*re.finditer(r"\d", german)]:
            place = digits[len(digits) // 2].start()
            changed = german[:place] + str((int(german[place]) + 1) % 10) + german[place + 1 :]
            assert not agree(english, "en", changed, "de"), (english, changed)


@given(st.text(alphabet="0123456789.,: '\u00a0\u202fUhrpmAM-/%"))
def test_a_text_agrees_with_itself_and_its_spans_are_its_numbers(text):
    for language in ("en", "de", "fr"):
        assert agree(text, language, text, language)
        numbers = find(text, language)
        assert [number.span for number in numbers] == sorted(number.span for number in numbers)
        assert all(re.search(r"\d", text[begin:end]) for (begin, end), *_ in numbers)


@pytest.mark.parametrize(
    "unit", ["1", "1.", "1,", "1:2", "1 ", "1 000 ", "1\u00a0000", "1.1.", "1/1/", "a1", "12:30 pm ", "5% ", "$5 "]
)
@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_time_is_linear(unit, language):
    def work(count: int) -> Callable[[], object]:
        text = unit * count
        return lambda: agree(text, language, text, language)

    assert growth(work, 100) <= 2.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The year 2024 was good.", {"2024": "2024"}),
        ("About 75% of 1,250.50 or 3.5 km", {"75%": "75\u00a0%", "1,250.50": "1.250,50", "3.5": "3,5"}),
        (
            "Call 555-0199, +63 580 473 9017 or (012) 345-6789",
            dict.fromkeys(["555-0199", "+63 580 473 9017", "(012) 345-6789"]),
        ),
        (
            "It fell by 3.1 per cent to C$4.83, S$66m and 7.00 p.m. of 20 percent",
            {
                "3.1 per cent": "3,1 Prozent",
                "C$4.83": "C$4,83",
                "S$66m": None,
                "7.00 p.m.": "19:00",
                "20 percent": "20 Prozent",
            },
        ),
        (
            "on January 1, 2024 at 2:38 PM, 3 May, the 21st of May 1999",
            {
                "January 1, 2024": "1. Januar 2024",
                "2:38 PM": "14:38",
                "3 May": "3. Mai",
                "21st of May 1999": "21. Mai 1999",
            },
        ),
        ("$1.2 million", {"$1.2": "$1,2"}),
        ("$1,250.00 and €96", {"$1,250.00": "1.250,00 $", "€96": "96 €"}),
        ("version 3.11 and 10.5.2", dict.fromkeys(["3.11", "10.5.2"])),
        ("the 4th in the 1980s", {"4th": "4.", "1980s": "1980er"}),
        ("R-26945358 and 777X", dict.fromkeys(["26945358", "777X"])),
        ("at 12 a.m. and 12 pm", {"12 a.m.": "0:00", "12 pm": "12:00"}),
        ("At 120.9°C or 5.5 °F it is 7° warm.", {"120.9°C": "120,9°C", "5.5 °F": "5,5 °F", "7°": None}),
    ],
)
def test_stretches_are_written_as_the_target_does(text: str, expected: dict[str, str | None]) -> None:
    found = {text[begin:end]: written for (begin, end), written in stretches(text, "en", "de")}
    assert found == {stretch: written or stretch for stretch, written in expected.items()}


@given(
    st.lists(st.sampled_from([*"0123456789.,:-/()+$%€° ampC", "May ", "January ", "st ", "{a}"]), max_size=25).map(
        "".join
    )
)
def test_every_digit_is_in_one_stretch_and_the_numbers_agree(text: str) -> None:
    kept = [match.span() for match in re.finditer("{a}", text)]
    found = stretches(text, "en", "de", kept)
    spans = [span for span, _ in found]
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(sorted(spans)))
    for place, character in enumerate(text):
        if character.isdecimal() and not any(begin <= place < end for begin, end in kept):
            assert sum(begin <= place < end for begin, end in spans) == 1
    for (begin, end), written in stretches(text, "en", "en", kept):
        assert re.sub(r"\D", "", written) == re.sub(r"\D", "", text[begin:end]) or "m" in text[begin:end].lower()
