"""Chunks of a file's texts, each of which is one call for translations, and their translations collected."""

from array import array
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from copy import copy
from typing import TypeVar, overload

from service.files import Aligned
from service.text.alignment import Link, moved

T = TypeVar("T")

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


class Collected(Sequence[Aligned]):
    """The translations of a file's texts, added piece by piece in order.

    Links are numbers in one array until a text is asked for: 16 bytes each, where a `Link` with its spans has 300.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Start without a translation."""
        self._places = range(len(texts))
        self._pieces: list[str] = []
        self._numbers = array("i")  # of each link, where it begins and ends in the source, then in the translation
        self._pieces_before, self._numbers_before = array("i", [0]), array("i", [0])  # of each text that has begun
        self._source_end = self._end = 0  # characters of the last of them, and of its translation so far

    def add(self, index: int, source: str, translation: str, links: Iterable[Link]) -> None:
        """Add the translation of the next piece of a text.

        Args:
            index: of the text.
            source: the piece, as `parts` cut it.
            translation: of the piece.
            links: between the two.
        """
        skipped = index + 1 - len(self._pieces_before)
        if skipped:
            self._pieces_before.extend([len(self._pieces)] * skipped)
            self._numbers_before.extend([len(self._numbers)] * skipped)
            self._source_end = self._end = 0
        for link in moved(links, self._source_end, self._end):
            self._numbers.extend((*link.source, *link.target))
        self._pieces.append(translation)
        self._source_end, self._end = self._source_end + len(source), self._end + len(translation)

    def __len__(self) -> int:
        """Count the texts."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Aligned: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Aligned]: ...

    def __getitem__(self, index: int | slice) -> Aligned | Sequence[Aligned]:
        """Return the translation of a text, or those of several, which share what is kept."""
        place = self._places[index]
        if isinstance(place, range):
            several = copy(self)
            several._places = place
            return several
        text = "".join(_of(place, self._pieces, self._pieces_before))
        numbers = iter(_of(place, self._numbers, self._numbers_before))
        links = zip(numbers, numbers, numbers, numbers, strict=True)
        return Aligned(text, [Link((begin, end), (to_begin, to_end)) for begin, end, to_begin, to_end in links])


def _of(index: int, items: MutableSequence[T], before: Sequence[int]) -> MutableSequence[T]:
    """Return the items of a text, whose number before each text that has begun is given."""
    begin, end = (*before[index : index + 2], len(items), len(items))[:2]
    return items[begin:end]


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
