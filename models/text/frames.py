"""Generated English-German sentence pairs: numbers, dates, times, amounts, units and names in sentence frames.

Parallel text shows few numbers and names, each a few times. `models/configs/frames` holds the frames, one pair a
line; each `{slot}` is filled in the form of each language. `{slot2}` is another value of the kind.
"""

import random
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from itertools import count
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "configs/frames"
FRAMES = FOLDER / "frames.tsv"
# Text of a slot in English and in German.
Pair = tuple[str, str]
_SLOT = re.compile(r"\{([a-z]+)2?\}")


def _two_languages(words: str) -> list[Pair]:
    return [(english, german or english) for english, _, german in (word.partition("=") for word in words.split())]


_NAMES = {
    kind: _two_languages(words) for kind, words in tomllib.loads((FOLDER / "names.toml").read_text("utf-8")).items()
}


def _number(value: float, decimals: int = 0) -> Pair:
    """Write a number with separators of thousands: 1,234.5 and 1.234,5."""
    english = f"{value:,.{decimals}f}"
    return english, english.translate(str.maketrans(",.", ".,"))


def _with(pair: Pair, english: str, german: str) -> Pair:
    """Write a pair into two patterns, in which `#` stands for it."""
    return english.replace("#", pair[0]), german.replace("#", pair[1])


def _measure(*units: Pair, low: float, high: float, decimals: int = 1) -> Callable[[random.Random], Pair]:
    """Make the filler of a slot: a number from `low` to `high`, at times with decimals, and one of the units."""

    def fill(draw: random.Random) -> Pair:
        digits = draw.choice([0, 0, decimals])
        return _with(_number(round(draw.uniform(low, high), digits), digits), *draw.choice(units))

    return fill


def _day(draw: random.Random) -> Pair:
    day = date(1900, 1, 1) + timedelta(days=draw.randrange(365 * 135))
    english, german = _NAMES["months"][day.month - 1]
    written = f"{day.day}. {german} {day.year}"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day not in (11, 12, 13) else 0, "th")
    return draw.choice(
        [
            (f"{english} {day.day}, {day.year}", written),
            (f"{english} {day.day}, {day.year}", written),
            (f"{day.day} {english} {day.year}", written),
            (f"{english} {day.day}", f"{day.day}. {german}"),
            (f"{english} {day.day}{suffix}", f"{day.day}. {german}"),
            (f"{day.day} {english}", f"{day.day}. {german}"),
            (day.isoformat(), day.isoformat()),
        ]
    )


def _time(draw: random.Random) -> Pair:
    hour, minute = draw.randrange(24), draw.choice([0, 0, 15, 30, 45, draw.randrange(60)])
    german = f"{hour}:{minute:02} Uhr"
    half, suffixes = (hour + 11) % 12 + 1, ("AM", "a.m.", "am") if hour < 12 else ("PM", "p.m.", "pm")
    return draw.choice(
        [
            (f"{hour}:{minute:02}", german),
            (f"{half}:{minute:02} {draw.choice(suffixes)}", german),
            *([(f"{half} {draw.choice(suffixes)}", f"{hour} Uhr")] if not minute else []),
        ]
    )


def _money(draw: random.Random) -> Pair:
    decimals = draw.choice([0, 0, 2])
    amount = _number(round(10 ** draw.uniform(0.4, 4.6), decimals), decimals)
    forms = [
        ("$#", "# $"),
        ("€#", "# €"),
        ("£#", "# £"),
        ("# euros", "# Euro"),
        ("# dollars", "# Dollar"),
        ("#€", "# €"),
    ]
    return _with(amount, *draw.choice(forms))


def _large(draw: random.Random, english: str, german: str) -> Pair:
    """Write so many millions or billions of something."""
    value, (unit, plural) = (
        round(draw.uniform(1.1, 900), draw.choice([0, 1])),
        draw.choice([("million", "Millionen"), ("billion", "Milliarden")]),
    )
    number = _number(value, 0 if value == int(value) else 1)
    return _with(number, english.replace("@", unit), german.replace("@", plural))


def _ordinal(draw: random.Random) -> Pair:
    number = draw.randint(2, 60)
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number not in (11, 12, 13) else 0, "th")
    return f"{number}{suffix}", f"{number}."


def _digits(draw: random.Random, count: int) -> str:
    return str(draw.randint(1, 9)) + "".join(str(draw.randrange(10)) for _ in range(count - 1))


def _phone(draw: random.Random) -> Pair:
    number = draw.choice(
        [
            f"{_digits(draw, 3)}-{_digits(draw, 4)}",
            f"{_digits(draw, 3)}-{_digits(draw, 3)}-{_digits(draw, 4)}",
            f"({_digits(draw, 3)}) {_digits(draw, 3)}-{_digits(draw, 4)}",
            f"+{_digits(draw, 2)} {_digits(draw, 2)} {_digits(draw, 7)}",
            f"0{_digits(draw, 3)} {_digits(draw, 6)}",
            f"0{_digits(draw, 2)}/{_digits(draw, 7)}",
            f"+{_digits(draw, 2)} {_digits(draw, 3)} {_digits(draw, 3)} {_digits(draw, 4)}",
        ]
    )
    return number, number


def _copied(make: Callable[[random.Random], str]) -> Callable[[random.Random], Pair]:
    """Make the filler of a slot that both languages write alike."""

    def fill(draw: random.Random) -> Pair:
        text = make(draw)
        return text, text

    return fill


