"""Numbers of a sentence in forms that its translation may have: enough to measure, from digits to digits and words."""

import re
from collections import Counter

_NUMBER = re.compile(r"\d+(?:[.,:'’\u00a0\u202f/-]?\d+)*")
_HALF = re.compile(r"\s?([ap])\.?m\b", re.IGNORECASE)
# Languages that part thousands by a point and decimals by a comma.
_COMMA = frozenset({"de"})
_WORDS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
}
_ONE = {"en": ("a", "an", "one"), "de": ("ein", "eine", "einen", "einem", "einer", "eines", "eins")}


def numbers(text: str, language: str) -> list[frozenset[str]]:
    """Return the numbers in digits of a sentence, each with its readings: as written, and as it is meant."""
    found = []
    for match in _NUMBER.finditer(text):
        literal = match[0]
        thousands, decimals = (".", ",") if language in _COMMA else (",", ".")
        value = re.sub(r"['’\u00a0\u202f]", "", literal).replace(thousands, "").replace(decimals, ".")
        readings = {literal, value, re.sub(r"[/-]", " ", literal)}
        hour, _, minutes = literal.partition(":")
        half = _HALF.match(text, match.end())
        if half is not None and not minutes:  # 2.15 pm
            hour, _, minutes = literal.partition(".")
        if half is not None and hour.isdecimal() and int(hour) < 13:
            hour, minutes = str(int(hour) % 12 + 12 * (half[1] in "pP")), minutes or "00"
        if minutes:
            readings |= {f"{hour}:{minutes}", f"{hour}.{minutes}"} | ({hour} if minutes == "00" else set())
        found.append(frozenset(readings))
    return found


def arrive(source: str, source_language: str, target: str, target_language: str) -> bool:
    """Tell whether each number of a sentence is in its translation, up to twelve maybe as a word.

    Args:
        source: the sentence.
        source_language: ISO 639-1 code.
        target: its translation.
        target_language: ISO 639-1 code.
    """
    waiting: Counter[frozenset[str]] = Counter(numbers(target, target_language))
    words = Counter(re.findall(r"\w+", target.casefold()))
    for readings in numbers(source, source_language):
        match = next((each for each in waiting if waiting[each] and each & readings), None)
        if match is not None:
            waiting[match] -= 1
        elif (word := next((word for word in _spelt(readings, target_language) if words[word]), None)) is not None:
            words[word] -= 1
        else:
            return False
    return True


def _spelt(readings: frozenset[str], language: str) -> list[str]:
    """Return the words that may stand for a number."""
    spelt = _WORDS.get(language, "").split()
    values = [int(reading) for reading in readings if reading.isdecimal() and len(reading) < 3]
    return [
        word
        for value in values
        if value < len(spelt)
        for word in (*(_ONE.get(language, ()) if value == 1 else ()), spelt[value])
    ]
