"""Codes of languages as clients write them: in any case, of two letters or three, with a region or a script, or old."""

import re
from collections.abc import Collection

from models.format.languages import canonical
from service.text.languages import ENGLISH

# What a code may stand for, best first. Chinese in the other script would be another language; Portuguese is not.
_READINGS = {
    "zh-cn": ("zh",),
    "zh-hans": ("zh",),
    "zh-tw": ("zt",),
    "zh-hant": ("zt",),
    "zh-hk": ("zt",),
    "pt": ("pt", "pb"),
    "pt-br": ("pb", "pt"),
    "no": ("no", "nb"),
    "iw": ("he",),
    "fil": ("tl",),
}

_QUALITY = re.compile(r"\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.ASCII)
_MOST_ACCEPTED = 20  # languages of an Accept-Language; browsers send fewer than ten


def read_code(given: object, known: Collection[str]) -> str | None:
    """Return the known language that a client means, or None. A variant such as en-GB is its language, or another."""
    if not isinstance(given, str):
        return None
    code = canonical(given).lower().replace("_", "-")
    readings = (code, *_readings(code))
    if (found := next((reading for reading in readings if reading in known), None)) is not None:
        return found
    return next((each for each in known if set(_readings(each)) & set(readings)), None)


def meant(source: str, target: str, pairs: Collection[tuple[str, str]]) -> tuple[str, str]:
    """Return the pair that a client means, each side as the models call it; what no model has stays as it is.

    Args:
        source: canonical, in lower case, or "auto".
        target: canonical, in lower case.
        pairs: that can be translated.
    """
    if source == target or (source, target) in pairs:
        return source, target
    sources, targets = (dict.fromkeys(pair[side] for pair in pairs) for side in (0, 1))
    return read_code(source, sources) or source, read_code(target, targets) or target


def _readings(code: str) -> tuple[str, ...]:
    return _READINGS.get(code, (code, code.split("-")[0]))


def accepted(header: str | None) -> str:
    """Return the language of a reader: the one that an `Accept-Language` likes best and that has names, or English."""
    best, code = 0.0, "en"
    for choice in (header or "").split(",", _MOST_ACCEPTED)[:_MOST_ACCEPTED]:
        named, _, weight = choice.partition(";")
        given = _QUALITY.fullmatch(weight)
        quality = float(given[1]) if given else 0.0 if weight else 1.0
        if quality > best and (read := read_code(named.strip(), ENGLISH)) is not None:
            best, code = quality, read
    return code