def _person(draw: random.Random) -> str:
    title = draw.choice(["", "", "", "Dr. "])
    return f"{title}{draw.choice(_NAMES['first_names'])[0]} {draw.choice(_NAMES['last_names'])[0]}"


_FILL: dict[str, Callable[[random.Random], Pair]] = {
    "date": _day,
    "time": _time,
    "weekday": lambda draw: draw.choice(_NAMES["weekdays"]),
    "year": _copied(lambda draw: str(draw.randint(1500, 2050))),
    "decade": _copied(lambda draw: f"19{draw.randint(2, 9)}0"),
    "century": lambda draw: (f"{(number := draw.randint(4, 20))}th", f"{number}."),
    "ordinal": _ordinal,
    "age": _copied(lambda draw: str(draw.randint(18, 99))),
    "small": _copied(lambda draw: str(draw.randint(2, 99))),
    "page": _copied(lambda draw: str(draw.randint(2, 999))),
    "port": _copied(lambda draw: str(draw.choice([22, 25, 80, 443, 3306, 5432, 8080, draw.randint(1024, 65535)]))),
    "big": lambda draw: _number(int(10 ** draw.uniform(2.1, 6.9))),
    "million": lambda draw: _large(draw, "# @", "# @"),
    "bigmoney": lambda draw: _large(
        draw, *draw.choice([("$# @", "# @ Dollar"), ("€# @", "# @ Euro"), ("# @ euros", "# @ Euro")])
    ),
    "money": _money,
    "percent": _measure(("#%", "# %"), ("#%", "# %"), ("# percent", "# Prozent"), low=2, high=99),
    "decimal": lambda draw: _number(draw.uniform(0.1, 20), draw.choice([1, 2, 3])),
    "length": _measure(("# km", "# km"), ("# kilometres", "# Kilometer"), ("# miles", "# Meilen"), low=2, high=2000),
    "metres": _measure(("# m", "# m"), ("# metres", "# Meter"), ("# meters", "# Meter"), low=2, high=4000),
    "speed": _measure(("# km/h", "# km/h"), ("# mph", "# mph"), low=5, high=300, decimals=0),
    "weight": _measure(("# kg", "# kg"), ("# kilograms", "# Kilogramm"), ("# pounds", "# Pfund"), low=2, high=900),
    "grams": _measure(("# g", "# g"), ("# grams", "# Gramm"), low=5, high=900, decimals=0),
    "millilitres": _measure(("# ml", "# ml"), ("# millilitres", "# Milliliter"), low=5, high=900, decimals=0),
    "area": _measure(("# m²", "# m²"), ("# square metres", "# Quadratmeter"), low=5, high=900),
    "bigarea": _measure(("# km²", "# km²"), ("# square kilometres", "# Quadratkilometer"), low=300, high=900_000),
    "celsius": _measure(("# °C", "# °C"), ("#°C", "# °C"), ("# degrees", "# Grad"), low=2, high=230),
    "bytes": _measure(("# GB", "# GB"), ("# MB", "# MB"), ("# kB", "# kB"), ("# MiB", "# MiB"), low=2, high=900),
    "version": _copied(lambda draw: ".".join(str(draw.randint(0, 22)) for _ in range(draw.choice([2, 3, 3])))),
    "section": _copied(lambda draw: f"{draw.randint(1, 12)}.{draw.randint(1, 20)}"),
    "id": _copied(lambda draw: draw.choice(["", "A", "R-", "2024/", "DE"]) + _digits(draw, draw.randint(4, 8))),
    "code": _copied(lambda draw: draw.choice(["LH", "BA", "AF", "LX "]) + _digits(draw, draw.randint(3, 4))),
    "gate": _copied(lambda draw: draw.choice("ABCDE") + str(draw.randint(1, 60))),
    "score": lambda draw: (f"{(ours := draw.randint(1, 7))}-{(theirs := draw.randint(0, 7))}", f"{ours}:{theirs}"),
    "zip": _copied(lambda draw: _digits(draw, 5)),
    "street": _copied(lambda draw: f"{draw.choice(_NAMES['streets'])[0]} {draw.randint(1, 200)}"),
    "phone": _phone,
    "city": lambda draw: draw.choice(_NAMES["cities"]),
    "country": lambda draw: draw.choice(_NAMES["countries"]),
    "person": _copied(_person),
}


def read_frames(path: Path = FRAMES) -> list[Pair]:
    """Read the frames: English TAB German, one pair a line."""
    return [
        (english, german) for english, german in (line.split("\t") for line in path.read_text("utf-8").splitlines())
    ]


def generate(seed: int, frames: Sequence[Pair] | None = None) -> Iterator[Pair]:
    """Generate sentence pairs without end, the same ones for the same seed.

    Args:
        seed: of the generator of random numbers.
        frames: patterns to fill; those of `FRAMES` where none are given.

    Yields:
        an English sentence and its German translation.
    """
    frames = read_frames() if frames is None else frames
    for number in count():
        draw = random.Random(f"{seed}/{number}")
        english, german = draw.choice(frames)
        values = {slot.group(): _FILL[slot[1]](draw) for slot in _SLOT.finditer(english)}
        yield (
            _filled(english, [values[slot.group()][0] for slot in _SLOT.finditer(english)]),
            _filled(german, [values[slot.group()][1] for slot in _SLOT.finditer(german)]),
        )


def _filled(frame: str, values: Sequence[str]) -> str:
    """Write values into a frame; a sentence begins with a capital letter and ends with one full stop."""
    texts = iter(values)
    sentence = _SLOT.sub(lambda _: next(texts), frame)
    return sentence[:-1] if sentence.endswith("..") else sentence
