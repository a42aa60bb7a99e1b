"""Places in texts as Azure's API counts them, in UTF-16 code units: words that are aligned, lengths of sentences."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from service.text.alignment import Link
from service.text.sentences import split
from service.translation.results import TranslatedSentence


def projection(links: Iterable[Link], source: str, target: str) -> str:
    """Return links as Azure writes them, in the order of the source's words.

    Args:
        links: Of words and marks.
        source: The text.
        target: Its translation.
    """
    of_source, of_target = _units(source), _units(target)
    return " ".join(
        f"{of_source[link.source[0]]}:{of_source[link.source[1]] - 1}"
        f"-{of_target[link.target[0]]}:{of_target[link.target[1]] - 1}"
        for link in sorted(links)
    )


def sentence_lengths(text: str, language: str) -> list[int]:
    """Return the lengths of the sentences of a text; what stands between two belongs to the first."""
    pieces = split(text, language)
    ends = accumulate((len(piece.text) for piece in pieces), initial=0)
    begins = [begin for begin, piece in zip(ends, pieces, strict=False) if piece.translate]
    return _lengths(text, begins)


def translated_lengths(
    text: str, translation: str, sentences: Sequence[TranslatedSentence]
) -> tuple[list[int], list[int]]:
    """Return the lengths of the sentences of a text, and those of their translations.

    Args:
        text: The whole text.
        translation: Its whole translation.
        sentences: Those that were translated, in their order; what stands between two was copied.
    """
    begins, places, place, end = [], [], 0, 0
    for sentence in sentences:
        place += sentence.begin - end
        begins.append(sentence.begin)
        places.append(place)
        place += len(sentence.best.text)
        end = sentence.begin + len(sentence.source)
    if place + len(text) - end != len(translation):  # a glossary changed what is copied
        begins, places = [], []
    return _lengths(text, begins), _lengths(translation, places)


def _lengths(text: str, begins: Sequence[int]) -> list[int]:
    """Return the lengths of the parts of a text that begin at these characters; the first begins with the text."""
    units = _units(text)
    return [units[end] - units[begin] for begin, end in pairwise([0, *begins[1:], len(text)])]


def _units(text: str) -> Sequence[int]:
    """Return for each character, and for the end, how many UTF-16 code units are before it."""
    if not text or max(text) <= "\uffff":
        return range(len(text) + 1)
    return list(accumulate((1 + (character > "\uffff") for character in text), initial=0))
