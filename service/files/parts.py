"""The texts of a file, in parts that are translated together."""

from collections.abc import Iterator, Sequence

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
