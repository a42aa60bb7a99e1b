"""Plural categories of languages for cardinal numbers, after CLDR 48.

Source: https://www.unicode.org/cldr/charts/48/supplemental/language_plural_rules.html
"""

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


def plural_categories(language: str) -> tuple[str, ...]:
    """Return the categories that a language tells apart, `other` last; of an unknown language only `other`."""
    return _BY_LANGUAGE.get(language.replace("_", "-").partition("-")[0].lower(), ("other",))
