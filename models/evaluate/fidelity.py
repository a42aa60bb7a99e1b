"""Fidelity: what a reader must be able to rely on, whatever BLEU says. The engine alone, without the service's checks.

`models/configs/fidelity/names.tsv` holds 400 places and 100 people: kind, English, German. The places are names of
Natural Earth (public domain), the most mentioned in encyclopaedia and parliament; those that differ in German come
first. The people are first and last names of `models/configs/frames`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models.text.numbers import arrive, numbers

NAMES = Path(__file__).parents[1] / "configs/fidelity/names.tsv"
LANGUAGES = ("en", "de")
_FRAMES = {
    "place": (
        ("We spent three days in {}.", "Wir haben drei Tage in {} verbracht."),
        ("The conference takes place in {}.", "Die Konferenz findet in {} statt."),
        ("My sister works for a bank in {}.", "Meine Schwester arbeitet bei einer Bank in {}."),
        ("Have you ever been to {}?", "Warst du schon einmal in {}?"),
        ("The flight from {} was late.", "Der Flug aus {} hatte Verspätung."),
    ),
    "person": (
        ("Yesterday I met {} at the station.", "Gestern habe ich {} am Bahnhof getroffen."),
        ("{} has written a book about birds.", "{} hat ein Buch über Vögel geschrieben."),
        ("This letter is from {}.", "Dieser Brief ist von {}."),
        ("Please call {} before noon.", "Bitte rufen Sie {} vor Mittag an."),
    ),
}


class Named(NamedTuple):
    """A sentence with a name, and the name in the language of the translation."""

    sentence: str
    name: str


def named(source_language: str, target_language: str, path: Path = NAMES) -> list[Named]:
    """Return a sentence for each name of the list; none for other languages than English and German."""
    if {source_language, target_language} != set(LANGUAGES):
        return []
    read, written = LANGUAGES.index(source_language), LANGUAGES.index(target_language)
    result = []
    for number, line in enumerate(path.read_text("utf-8").splitlines()):
        kind, *names = line.split("\t")
        frame = _FRAMES[kind][number % len(_FRAMES[kind])]
        result.append(Named(frame[read].format(names[read]), names[written]))
    return result


def names_right(sentences: Sequence[Named], translations: Sequence[str]) -> dict[str, Any]:
    """Return the share of translations that have the name as a word, maybe in the genitive, and those that have not."""
    wrong = [
        {"source": each.sentence, "name": each.name, "translation": translation}
        for each, translation in zip(sentences, translations, strict=True)
        if not re.search(rf"(?<!\w){re.escape(each.name)}(?:['’]?s)?(?!\w)", translation)
    ]
    return {"names_right": round(1 - len(wrong) / len(sentences), 4), "names": len(sentences), "names_wrong": wrong}


def numbers_all_arrive(
    sources: Sequence[str], translations: Sequence[str], references: Sequence[str], languages: tuple[str, str]
) -> dict[str, Any]:
    """Count sentences with numbers whose translation has all of them, or all that the reference has.

    Args:
        sources: sentences.
        translations: of them, to be judged.
        references: of them, by people, who may write 2:38 PM as 14:38 or a date in digits.
        languages: ISO 639-1 codes of source and target.

    Returns:
        numbers_all_arrive: share of the sentences with numbers, None where there are none; sentences_with_numbers.
    """
    source, target = languages
    judged = [
        arrive(s, source, t, target) or bool(numbers(r, target) and arrive(r, target, t, target))
        for s, t, r in zip(sources, translations, references, strict=True)
        if numbers(s, source)
    ]
    share = round(sum(judged) / len(judged), 4) if judged else None
    return {"numbers_all_arrive": share, "sentences_with_numbers": len(judged)}
