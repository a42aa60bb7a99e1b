"""Numbers of a text in a normal form, to tell whether a translation has those of its source and no others.

A number may be written in several ways: `1,250.00` is `1.250,00` in German, `2:38 PM` is `14:38`, `January 1, 2024` is
`1. Januar 2024` or `01.01.2024`. Each number therefore has a set of readings, and two numbers are the same if they
share one. A version, an address or a telephone number is read to the letter as well. A share stays one, and an amount
keeps its currency.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.text.placeholders import Span, overlaps

# Digits with single marks between them, and groups of three behind a space that does not break a line.
_NUMBER = re.compile(r"(?<![\d])\d+(?:[.,'’]\d+|:\d{2}(?!\d)|[\u00a0\u202f]\d{3}(?!\d))*")
_SPACED = re.compile(r"(?<![\d.,:])\d{1,3}(?: \d{3})+(?!\d)")  # 12 500, where the language writes so
_GROUPS = re.compile(r"\d{1,3}(?:(?P<mark>[.,'’\u00a0\u202f ])\d{3})(?:(?P=mark)\d{3})*")
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?")
_POINTED_CLOCK = re.compile(r"(\d{1,2})\.(\d{2})(?=[ \u00a0\u202f]?[ap]\.?[ \u00a0\u202f]?m\b)", re.IGNORECASE)
_GERMAN_CLOCK = re.compile(r"(\d{1,2})\.(\d{2})(?= ?Uhr)")
_HALF = re.compile(r"[ \u00a0\u202f]?(?:([ap])\.?[ \u00a0\u202f]?m\b)", re.IGNORECASE)
_GERMAN_HALF = re.compile(r" Uhr (?:(nachmittags|abends)|morgens|vormittags|früh|nachts)\b")
_HOUR = re.compile(r"[ \u00a0\u202f]?(?:Uhr|h)\b")
_DAY = re.compile(r"(?<![\d.])(0?[1-9]|[12]\d|3[01])\.[ \u00a0]?(0?[1-9]|1[0-2])\.(?:[ \u00a0]?(\d{4}))?(?!\d)")
# Languages whose decimals stand behind a comma; in the others they stand behind a point.
_COMMA = frozenset("bg cs da de el es et fi fr hr hu id is it lt lv nb nl pl pt ro ru sk sl sr sv tr uk vi".split())  # noqa: SIM905
_SPACES = frozenset("bg cs et fi fr hu lt lv nb pl pt ru sk sv uk".split())  # noqa: SIM905
_WORDS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze",
}
_ENGLISH_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_GERMAN_ORDINALS = "erst zweit dritt viert fünft sechst siebt acht neunt zehnt elft zwölft"
_GERMAN_ENDINGS = ("e", "en", "er", "es", "em")
_MORE_WORDS = {
    "en": {"a": 1, "an": 1, "once": 1, "twice": 2, "half": 2, "dozen": 12}
    | {word: value for value, word in enumerate(_ENGLISH_ORDINALS.split(), 1)},
    "de": {"ein": 1, "eine": 1, "einen": 1, "einem": 1, "einer": 1, "eines": 1}
    | {f"{stem}{end}": value for value, stem in enumerate(_GERMAN_ORDINALS.split(), 1) for end in _GERMAN_ENDINGS}
    | {"zweimal": 2, "einmal": 1, "dutzend": 12},
    "fr": {"une": 1, "premier": 1, "première": 1, "deuxième": 2, "troisième": 3, "douzaine": 12},
}
_ROUND = (20, 30, 40, 50, 60, 70, 80, 90, 100)
_LARGE = frozenset(f"{number}{sign}" for number in _ROUND for sign in ("", "%"))
_ROUND_WORDS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety hundred",
    "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig hundert",
    "fr": "vingt trente quarante cinquante soixante soixante-dix quatre-vingts quatre-vingt-dix cent",
}
# What a number in digits may come from, beside digits: stems of words, and Roman numerals.
_NUMERALS = {
    "en": "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twel|teen|twent|thirt|fort|fift|hundred"
    "|thousand|illion|dozen|first|second|third|half|quarter|noon|midday|midnight|once|twice|double|triple|couple|pair|both",
    "de": "null|ein|eins|zwei|zwo|drei|dritt|vier|fünf|sechs|sieb|acht|neun|zehn|elf|zwölf|zig|ßig|hundert|tausend"
    "|illion|illiard|dutzend|erst|halb|hälfte|viertel|mittag|mitternacht|doppel|paar|beide",
    "fr": "zéro|un|deux|trois|quatr|cinq|six|sept|huit|neuf|dix|onz|douz|treiz|quinz|seiz|vingt|trent|quarant|cent|mill"
    "|premi|second|tier|demi|quart|midi|minuit|double|pair",
}
_NUMERAL = {
    language: re.compile(rf"{stems}|\b[IVX]+\b|\b[ivx]+\b", re.IGNORECASE) for language, stems in _NUMERALS.items()
}
_LETTERS = re.compile(r"[^\W\d_]+")
# Roman numerals from II, since I is a word, of kings and wars.
_ROMAN = {
    f"{tens}{ones}": str(10 * ten + one)
    for ten, tens in enumerate(("", "X", "XX", "XXX"))
    for one, ones in enumerate(("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"))
    if 10 * ten + one > 1
}
_PERCENT = re.compile(r"[ \u00a0\u202f-]?(?:%|percent|per[ ]cent|prozent|pour[ ]cent)", re.IGNORECASE)
_SIGN = re.compile(r"([$€£¥])[ \u00a0\u202f]?\d|\d[ \u00a0\u202f]?([$€£¥])")
_CURRENCIES = {
    "$": re.compile(r"\$|dollar|\b(?:us|au|ca|hk|nz|sg)d\b", re.IGNORECASE),
    "€": re.compile(r"€|euro?\b|euros\b", re.IGNORECASE),
    "£": re.compile(r"£|pound|pfund|livre|gbp", re.IGNORECASE),
    "¥": re.compile(r"¥|yen\b|yuan|jpy|cny", re.IGNORECASE),
}
_OTHER_DIGITS = frozenset("ar bn fa hi ja ko mr ne ta te th ur zh zt".split())  # noqa: SIM905
# What makes a number one of amounts, which has the target's form: it is no version.
_AMOUNT_BEHIND = re.compile(
    r"[ \u00a0\u202f-]?(?:[$€£¥%°]|(?i:percent|per[ ]cent|prozent|[mbt]r?ill?i|mio|mrd|dollar|euro)"
    r"|(?:hours?|minutes?|seconds?|days?|weeks?|months?|years?|(?:kilo|centi|milli)?met(?:er|re)s?|miles?|feet|inches|"
    r"(?:kilo)?grams?|pounds?|ounces?|lit(?:er|re)s?|degrees|[kcm]?m|[km]?g|m?l|[KMGT]B|[kMG]?Hz|k?W)(?![^\W\d_]))"
)
_SCALE = re.compile(r"[ \u00a0\u202f-]?[mbt]r?ill?i", re.IGNORECASE)
# What a translation has to the letter: Roman numerals, names with digits (B12, A4), and numbers that touch their unit.
_GAPS = " \u00a0\u202f-"  # between a number and its unit
_UNITS = "kg|mg|g|km|cm|mm|m|ml|l|GB|MB|KB|kB|TB|kHz|MHz|GHz|Hz|dB|px|pt|[VAWKDCF]"
_MARKED = re.compile(
    r"(?<![\w.,-])(?:(?P<roman>[IVX]{2,})|(?P<name>[A-Z]{1,4}\d[A-Z\d]*)"
    rf"|(?P<number>\d+(?:[.,]\d+)*)(?P<unit>{_UNITS}))(?![\w-])"
)
# Symbols of measures, which a model that does not know one makes words of, and how they begin where they are spelt out.
_SPELT_MEASURES = {
    "km": "kilom", "cm": "[cz]entim", "mm": "millim", "kg": "kilo", "mg": "millig", "ml": "millil", "kW": "kilow",
    "KB": "kilob", "kB": "kilob", "MB": "megab", "GB": "gigab", "TB": "terab",
    "kHz": "kiloh", "MHz": "megah", "GHz": "gigah",
}  # fmt: skip
_MEASURES_BEHIND = {
    symbol: re.compile(rf"[{_GAPS}]?(?:{symbol}(?!\w)|(?i:{spelt}))") for symbol, spelt in _SPELT_MEASURES.items()
}
_SYMBOLS = "|".join(_SPELT_MEASURES)
_MEASURE = re.compile(rf"(?<![\w.,-])(\d+(?:[.,]\d+)*)[ \u00a0\u202f]({_SYMBOLS})(?![\w-])")
# What no other language than English writes behind a number, and what stands for a dash that a model can't spell.
_ENGLISH_END, _DOTS = re.compile(r"\d(?:st|nd|rd|th)(?!\w)"), re.compile(r"\d\.\.+\d")
# A stretch that stands for one number in a sentence: with its letters, signs, and what follows an hour.
_PHONE = re.compile(r"(?<![\w+])(?:\+\d|\(\d|0\d)\d*+(?>(?:[-/ ().]{1,2}\d++)+)")
_STRETCH = re.compile(
    r"(?<!\w)(?:[A-Z]{0,3}[$€£¥])?[^\W\d_]*+\d[^\W_]*+(?>(?:[.,:'’/\u00a0\u202f–-]\d[^\W_]*+)*)"
    rf"(?: ?[%€](?!\w)|[ \u00a0\u202f](?-i:{_SYMBOLS})(?![\w-])|[ \u00a0\u202f]?°(?:[CFK](?!\w))?| ?[ap]\.?m\b\.?"
    r"| (?P<share>per ?cent|prozent|pour cent)\b)?",
    re.IGNORECASE,
)
_SHARES = {"de": "Prozent", "en": "percent", "es": "por ciento", "fr": "pour cent", "it": "per cento", "nl": "procent"}
_ENDS = frozenset({"st", "nd", "rd", "th"})
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)", re.IGNORECASE)
_UNKNOWN_ORDINAL = re.compile(r"(?<=[}di\ue000-\uf8ff\U000f0000-\U0010ffff])(?:st|nd|rd|th)\Z")  # of {n}th, %dth
_POINT_BEHIND = frozenset({"cs", "da", "de", "fi", "hu", "nb", "pl"})  # languages that write an ordinal so
_DECADE = re.compile(r"(\d{2,4})s")
_NAMED = re.compile(r"\b(?:v|version|release|chapter|section|figure|kapitel|abschnitt|abbildung)\.? ?\Z", re.IGNORECASE)


_MONTHS = {
    "en": "January February March April May June July August September October November December".split(),  # noqa: SIM905
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),  # noqa: SIM905
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),  # noqa: SIM905
}
_DATE = {
    "en": re.compile(
        r"(?P<month>@) (?P<day>\d{1,2})(?:st|nd|rd|th)?(?:, (?P<year>\d{4}))?(?!\w)"
        r"|(?<!\w)(?P<day2>\d{1,2})(?:st|nd|rd|th)? (?:of )?(?P<month2>@)(?:,? (?P<year2>\d{4}))?(?!\w)".replace(
            "@", "|".join(_MONTHS["en"])
        )
    ),
    "de": re.compile(rf"(?<!\w)(?P<day>\d{{1,2}})\. (?P<month>{'|'.join(_MONTHS['de'])})(?: (?P<year>\d{{4}}))?(?!\w)"),
    "fr": re.compile(
        rf"(?<!\w)(?P<day>\d{{1,2}})(?:er)? (?P<month>{'|'.join(_MONTHS['fr'])})(?: (?P<year>\d{{4}}))?(?!\w)"
    ),
}
_WRITTEN_DATE = {"en": "{month} {day}", "de": "{day}. {month}", "fr": "{day} {month}"}


class Number(NamedTuple):
    """A number as it is written.

    Attributes:
        span: [begin, end) in the text.
        readings: its normal forms, each of which it may be on the other side.
        is_optional: it may be missing there: the month of a date in digits, which may be a word.
    """

    span: Span
    readings: frozenset[str]
    is_optional: bool = False


def find(text: str, language: str, kept: Sequence[Span] = ()) -> list[Number]:
    """Find the numbers of a text, in order.

    Args:
        text: a sentence or more.
        language: its ISO 639-1 code, which decides what points and commas mean.
        kept: sorted spans [begin, end) that are not read: placeholders, addresses, code.

    Returns:
        Numbers in digits; numbers written as words are left out.
    """
    return [number for number in _numbers(text, language) if not overlaps(number.span, kept)]


def agree(source: str, source_language: str, target: str, target_language: str) -> bool:
    """Tell whether a translation has the numbers and currencies of its source, and no others.

    Numbers up to twelve may be words on either side, and round ones up to a hundred on that of the source. Time is
    linear in both lengths.

    Args:
        source: a text without its kept units.
        source_language: ISO 639-1 code.
        target: its translation.
        target_language: ISO 639-1 code.
    """
    if source_language in _OTHER_DIGITS or target_language in _OTHER_DIGITS:
        return True
    if not (_has_currencies(source, target) and _has_currencies(target, source)):
        return False
    missing, surplus = differences(find(source, source_language), find(target, target_language))
    if any(number.readings & _LARGE for number in missing):  # digits stay digits, but what is small may be a word
        return False
    return _all_spelt(missing, target, target_language) and _all_spelt(surplus, source, source_language)


def keeps_marked(source: str, target: str, language: str) -> bool:
    """Tell whether a translation has the Roman numerals, names with digits and attached units of its source.

    A Roman numeral may be a word or a number there, and a unit may be spelt out (5V, 5 Volt; 5 km, 5 Kilometer). An
    ordinal has no English ending there, nor a range two full stops for its dash.
    """
    if language != "en" and _ENGLISH_END.search(target):
        return False
    if _DOTS.search(target) and not _DOTS.search(source):
        return False
    for number, symbol in set(_MEASURE.findall(source)):
        measures = [_MEASURES_BEHIND[symbol].match(target, end) for end in _ends(target, number)]
        if measures and not any(measures):
            return False
    for match in _MARKED.finditer(source):
        if match["name"] and match["name"] not in target:
            return False
        if match["roman"] in _ROMAN and not _has_roman(match["roman"], target, language):
            return False
        if match["number"]:
            units = [_has_unit(target, end, match["unit"][0].lower()) for end in _ends(target, match["number"])]
            if units and not any(units):
                return False
    return True


def _ends(text: str, number: str) -> Iterator[int]:
    """Yield where a number ends in a text, whichever marks it has there; digits may follow."""
    text, number = text.replace(",", "."), number.replace(",", ".")
    begin = text.find(number)
    while begin >= 0:
        if not text[begin - 1 : begin].isdecimal():
            yield begin + len(number)
        begin = text.find(number, begin + 1)


def _has_unit(text: str, place: int, letter: str) -> bool:
    """Return whether a unit that begins with a letter stands at a place of a text, or behind a space or a hyphen."""
    behind = text[place : place + 2].lower()
    return behind[:1] == letter or (behind[:1] in _GAPS and behind[1:] == letter)


def _has_roman(numeral: str, target: str, language: str) -> bool:
    value = _ROMAN[numeral]
    if re.search(rf"\b{numeral}\b|(?<!\d){value}(?!\d)", target):
        return True
    return _all_spelt([Number((0, 0), frozenset({value}))], target, language)


def are_made_up(source: str, source_language: str, target: str) -> bool:
    """Tell whether a translation has a number in digits whose source has none, not even in words."""
    numeral = _NUMERAL.get(source_language)
    return numeral is not None and any(map(str.isdecimal, target)) and numeral.search(source) is None


def stretches(text: str, source: str, target: str, kept: Sequence[Span] = ()) -> list[tuple[Span, str]]:
    """Find the stretches of a text that are numbers, and how the target language writes each.

    A telephone number, a time with its half of the day and an amount with its sign are one stretch.

    Args:
        text: a sentence.
        source: ISO 639-1 code of its language.
        target: that of the translation's.
        kept: sorted units; a stretch that holds only a part of one is left out.
    """
    has_dates = source in _DATE and target in _DATE
    dates = [match.span() for match in _DATE[source].finditer(text)] if has_dates else []
    dates = [span for span in dates if not overlaps(span, kept)]
    around = [(begin - 1, end + 1) for begin, end in dates]
    spans = []
    position = 0
    while (match := _STRETCH.search(text, position)) is not None:
        phone = _PHONE.search(text, max(match.start() - 1, position), match.start() + 40)
        match = phone if phone is not None and phone.start() <= match.start() else match
        position = match.end()
        if not (_cuts(match.span(), kept) or _cuts(match.span(), around)):
            spans.append(match.span())
    found = [(span, _converted(text, span, source, target)) for span in (*dates, *spans)]
    for match in _MARKED.finditer(text):
        if match["roman"] in _ROMAN and not any(overlaps(match.span(), taken) for taken in (kept, around, spans)):
            found.append((match.span(), match[0]))
    return sorted(found)


def _cuts(span: Span, others: Sequence[Span]) -> bool:
    """Return whether a span begins or ends inside of one of others, which are sorted."""
    return any(overlaps((place, place), others) for place in span)


def ordinal(unit: str, source: str, target: str) -> str:
    """Write a placeholder that is an ordinal, as {n}th, as the target language does; any other unit stays as it is."""
    if source != "en" or target == "en":
        return unit
    return _UNKNOWN_ORDINAL.sub("." if target in _POINT_BEHIND else "", unit) if unit[-2:] in _ENDS else unit


def _converted(text: str, span: Span, source: str, target: str) -> str:
    """Write a stretch as the target language does; what is no plain number stays as it is."""
    written = text[slice(*span)]
    if target in _DATE and source in _DATE and (date := _DATE[source].fullmatch(written)) is not None:
        parts = {name.rstrip("2"): value for name, value in date.groupdict().items() if value}
        month = _MONTHS[target][_MONTHS[source].index(parts["month"])]
        day = _WRITTEN_DATE[target].format(day=int(parts["day"]), month=month)
        return day + (f"{',' * (target == 'en')} {parts['year']}" if "year" in parts else "")
    if source == "en" and target != "en":
        if ordinal := _ORDINAL.fullmatch(written):
            return f"{ordinal[1]}." if target in _POINT_BEHIND else ordinal[1]
        if target == "de" and (decade := _DECADE.fullmatch(written)):
            return f"{decade[1]}er"
        clock = re.match(r"(\d{1,2})(?:[:.](\d{2}))? ?([ap])\.?m\b", written, re.IGNORECASE)
        if clock:
            hour = int(clock[1]) % 12 + (12 if clock[3].lower() == "p" else 0)
            return f"{hour}:{clock[2] or '00'}"
    number = _NUMBER.search(written)
    if number is None or _NAMED.search(text[max(span[0] - 20, 0) : span[0]]):
        return written
    swapped = number[0]
    if _value(swapped, source) is not None and (source in _COMMA) != (target in _COMMA):
        swapped = swapped.translate(str.maketrans(",.", ".,"))
        if target in _SPACES:
            swapped = swapped.replace(".", "\u00a0")
    head, tail = written[: number.start()], written[number.end() :]
    share = _STRETCH.fullmatch(written)
    if share is not None and share["share"]:
        tail = f" {_SHARES.get(target, '%')}"
    if tail == "%" and target in ("de", "fr", "cs", "da", "es", "fi", "nb", "sv", "ru"):
        tail = "\u00a0%"
    if target in _COMMA and head in ("$", "€", "£") and not tail and not _SCALE.match(text, span[1]):
        head, tail = "", f" {head}"
    return head + swapped + tail


def _has_currencies(text: str, other: str) -> bool:
    """Return whether the signs of currencies that stand beside numbers of a text are in another, maybe as words."""
    signs = {match[1] or match[2] for match in _SIGN.finditer(text)}
    return all(_CURRENCIES[sign].search(other) for sign in signs)


def differences(source: Sequence[Number], target: Sequence[Number]) -> tuple[list[Number], list[Number]]:
    """Pair the numbers of both sides off; return those of the source and of the target that are left."""
    waiting: dict[str, list[int]] = {}
    for index, number in enumerate(target):
        for reading in number.readings:
            waiting.setdefault(reading, []).append(index)
    taken: set[int] = set()
    missing = []
    for number in source:
        for reading in sorted(number.readings):
            indices = waiting.get(reading, [])
            while indices and indices[0] in taken:
                indices.pop(0)
            if indices:
                taken.add(indices.pop(0))
                break
        else:
            missing.append(number)
    surplus = [number for index, number in enumerate(target) if index not in taken]
    return [each for each in missing if not each.is_optional], [each for each in surplus if not each.is_optional]


def _numbers(text: str, language: str) -> Iterator[Number]:
    position = 0
    while (match := _next(text, language, position)) is not None:
        yield from _read(text, match, language)
        position = match.end()


def _next(text: str, language: str, position: int) -> re.Match[str] | None:
    """Find the next number; a date in digits, and one with spaces between its groups, count as a whole."""
    match = _NUMBER.search(text, position)
    if match is None:
        return None
    longer = [_DAY.match(text, match.start())] if language in _COMMA else []
    if language in _SPACES:
        longer.append(_SPACED.match(text, match.start()))
    return next((found for found in longer if found is not None), match)


def _read(text: str, match: re.Match[str], language: str) -> Iterator[Number]:
    written, span = match[0], match.span()
    if match.re is _DAY:  # the month is a word on the other side, or a number that stands for itself
        if match[3] is None:  # 5.10. may also be a number at the end of a sentence
            yield Number(span, frozenset({written.rstrip("."), match[1].lstrip("0")}))
            return
        for number, group in enumerate(match.groups()):
            yield Number(match.span(number + 1), frozenset({group, group.lstrip("0")}), number == 1)
        return
    readings = {written}
    is_afternoon = _is_afternoon(text, span[1])
    pointed = _GERMAN_CLOCK if language == "de" else _POINTED_CLOCK
    if clock := _CLOCK.fullmatch(written) or pointed.match(text, span[0]):
        times = _times(int(clock[1]), clock[2], is_afternoon=is_afternoon)
        readings = readings | times if is_afternoon is None else times
    elif written.isdecimal() and len(written) <= 2 and is_afternoon is not None:
        readings = _times(int(written), "00", is_afternoon=is_afternoon)
    elif written.isdecimal() and len(written) <= 2 and _HOUR.match(text, span[1]):
        readings |= _times(int(written), "00", is_afternoon=None)
    is_amount = len(set(written) & set(".,")) == 1 and _is_amount(text, span)
    if is_afternoon is None and (value := _value(written, language)):
        # a number with both marks is no version, and has the target's form; 1.250 is another number there
        is_number = len(set(written) & set(".,")) == 2 or _AMBIGUOUS.fullmatch(written) is not None
        is_named = _NAMED.search(text[max(span[0] - 20, 0) : span[0]]) is not None
        # an amount is not what looks like it in another language, so that its value is marked: 1.5 is no 1.5 there
        readings = {value} if is_number and not is_named else {*readings, value, f"={value}"}
        if is_amount and not is_named:
            readings = {f"={value}"} if "." in value else {value}
    elif is_afternoon is None and is_amount:
        readings = {f"?{written}"}  # of another language's form
    if _PERCENT.match(text, span[1]):
        readings = {f"{reading}%" for reading in readings}
    yield Number(span, frozenset(readings))


def _is_amount(text: str, span: Span) -> bool:
    """Return whether a number has a currency, a percent sign or the like beside it."""
    return (
        text[max(span[0] - 1, 0) : span[0]] in ("$", "€", "£", "¥") or _AMOUNT_BEHIND.match(text, span[1]) is not None
    )


def _is_afternoon(text: str, end: int) -> bool | None:
    """Return whether the time of the day that ends here is one of the afternoon; None if it is not said."""
    if half := _HALF.match(text, end):
        return half[1].lower() == "p"
    german = _GERMAN_HALF.match(text, end)
    return None if german is None else german[1] is not None


def _times(hour: int, minute: str, *, is_afternoon: bool | None) -> set[str]:
    """Write a time of the day in each way that a translation may: 2:30 PM is 14:30, and 2.30 Uhr is another time."""
    if is_afternoon is not None and hour <= 12:
        hour = hour % 12 + 12 * is_afternoon
    times = {f"{hour}:{minute}"}
    return times if minute != "00" else times | {str(hour)}


def _value(written: str, language: str) -> str | None:
    """Write a number without separators of thousands and with a point before its decimals; None if it isn't one."""
    comma = language in _COMMA
    point = "," if comma else "."
    whole, mark, decimals = written.rpartition(point)
    if not mark or not decimals.isdecimal():
        whole, decimals = written, ""
    if not whole.isdecimal() and not _GROUPS.fullmatch(whole):
        return None
    if point in whole:
        return None
    digits = "".join(filter(str.isdecimal, whole))
    if len(digits) > 1 and digits[0] == "0":  # a telephone number or a code
        return None
    if len(decimals) == 2:  # 3.50 is 3.5 and 3.00 is 3; but 3.0 is no whole number, and has its form
        decimals = decimals.rstrip("0")
    return f"{digits}.{decimals}" if decimals else digits


def _all_spelt(numbers: Sequence[Number], text: str, language: str) -> bool:
    """Tell whether each number is written as a word in the text."""
    if not numbers:
        return True
    words = _WORDS.get(language)
    if words is None:  # those that may be words are taken to be
        small = {*map(str, range(13)), *map(str, _ROUND)}
        return all(number.readings & small for number in numbers)
    values = {word: str(value) for value, word in enumerate(words.split())}
    values |= {word: str(value) for value, word in zip(_ROUND, _ROUND_WORDS[language].split(), strict=True)}
    values |= {word: str(value) for word, value in _MORE_WORDS[language].items()}
    words_there = _LETTERS.findall(text)
    there = [values[word] for word in map(str.lower, words_there) if word in values]
    there += [_ROMAN[word] for word in words_there if word in _ROMAN]
    if _PERCENT.search(text):
        there += [f"{value}%" for value in there]
    for number in numbers:
        value = next(iter(number.readings & set(there)), None)
        if value is None:
            return False
        there.remove(value)
    return True
