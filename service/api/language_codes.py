"""Codes of languages as Google's and Azure's clients write them: in any case, with a region or a script, or old."""

from collections.abc import Collection

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
    """Return the known language that a client means, or None. A variant such as en-GB is its language."""
    if not isinstance(given, str):
        return None
    code = given.lower().replace("_", "-")
    return next((reading for reading in _READINGS.get(code, (code, code.split("-")[0])) if reading in known), None)
