"""Word alignment between a translation and its source, from the decoder's attention to the source."""

import bisect
import itertools
import math
import operator
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.text.placeholders import Span

_WORD = re.compile(r"%(?:s|\d+)|\w+(?:['’.-]\w+)*|[^\w\s]")  # a mask is one word
_DISTANCE = 4.0  # decay of a link's weight with its distance from the diagonal, in lengths of the sentence
# Added to the attention that a source word gets from the whole target, by which its attention is divided: without it
# the little attention to a word that nothing looks at would count as much as the best.
_PRIOR = 0.3
# Words that English does not say, and those that it says where they do come from one: the pronoun of a polite request
# and the reflexive one. The decoder looks ahead when it writes them; they go with the verb before them.
_UNSAID = {
    "Sie": {"you", "she", "her", "it", "they", "them", "one"},
    "sich": {"itself", "himself", "herself", "oneself", "themselves", "yourself", "yourselves", "each"},
}


class Link(NamedTuple):
    """A word or mark of a translation and the one of the source that it comes from, as spans of characters."""

    source: Span
    target: Span


def through(first: Sequence[Link], second: Sequence[Link]) -> tuple[Link, ...]:
    """Compose the links of a translation and of its own translation: from the last text to the first source.

    A word of the text between belongs to the word of the first links with which it has the most characters in common;
    without one it has no link.

    Args:
        first: from the source to the text between.
        second: from the text between to the last.
    """
    known = sorted((link.target, -number, link.source) for number, link in enumerate(first))
    begins = [begin for (begin, _), _, _ in known]
    ends = list(itertools.accumulate((end for (_, end), _, _ in known), max))  # of each and those before it
    found = []
    for (begin, end), target in second:
        near = known[bisect.bisect_right(ends, begin) : bisect.bisect_left(begins, end)]
        shares = [(min(end, high) - max(begin, low), number, source) for (low, high), number, source in near]
        share, _, source = max(shares, default=(0, 0, (0, 0)))
        if share > 0:
            found.append(Link(source, target))
    return tuple(found)


def best_layer(decoder_layers: int) -> int:
    """Return the decoder layer, from 1, whose attention aligns best: the last but one of four or more."""
    return decoder_layers if decoder_layers <= 3 else decoder_layers - 1


def links(
    attention: Sequence[Sequence[float]],
    source: str,
    source_spans: Sequence[Span],
    target: str,
    target_spans: Sequence[Span],
) -> list[Link]:
    """Return one link for each word and mark of the target, in its order; none where the source has no word.

    A source word that the whole target looks at counts less, and so does one far from the diagonal. Words that are the
    same on both sides, such as names, numbers and marks, score higher. A pronoun that the source leaves out comes from
    what the word before it comes from.

    Args:
        attention: [target tokens, source tokens], from 0 to 1: of the decoder when it chose each target token.
        source: the text.
        source_spans: the characters of each source token; (0, 0) for special tokens.
        target: the translation.
        target_spans: the same of each target token.
    """
    source_words, target_words = _words(source), _words(target)
    if not source_words or not target_words:
        return []
    of_targets = _gathered(attention, _shares(target_words, target_spans), len(source_spans))
    seen = _gathered(list(zip(*of_targets, strict=True)), _shares(source_words, source_spans), len(target_words))
    seen = list(map(_weighed, seen))  # [source words, target words]
    source_texts, target_texts = _lowered(source, source_words), _lowered(target, target_words)
    same: dict[str, list[int]] = {}
    for place, text in enumerate(source_texts):
        same.setdefault(text, []).append(place)
    places = _middles(len(source_words))
    # e^-|a-b| is a product on either side of the diagonal, so that no pair of words needs an exponential of its own
    rising = [math.exp(_DISTANCE * place) for place in places]
    falling = [1 / value for value in rising]
    found: list[Link] = []
    for number, (middle, text, row) in enumerate(
        zip(_middles(len(target_words)), target_texts, zip(*seen, strict=True), strict=True)
    ):
        up = math.exp(_DISTANCE * middle)
        behind = bisect.bisect_right(places, middle)
        near = [value / up for value in rising[:behind]] + [value * up for value in falling[behind:]]
        scores = list(map(operator.mul, row, near))
        for place in same.get(text, ()):
            scores[place] += math.sqrt(near[place])
        best = scores.index(max(scores))
        said = _UNSAID.get(target[slice(*target_words[number])])
        is_unsaid = found and said is not None and source_texts[best] not in said
        found.append(Link(found[-1].source if is_unsaid else source_words[best], target_words[number]))
    return found


def by_position(source: str, target: str) -> list[Link]:
    """Link the words by their places alone, where there is no attention."""
    source_words, target_words = _words(source), _words(target)
    if not source_words:
        return []
    places = [int(middle * len(source_words)) for middle in _middles(len(target_words))]
    return [Link(source_words[place], word) for place, word in zip(places, target_words, strict=True)]


def moved(found: Iterable[Link], source: int, target: int) -> list[Link]:
    """Shift the links by this many characters of the source and of the target."""
    return [
        Link((link.source[0] + source, link.source[1] + source), (link.target[0] + target, link.target[1] + target))
        for link in found
    ]


def _words(text: str) -> list[Span]:
    return [match.span() for match in _WORD.finditer(text)]


def _lowered(text: str, words: Sequence[Span]) -> list[str]:
    return [text[begin:end].lower() for begin, end in words]


def _weighed(row: Sequence[float]) -> list[float]:
    """Divide the attention to a source word by what it gets in all."""
    whole = sum(row) + _PRIOR
    return [value / whole for value in row]


def _middles(count: int) -> list[float]:
    """Return the middles of `count` words of equal length, as fractions of the sentence."""
    return [(place + 0.5) / count for place in range(count)]


def _shares(words: Sequence[Span], tokens: Sequence[Span]) -> list[list[tuple[int, float]]]:
    """Return for each word the tokens that have characters in it, and the fraction of the token's characters."""
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
) -> list[Sequence[float]]:
    """Sum the rows of tokens to rows of words, by the tokens' shares in the words.

    Args:
        rows: [tokens, columns].
        shares: for each word its tokens with their fractions.
        columns: the length of a row.

    Returns:
        [words, columns].
    """
    gathered = []
    for parts in shares:
        total: Sequence[float] = [0.0] * columns
        for number, (token, share) in enumerate(parts):
            row = rows[token] if share == 1 else [share * value for value in rows[token]]
            total = row if number == 0 else list(map(operator.add, total, row))
        gathered.append(total)
    return gathered
