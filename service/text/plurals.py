"""Plural categories of languages for cardinal numbers, after CLDR 48.

Source: https://www.unicode.org/cldr/charts/48/supplemental/language_plural_rules.html
"""

from collections.abc import Collection

_CATEGORIES = """
other: id ja ko ms th vi zh zt
one other: af az bg bn da de el en eo et eu fa fi gl hi hu hy is ka kk la mk ml mn mr nb ne nl nn no pa sq sv sw
one other: ta te tl tr ur uz
zero one other: lv
one two other: he
one few other: bs hr ro sr
one many other: ca es fr it pb pt
one two few other: sl
one few many other: be cs lt pl ru sk uk
one two few many other: ga mt
zero one two few many other: ar cy
"""
_BY_LANGUAGE = {
    language: tuple(categories.split())
    for categories, _, languages in (line.partition(":") for line in _CATEGORIES.strip().splitlines())
    for language in languages.split()
}

# Languages in which some of these categories hold more than the one whole number that they are named after.
_BROADER = frozenset("be bn bs fa fr hi hr hy is lt lv mk pb pt ru sl sr uk".split())  # noqa: SIM905
_EXACT = {"zero": "=0", "one": "=1", "two": "=2"}


def plural_categories(language: str) -> tuple[str, ...]:
    """Return the categories that a language tells apart, `other` last; of an unknown language only `other`."""
    return _BY_LANGUAGE.get(_without_region(language), ("other",))


def missing_categories(language: str, keys: Collection[str]) -> list[str]:
    """Return the categories that a message in a language lacks, which has branches for these keys, such as `=1`."""
    is_exact = _without_region(language) not in _BROADER
    return [
        category
        for category in plural_categories(language)
        if category not in keys and not (is_exact and _EXACT.get(category) in keys)
    ]


def _without_region(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].lower()
