"""The texts of a file, in parts that are translated together."""

from collections.abc import Iterable, Iterator, Sequence

from service.files import Aligned
from service.text.alignment import Link, moved

PART_CHARACTERS = 4000  # progress is told, and a cancelled file ends, between two of them
PART_TEXTS = 64


def parts(
    texts: Sequence[str], longest: int = PART_CHARACTERS, most: int = PART_TEXTS
) -> Iterator[list[tuple[int, str]]]:
    """The texts with their numbers; what is longer than a part, or `longest`, is cut. An empty text is in none."""
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
    """The translations of a file's parts, as they come."""

    def __init__(self, texts: Sequence[str]) -> None:
        """None has come."""
        self._pieces: list[list[str]] = [[] for _ in texts]
        self._links: list[list[Link]] = [[] for _ in texts]
        self._ends = [(0, 0)] * len(texts)  # how far each text and its translation go as yet

    def add(self, index: int, source: str, translation: str, links: Iterable[Link]) -> None:
        """Take the next piece of a text."""
        source_end, end = self._ends[index]
        self._pieces[index].append(translation)
        self._links[index] += moved(links, source_end, end)
        self._ends[index] = (source_end + len(source), end + len(translation))

    def joined(self) -> list[Aligned]:
        """The translation of each text."""
        return [Aligned("".join(pieces), links) for pieces, links in zip(self._pieces, self._links, strict=True)]


def sample(texts: Sequence[str], characters: int = 2000) -> str:
    """The beginning of the texts, to detect their language by."""
    found: list[str] = []
    for text in texts:
        if characters <= 0:
            break
        found.append(text[:characters])
        characters -= len(text)
    return "\n".join(found)


def _cut(text: str, longest: int) -> Iterator[str]:
    """A text in pieces of up to `longest` characters, cut after a line, else after a sentence, else at a space."""
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
