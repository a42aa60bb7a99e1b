"""Texts in Unicode's composed form, NFC, in time that is linear in them."""

import re
import unicodedata

# Marks on one character, as in Unicode's Stream-Safe Text Format (UAX #15): no language has more than ten. Python sorts
# them in time that grows with their square, while it holds the interpreter: 10,000 took 0.1 s, half a million minutes.
_MOST_MARKS = 30
_MAYBE_MARKS = re.compile(rf"[^\w\x00-\u02ff]{{{_MOST_MARKS}}}")  # no mark is a letter, a digit or below


def composed(text: str) -> str:
    """Return a text in NFC; of more than 30 marks on one character each 30 are sorted by themselves."""
    if text.isascii():
        return text
    if _MAYBE_MARKS.search(text) is None:
        return unicodedata.normalize("NFC", text)
    parts, begin, marks = [], 0, 0
    for place, character in enumerate(text):
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MOST_MARKS:
            parts.append(text[begin:place])
            begin, marks = place, 1
    return "".join(unicodedata.normalize("NFC", part) for part in [*parts, text[begin:]])
