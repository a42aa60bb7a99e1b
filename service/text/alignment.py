"""Which words of a translation come from which words of its source, by the decoder's attention to the source."""

import bisect
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.text.placeholders import Span

_WORD = re.compile(r"%(?:s|\d+)|\w+(?:['’.-]\w+)*|[^\w\s]")  # a stand-in is one word
_DISTANCE = 4.0  # how fast a link to words elsewhere in the sentence loses weight
_PRIOR = 0.3  # of a source word's attention from the whole target: it keeps what nothing looks at from winning


class Link(NamedTuple):
    """A word or mark of a translation, and that of the source which it comes from; spans in characters of the texts."""

    source: Span
    target: Span


def through(first: Sequence[Link], second: Sequence[Link]) -> tuple[Link, ...]:
    """The links of a translation of a translation: from its words to those of the first source.

    A word between belongs to the word of the first translation with which it has the most characters in common; what
    finds none has no link.
    """
    found = []
    for link in second:
        overlap, source = max(
            (
                (min(link.source[1], known.target[1]) - max(link.source[0], known.target[0]), known.source)
                for known in first
            ),
            key=lambda pair: pair[0],
            default=(0, (0, 0)),
        )
        if overlap > 0:
            found.append(Link(source, link.target))
    return tuple(found)


def best_layer(decoder_layers: int) -> int:
    """The decoder layer, from 1, whose attention aligns best (docs/design.md, "Alignment")."""
    return decoder_layers if decoder_layers <= 3 else decoder_layers - 1


def links(
    attention: Sequence[Sequence[float]],
    source: str,
    source_spans: Sequence[Span],
    target: str,
    target_spans: Sequence[Span],
) -> list[Link]:
    """One link for each word and mark of the target, in its order; none where the source has no word.

    A source word that everything looks at counts for less, and so does one far from the diagonal. Words that are the
    same on both sides, as names, numbers and marks are, belong together.

    Args:
        attention: [target tokens, source tokens], how much the decoder looked at each when it chose each.
        source: the text.
        source_spans: where each source token stands in it; special tokens nowhere, (0, 0).
        target: the translation.
        target_spans: likewise.
    """
    source_words, target_words = _words(source), _words(target)
    if not source_words or not target_words:
        return []
    of_targets = _gathered(attention, _shares(target_words, target_spans), len(source_spans))
    seen = _gathered(list(zip(*of_targets, strict=True)), _shares(source_words, source_spans), len(target_words))
    seen = [[value / (sum(row) + _PRIOR) for value in row] for row in seen]  # [source words, target words]
    source_texts, target_texts = _lowered(source, source_words), _lowered(target, target_words)
    places, found = _middles(len(source_words)), []
    for number, (middle, text) in enumerate(zip(_middles(len(target_words)), target_texts, strict=True)):
        scores = []
        for place, row, source_text in zip(places, seen, source_texts, strict=True):
            nearness = math.exp(-_DISTANCE / 2 * abs(middle - place))
            scores.append(row[number] * nearness * nearness + (text == source_text) * nearness)
        found.append(Link(source_words[scores.index(max(scores))], target_words[number]))
    return found


def by_position(source: str, target: str) -> list[Link]:
    """The links where nothing is known but the places of the words."""
    source_words, target_words = _words(source), _words(target)
    if not source_words:
        return []
    places = [int(middle * len(source_words)) for middle in _middles(len(target_words))]
    return [Link(source_words[place], word) for place, word in zip(places, target_words, strict=True)]


def moved(found: Iterable[Link], source: int, target: int) -> list[Link]:
    """The links where both texts stand that many characters further on."""
    return [
        Link((link.source[0] + source, link.source[1] + source), (link.target[0] + target, link.target[1] + target))
        for link in found
    ]


def _words(text: str) -> list[Span]:
    return [match.span() for match in _WORD.finditer(text)]


def _lowered(text: str, words: Sequence[Span]) -> list[str]:
    return [text[begin:end].lower() for begin, end in words]


def _middles(count: int) -> list[float]:
    """Of `count` words, as parts of the sentence's length."""
    return [(place + 0.5) / count for place in range(count)]


def _shares(words: Sequence[Span], tokens: Sequence[Span]) -> list[list[tuple[int, float]]]:
    """Of each word the tokens that have characters in it, and which part of the token's characters that is."""
    shares: list[list[tuple[int, float]]] = [[] for _ in words]
    ends = [end for _, end in words]
    for token, (begin, end) in enumerate(tokens):
        word = bisect.bisect_right(ends, begin)
        while word < len(words) and words[word][0] < end:
            common = min(words[word][1], end) - max(words[word][0], begin)
            shares[word].append((token, common / (end - begin)))
            word += 1
    return shares


def _gathered(
    rows: Sequence[Sequence[float]], shares: Iterable[Sequence[tuple[int, float]]], columns: int
) -> list[list[float]]:
    """The sum of each word's rows, which are of tokens: [words, columns]."""
    gathered = []
    for parts in shares:
        total = [0.0] * columns
        for token, share in parts:
            total = [value + share * more for value, more in zip(total, rows[token], strict=True)]
        gathered.append(total)
    return gathered
