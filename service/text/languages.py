"""Names of languages, in English and in each other (language_names/README.md)."""

from functools import cache
from pathlib import Path

from models.format.languages import canonical

_NAMES = """
af Afrikaans|ar Arabic|az Azerbaijani|be Belarusian|bg Bulgarian|bn Bengali|bs Bosnian|ca Catalan|cs Czech|cy Welsh
da Danish|de German|el Greek|en English|eo Esperanto|es Spanish|et Estonian|eu Basque|fa Persian|fi Finnish|fr French
ga Irish|gl Galician|he Hebrew|hi Hindi|hr Croatian|hu Hungarian|hy Armenian|id Indonesian|is Icelandic|it Italian
ja Japanese|ka Georgian|kk Kazakh|ko Korean|la Latin|lt Lithuanian|lv Latvian|mk Macedonian|ml Malayalam|mn Mongolian
mr Marathi|ms Malay|mt Maltese|nb Norwegian Bokmål|ne Nepali|nl Dutch|nn Norwegian Nynorsk|no Norwegian|pa Punjabi
pb Portuguese (Brazil)|pl Polish|pt Portuguese|ro Romanian|ru Russian|sk Slovak|sl Slovenian|sq Albanian|sr Serbian
sv Swedish|sw Swahili|ta Tamil|te Telugu|th Thai|tl Tagalog|tr Turkish|uk Ukrainian|ur Urdu|uz Uzbek|vi Vietnamese
zh Chinese|zt Chinese (traditional)
"""
ENGLISH = dict(entry.split(" ", 1) for line in _NAMES.strip().splitlines() for entry in line.split("|"))
RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})


def name(code: str, reader: str = "en") -> str:
    """Return the name of a language, or its code if it is not known.

    A variant such as zh-Hans has the name of its language, and its variant in brackets.

    Args:
        code: The language.
        reader: The language of the name; English stands for one that has no names here.
    """
    names = ENGLISH if reader == "en" else _names(reader)
    language, _, variant = canonical(code).partition("-")
    if code in names or language not in names or not variant:
        return names.get(code, code)
    return f"{names[language]} ({variant})"


def native_name(code: str) -> str:
    """Return the name of a language in that language, or its code if it is not known."""
    return name(code, code if code in ENGLISH else canonical(code).partition("-")[0])


@cache
def _names(reader: str) -> dict[str, str]:
    """Read the names of all languages in one of them."""
    with (Path(__file__).parent / "language_names" / "names.tsv").open(encoding="utf-8") as lines:
        codes = next(lines).split()
        for line in lines:
            code, *names = line.rstrip("\n").split("\t")
            if code == reader:
                return dict(zip(codes, names, strict=True))
    return ENGLISH
