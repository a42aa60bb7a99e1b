"""Codes of languages as clients write them: in any case, of two letters or three, with a region or a script, or old."""

from collections.abc import Collection

from models.format.languages import canonical

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


def read_code(given: object, known: Collection[str]) -> str | None:
    """Return the known language that a client means, or None. A variant such as en-GB is its language, or another."""
    if not isinstance(given, str):
        return None
    code = canonical(given).lower().replace("_", "-")
    readings = (code, *_readings(code))
    if (found := next((reading for reading in readings if reading in known), None)) is not None:
        return found
    return next((each for each in known if set(_readings(each)) & set(readings)), None)


def _readings(code: str) -> tuple[str, ...]:
    return _READINGS.get(code, (code, code.split("-")[0]))
