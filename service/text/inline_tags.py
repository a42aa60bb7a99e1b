"""Placement of inline tags in a translation: around the words that come from those they stood around."""

import bisect
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from service.text.alignment import Link, by_position
from service.text.placeholders import Span, find

_FIRST_PRIVATE = "\ue000"
_CLOSING = frozenset(",.;:!?)]}»”’…")  # a stretch never begins with these


class Pair(NamedTuple):
    """A start tag and its end tag, or the marks that stand for them, around a span of the source.

    Without an end it is one element that touches a word, and its span is empty; `level` counts the pairs around.
    """

    start: str
    end: str
    span: Span
    level: int = 0


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
    places = {character: place for place, character in enumerate(source) if character >= _FIRST_PRIVATE}
    links = [_of_element(link, places, translation) for link in links]
    beginnings = {link.target[0] for link in links if translation[link.target[0]] not in _CLOSING}
    elements = {link.target[0] for link in links if translation[link.target[0]] >= _FIRST_PRIVATE}
    placed: list[_Placed] = []
    path: list[_Placed] = []  # the pairs around
    for pair in pairs:
        while path and not _is_in(pair, path):
            path.pop()
        siblings, within = (path[-1].inner, path[-1].span) if path else (placed, (0, len(translation)))
        free = _free(within, siblings)
        if not pair.end:
            siblings.append(_Placed(pair, _beside(pair.span[0], source, free, links), []))
            continue
        span = _best_stretch(pair.span, free, links, beginnings, elements)
        if span is None:
            expected = sum(pair.span) / 2 / max(len(source), 1) * len(translation)
            span = _nearest_word(expected, free, links, beginnings - elements)
        siblings.append(_Placed(pair, span, []))
        path.append(siblings[-1])
    return _text(translation, (0, len(translation)), placed)


def _of_element(link: Link, places: Mapping[str, int], translation: str) -> Link:
    """Return the link; that of an element of markup, whose mark both sides have once, to where that stood."""
    place = places.get(translation[link.target[0]])
    return link if place is None else Link((place, place + 1), link.target)


def _is_in(pair: Pair, path: Sequence[_Placed]) -> bool:
    """Return whether a pair is in the last of those around it."""
    if not pair.end:
        return len(path) <= pair.level
    outer = path[-1].pair.span
    return outer[0] <= pair.span[0] and pair.span[1] <= outer[1]


def _beside(place: int, source: str, free: Sequence[Span], links: Sequence[Link]) -> Span:
    """Return the place in a gap beside the word that comes from the one that the place of the source touches."""
    is_behind = place > 0 and not source[place - 1].isspace()
    own = place - 1 if is_behind else place
    there = [link for link in links if link.source[0] <= own < link.source[1]]
    if not there:  # the word beside it, as near as may be
        nearest = min((abs(link.source[0] - own) for link in links), default=0)
        there = [link for link in links if abs(link.source[0] - own) == nearest]
    wanted = 0
    if there:
        wanted = max(link.target[1] for link in there) if is_behind else min(link.target[0] for link in there)
    place = min((min(max(wanted, low), high) for low, high in free), key=lambda edge: abs(edge - wanted))
    return place, place


def _joined_at_protected(links: Sequence[Link], kept: Sequence[Span]) -> list[Link]:
    """Return the links, those to parts of a kept unit as one to all of it: a tag never goes in there."""
    found: list[Link] = []
    for link in links:
        place = bisect.bisect_right(kept, link.target[0], key=lambda span: span[1])  # the first that ends behind
        is_in = place < len(kept) and kept[place][0] < link.target[1]
        span = kept[place] if is_in else link.target
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


def _best_stretch(
    span: Span, free: Sequence[Span], links: Sequence[Link], beginnings: Set[int], elements: Set[int]
) -> Span | None:
    """Return the stretch of a gap with the highest score, the first of those; None if no word comes from the span.

    A word that comes from the span counts 1, another -1: this is Kadane's search for the maximum subarray. An element
    from elsewhere ends a stretch: a link within a link is none.

    Args:
        span: of the source.
        free: the gaps.
        links: in the order of the translation.
        beginnings: where a stretch may begin.
        elements: those of them that stand for elements of markup.
    """
    best, best_score = None, 0
    for low, high in free:
        begin, score = low, 0
        for link in _between(links, low, high):
            if score == 0:
                begin = link.target[0]
                if begin not in beginnings:
                    continue
            comes_from_span = link.source[0] < span[1] and span[0] < link.source[1]
            if not comes_from_span and link.target[0] in elements:
                score = 0
                continue
            score = score + 1 if comes_from_span else max(score - 1, 0)
            if score > best_score:
                best, best_score = (begin, link.target[1]), score
    return best


def _between(links: Sequence[Link], low: int, high: int) -> Sequence[Link]:
    """Return the links to words of a span of the translation."""
    begin = bisect.bisect_left(links, low, key=lambda link: link.target[0])
    return links[begin : bisect.bisect_right(links, high, key=lambda link: link.target[1])]


def _nearest_word(expected: float, free: Sequence[Span], links: Sequence[Link], beginnings: Set[int]) -> Span:
    """Return the word in a gap that is nearest to a position, or an edge of a gap if there is none."""
    words = [link.target for low, high in free for link in _between(links, low, high)]
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
