"""Chunks of a file's texts, each of which is one call for translations, and their translations collected."""

from collections.abc import Iterable, Iterator, Sequence

from service.files import Aligned
from service.text.alignment import Link, moved

PART_CHARACTERS = 4000  # progress is reported, and a cancelled file stops, between two of them
PART_TEXTS = 64


def parts(
    texts: Sequence[str], longest: int = PART_CHARACTERS, most: int = PART_TEXTS
) -> Iterator[list[tuple[int, str]]]:
    """Yield parts of the texts, which are translated together, with the indices of the texts.

    Args:
        texts: of a file; an empty one is in none of the parts.
        longest: characters after which a text is cut, at most `PART_CHARACTERS`.
        most: texts in a part, at most `PART_TEXTS`.
    """
    part: list[tuple[int, str]] = []
    characters = 0
    for index, whole in enumerate(texts):
        for text in _cut(whole, min(longest, PART_CHARACTERS)):
            if part and (characters + len(text) > PART_CHARACTERS or len(part) >= min(most, PART_TEXTS)):
                yield part
                part, characters = [], 0
            part.append((index, text))
            characters += len(text)
    if part:
        yield part


class Collected:
    """The translations of a file's parts, added one by one."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Start without a translation."""
        self._pieces: list[list[str]] = [[] for _ in texts]
        self._links: list[list[Link]] = [[] for _ in texts]
        self._ends = [(0, 0)] * len(texts)  # characters of each text and of its translation so far

    def add(self, index: int, source: str, translation: str, links: Iterable[Link]) -> None:
        """Add the translation of the next piece of a text.

        Args:
            index: of the text.
            source: the piece, as `parts` cut it.
            translation: of the piece.
            links: between the two.
        """
        source_end, end = self._ends[index]
        self._pieces[index].append(translation)
        self._links[index] += moved(links, source_end, end)
        self._ends[index] = (source_end + len(source), end + len(translation))

    def joined(self) -> list[Aligned]:
        """Return the translation of each text, its pieces joined."""
        return [Aligned("".join(pieces), links) for pieces, links in zip(self._pieces, self._links, strict=True)]


def sample(texts: Sequence[str], characters: int = 2000) -> str:
    """Return the beginning of the texts, to detect their language."""
    found: list[str] = []
    for text in texts:
        if characters <= 0:
            break
        found.append(text[:characters])
        characters -= len(text)
    return "\n".join(found)


def _cut(text: str, longest: int) -> Iterator[str]:
    """Yield pieces of up to `longest` characters, cut after a line, else after a sentence, else at a space."""
    begin = 0
    while len(text) - begin > longest:
        limit = begin + longest
        for mark in ("\n", ". ", " "):
            found = text.rfind(mark, begin, limit)
            if found >= 0:
                limit = found + len(mark)
                break
        yield text[begin:limit]
        begin = limit
    if begin < len(text):
        yield text[begin:]
