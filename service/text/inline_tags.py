"""Where the tags within a sentence go in its translation: around the words that come from what they stood around."""

from collections.abc import Sequence, Set
from typing import NamedTuple

from service.text.alignment import Link, by_position
from service.text.placeholders import Span, find

_CLOSING = frozenset(",.;:!?)]}»”’…")  # no stretch begins with these


class Pair(NamedTuple):
    """A start tag and its end tag, or what stands for them, around a span of the source."""

    start: str
    end: str
    span: Span


class _Placed(NamedTuple):
    pair: Pair
    span: Span  # in the translation
    inner: list["_Placed"]


def insert(pairs: Sequence[Pair], source: str, translation: str, links: Sequence[Link]) -> str:
    """The translation with every pair in it, nested as in the source.

    A pair is around the stretch that has the most words from its span for the fewest others, or, if there are none, at
    the word where it would be by length: within its parent, and beside those before it.

    Args:
        pairs: in the order of their start tags.
        source: the text.
        translation: likewise.
        links: between the two, in the order of the translation; without any, words are joined by their places.
    """
    links = _whole(links or by_position(source, translation), find(translation))
    beginnings = {link.target[0] for link in links if translation[link.target[0]] not in _CLOSING}
    placed: list[_Placed] = []
    path: list[_Placed] = []  # the pairs around
    for pair in pairs:
        while path and not (path[-1].pair.span[0] <= pair.span[0] and pair.span[1] <= path[-1].pair.span[1]):
            path.pop()
        siblings, within = (path[-1].inner, path[-1].span) if path else (placed, (0, len(translation)))
        expected = sum(pair.span) / 2 / max(len(source), 1) * len(translation)
        siblings.append(_Placed(pair, _place(pair.span, _free(within, siblings), links, beginnings, expected), []))
        path.append(siblings[-1])
    return _text(translation, (0, len(translation)), placed)


def _whole(links: Sequence[Link], kept: Sequence[Span]) -> list[Link]:
    """The links, those to a part of what is kept to the letter as one to all of it: no tag goes in there."""
    found: list[Link] = []
    for link in links:
        span = next((span for span in kept if span[0] < link.target[1] and link.target[0] < span[1]), link.target)
        whole = (min(span[0], link.target[0]), max(span[1], link.target[1]))
        if not found or found[-1].target[1] <= whole[0]:
            found.append(Link(link.source, whole))
    return found


def _free(within: Span, siblings: Sequence[_Placed]) -> list[Span]:
    """What the siblings leave of a span."""
    gaps, position = [], within[0]
    for begin, end in sorted(sibling.span for sibling in siblings):
        gaps.append((position, begin))
        position = end
    return [*gaps, (position, within[1])]


def _place(span: Span, free: Sequence[Span], links: Sequence[Link], beginnings: Set[int], expected: float) -> Span:
    best, best_gain = None, 0
    for low, high in free:
        begin, gain = low, 0
        for link in links:
            if not low <= link.target[0] < link.target[1] <= high:
                continue
            if gain == 0:
                begin = link.target[0]
                if begin not in beginnings:
                    continue
            comes_from = link.source[0] < span[1] and span[0] < link.source[1]
            gain = gain + 1 if comes_from else max(gain - 1, 0)
            if comes_from and gain > best_gain:
                best, best_gain = (begin, link.target[1]), gain
    if best is not None:
        return best
    words = [link.target for link in links for low, high in free if low <= link.target[0] and link.target[1] <= high]
    places = [word for word in words if word[0] in beginnings] or [(place, place) for gap in free for place in gap]
    return min(places, key=lambda place: abs(sum(place) / 2 - expected))


def _text(translation: str, span: Span, placed: Sequence[_Placed]) -> str:
    parts, position = [], span[0]
    for one in sorted(placed, key=lambda one: one.span):
        inside = _text(translation, one.span, one.inner)
        parts += [translation[position : one.span[0]], one.pair.start, inside, one.pair.end]
        position = one.span[1]
    return "".join([*parts, translation[position : span[1]]])
