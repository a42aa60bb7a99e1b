"""Placement of inline tags in a translation: around the words that come from those they stood around."""

from collections.abc import Sequence, Set
from typing import NamedTuple

from service.text.alignment import Link, by_position
from service.text.placeholders import Span, find

_CLOSING = frozenset(",.;:!?)]}»”’…")  # a stretch never begins with these


class Pair(NamedTuple):
    """A start tag and its end tag, or the marks that stand for them, around a span of the source."""

    start: str
    end: str
    span: Span


class _Placed(NamedTuple):
    pair: Pair
    span: Span  # in the translation
    inner: list["_Placed"]


def insert(pairs: Sequence[Pair], source: str, translation: str, links: Sequence[Link]) -> str:
    """Return the translation with every pair in it, nested as in the source.

    A pair is put around the stretch that has the most words from its span for the fewest others, or, if there are
    none, at the word where it would be by length: within its parent, and beside the pairs before it.

    Args:
        pairs: in the order of their start tags.
        source: the text that the spans of the pairs are in.
        translation: its translation.
        links: between the two, in the order of the translation; without them, words are joined by their places.
    """
    links = _joined_at_protected(links or by_position(source, translation), find(translation))
    beginnings = {link.target[0] for link in links if translation[link.target[0]] not in _CLOSING}
    placed: list[_Placed] = []
    path: list[_Placed] = []  # the pairs around
    for pair in pairs:
        while path and not (path[-1].pair.span[0] <= pair.span[0] and pair.span[1] <= path[-1].pair.span[1]):
            path.pop()
        siblings, within = (path[-1].inner, path[-1].span) if path else (placed, (0, len(translation)))
        free = _free(within, siblings)
        span = _best_stretch(pair.span, free, links, beginnings)
        if span is None:
            expected = sum(pair.span) / 2 / max(len(source), 1) * len(translation)
            span = _nearest_word(expected, free, links, beginnings)
        siblings.append(_Placed(pair, span, []))
        path.append(siblings[-1])
    return _text(translation, (0, len(translation)), placed)


def _joined_at_protected(links: Sequence[Link], kept: Sequence[Span]) -> list[Link]:
    """Return the links, those to parts of a protected span as one to all of it: a tag never goes in there."""
    found: list[Link] = []
    for link in links:
        span = next((span for span in kept if span[0] < link.target[1] and link.target[0] < span[1]), link.target)
        whole = (min(span[0], link.target[0]), max(span[1], link.target[1]))
        if not found or found[-1].target[1] <= whole[0]:
            found.append(Link(link.source, whole))
    return found


def _free(within: Span, siblings: Sequence[_Placed]) -> list[Span]:
    """Return the gaps that the siblings leave in a span."""
    gaps, position = [], within[0]
    for begin, end in sorted(sibling.span for sibling in siblings):
        gaps.append((position, begin))
        position = end
    return [*gaps, (position, within[1])]


def _best_stretch(span: Span, free: Sequence[Span], links: Sequence[Link], beginnings: Set[int]) -> Span | None:
    """Return the stretch of a gap with the highest score, the first of those; None if no word comes from the span.

    A word that comes from the span counts 1, another -1: this is Kadane's search for the maximum subarray.
    """
    best, best_score = None, 0
    for low, high in free:
        begin, score = low, 0
        for link in links:
            if not low <= link.target[0] < link.target[1] <= high:
                continue
            if score == 0:
                begin = link.target[0]
                if begin not in beginnings:
                    continue
            comes_from_span = link.source[0] < span[1] and span[0] < link.source[1]
            score = score + 1 if comes_from_span else max(score - 1, 0)
            if score > best_score:
                best, best_score = (begin, link.target[1]), score
    return best


def _nearest_word(expected: float, free: Sequence[Span], links: Sequence[Link], beginnings: Set[int]) -> Span:
    """Return the word in a gap that is nearest to a position, or an edge of a gap if there is none."""
    words = [link.target for link in links for low, high in free if low <= link.target[0] and link.target[1] <= high]
    places = [word for word in words if word[0] in beginnings] or [(place, place) for gap in free for place in gap]
    return min(places, key=lambda place: abs(sum(place) / 2 - expected))


def _text(translation: str, span: Span, placed: Sequence[_Placed]) -> str:
    """Write a span of the translation with the pairs that are placed in it."""
    parts, position = [], span[0]
    for one in sorted(placed, key=lambda one: one.span):
        inside = _text(translation, one.span, one.inner)
        parts += [translation[position : one.span[0]], one.pair.start, inside, one.pair.end]
        position = one.span[1]
    return "".join([*parts, translation[position : span[1]]])
