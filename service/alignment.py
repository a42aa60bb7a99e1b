"""Which words of a translation come from which words of its source, by the decoder's attention to the source."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.placeholders import Span

_WORD = re.compile(r"%(?:s|\d+)|\w+(?:['’.-]\w+)*|[^\w\s]")  # a stand-in is one word
_DISTANCE = 4.0  # how fast a link to words elsewhere in the sentence loses weight
_PRIOR = 0.3  # of a source word's attention from the whole target: it keeps what nothing looks at from winning

Floats = npt.NDArray[np.floating]


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
    attention: Floats, source: str, source_spans: Sequence[Span], target: str, target_spans: Sequence[Span]
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
    weights = _shares(target_words, target_spans) @ attention @ _shares(source_words, source_spans).T
    weights /= weights.sum(axis=0) + _PRIOR
    distance = np.abs(_middles(len(target_words))[:, None] - _middles(len(source_words)))
    same = np.equal.outer(_hashes(target, target_words), _hashes(source, source_words))
    best = (weights * np.exp(-_DISTANCE * distance) + same * np.exp(-_DISTANCE / 2 * distance)).argmax(axis=1)
    return [Link(source_words[place], word) for place, word in zip(best.tolist(), target_words, strict=True)]


def by_position(source: str, target: str) -> list[Link]:
    """The links where nothing is known but the places of the words."""
    source_words, target_words = _words(source), _words(target)
    if not source_words:
        return []
    places = (_middles(len(target_words)) * len(source_words)).astype(int).tolist()
    return [Link(source_words[place], word) for place, word in zip(places, target_words, strict=True)]


def moved(found: Iterable[Link], source: int, target: int) -> list[Link]:
    """The links where both texts stand that many characters further on."""
    return [
        Link((link.source[0] + source, link.source[1] + source), (link.target[0] + target, link.target[1] + target))
        for link in found
    ]


def _words(text: str) -> list[Span]:
    return [match.span() for match in _WORD.finditer(text)]


def _hashes(text: str, words: Sequence[Span]) -> npt.NDArray[np.int64]:
    return np.array([hash(text[begin:end].lower()) for begin, end in words])


def _middles(count: int) -> Floats:
    """Of `count` words, as parts of the sentence's length."""
    middles: Floats = (np.arange(count) + 0.5) / count
    return middles


def _shares(words: Sequence[Span], tokens: Sequence[Span]) -> Floats:
    """[words, tokens]: the part of each token's characters that is in the word."""
    spans, places = np.array(tokens).reshape(-1, 2), np.array(words).reshape(-1, 2)
    common = np.minimum(places[:, 1:], spans[:, 1]) - np.maximum(places[:, :1], spans[:, 0])
    shares: Floats = np.maximum(common, 0) / np.maximum(spans[:, 1] - spans[:, 0], 1)
    return shares
