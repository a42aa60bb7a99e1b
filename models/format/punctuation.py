"""Punctuation as Moses normalises it (scripts/tokenizer/normalize-punctuation.perl), which most of Opus-MT read so.

The rules are those of the port sacremoses, in its order; a test has what that makes of odd texts.
"""

import functools
import re
from collections.abc import Sequence

from models.format.languages import base

# Nothing else makes a rule apply, so most texts need no further look.
_ODD = re.compile(r"[^\x20-\x7e]|[()`\"]|''|  | [:;]|\d %")
_RULES = (
    (r"\r", ""),
    (r"\(", " ("),
    (r"\)", ") "),
    (r"  +", " "),
    (r"\) ([.!:?;,])", r")\1"),
    (r"\( ", "("),
    (r" \)", ")"),
    (r"(\d) %", r"\1%"),
    (r" ([:;])", r"\1"),
    (r"`", "'"),
    (r"''", ' " '),
    (r"[„“”]", '"'),
    (r"–", "-"),
    (r"—", " - "),
    (r"  +", " "),
    (r"[´‘‚’]", "'"),
    (r"''", '"'),
    (r"…", "..."),
    (r"\xa0[«»]\xa0|«\xa0|\xa0»|[«»]", '"'),
    (r"\xa0%", "%"),
    (r"nº\xa0", "nº "),
    (r"\xa0([:?!;])", r"\1"),
    (r"\xa0(ºC|cm)", r" \1"),
    (r",\xa0", ", "),
    (r"  +", " "),
)
_QUOTES = {"en": ((r'"([,.]+)', r'\1"'),)} | dict.fromkeys(
    ("de", "es", "fr"), ((r',"', '",'), (r'(\.{1,100})"(\s*[^<])', r'"\1\2'))
)
_COMMAS = ("de", "es", "cs", "fr")  # between the parts of a number


def rules(is_moses: bool, languages: Sequence[str]) -> str | None:
    """Return the language whose rules a side of a model has: its only one, else ""; None if it has no rules at all."""
    return (base(languages[0]) if len(languages) == 1 else "") if is_moses else None


def normalized(text: str, language: str | None) -> str:
    """Return a text by the rules of a language; None for as it is."""
    if language is None:
        return text
    if _ODD.search(text):
        for pattern, replacement in _rules(language):
            text = pattern.sub(replacement, text)
    return text.strip()


def followed(text: str, language: str) -> tuple[str, Sequence[int]]:
    """Return the normalised text, and the place in the text of each of its characters and of its end."""
    places: Sequence[int] = range(len(text) + 1)
    for pattern, replacement in _rules(language):
        made: list[str] = []
        found: list[int] = []
        end = 0
        for match in pattern.finditer(text):
            new = match.expand(replacement)
            made += [text[end : match.start()], new]
            found += places[end : match.start()]
            found += [places[min(match.start() + n, match.end())] for n in range(len(new))]
            end = match.end()
        if end or made:
            text, places = "".join([*made, text[end:]]), [*found, *places[end:]]
    begin, stripped = len(text) - len(text.lstrip()), text.strip()
    return stripped, places[begin : begin + len(stripped) + 1]


@functools.cache
def _rules(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    between = r"\1,\2" if language in _COMMAS else r"\1.\2"
    rules = (*_RULES, *_QUOTES.get(language, ()), (r"(\d)\xa0(\d)", between))
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)
