"""No-break spaces, which a model reads and writes as any space: back in a translation, between the same words."""

import bisect
import re
from collections.abc import Sequence

from service.text.alignment import Link
from service.text.placeholders import Move, Restored, Span

_WORD = re.compile(r"\S+")
_NO_BREAK = ("\u00a0", "\u202f")


def restore(source: str, kept: Sequence[Span], translation: str, links: Sequence[Link]) -> Restored:
    """Put the no-break spaces of a sentence in its translation.

    Each goes to the space whose words are most like its own, then to that whose words come from its own, then to the
    one that is nearest by length. Those within a kept unit or a number come with that.

    Args:
        source: the sentence.
        kept: its units.
        translation: of the sentence.
        links: between the two; may be none.
    """
    if not any(space in source for space in _NO_BREAK):
        return Restored(translation, [])
    words, target = _words(source), _words(translation)
    places = [place for place in range(1, len(target)) if translation[target[place - 1][1] : target[place][0]] == " "]
    sources = _linked(words, target, links)
    keys = [_key(source[begin:end]) for begin, end in words]
    target_keys = [_key(translation[begin:end]) for begin, end in target]
    taken: dict[int, str] = {}
    for number in range(1, len(words)):
        begin, end = words[number - 1][1], words[number][0]
        space = source[begin:end]
        is_number = source[begin - 1].isdecimal() and source[end].isdecimal()
        if not any(each in space for each in _NO_BREAK) or is_number or _is_within(begin, kept) or not places:
            continue

        def likeness(place: int, number: int = number) -> tuple[int, int, float]:
            pairs = ((number - 1, place - 1), (number, place))
            return (
                sum(keys[own] != "" and keys[own] == target_keys[other] for own, other in pairs),
                sum(own in sources[other] for own, other in pairs),
                -abs(number / len(words) - place / len(target)),
            )

        best = max(places, key=likeness)
        places.remove(best)
        taken[best] = space
    parts: list[str] = []
    moves: list[Move] = []
    position = length = 0
    for place, space in sorted(taken.items()):
        end = target[place - 1][1]
        parts += [translation[position:end], space]
        length += end - position
        moves.append(((end, end + 1), (length, length + len(space))))
        position, length = end + 1, length + len(space)
    return Restored("".join([*parts, translation[position:]]), moves)


def _words(text: str) -> list[Span]:
    return [match.span() for match in _WORD.finditer(text)]


def _key(word: str) -> str:
    """Return what of a word is the same in both languages: the digits of a number, otherwise its letters."""
    return "".join(filter(str.isdecimal, word)) or "".join(filter(str.isalnum, word)).casefold()


def _linked(words: Sequence[Span], target: Sequence[Span], links: Sequence[Link]) -> list[set[int]]:
    """Return for each word of the translation the numbers of those that it comes from."""
    found: list[set[int]] = [set() for _ in target]
    for link in links:
        own = bisect.bisect_right(words, link.source[0], key=lambda span: span[0]) - 1
        other = bisect.bisect_right(target, link.target[0], key=lambda span: span[0]) - 1
        if own >= 0 and other >= 0:
            found[other].add(own)
    return found


def _is_within(place: int, kept: Sequence[Span]) -> bool:
    after = bisect.bisect_right(kept, place, key=lambda span: span[1])
    return after < len(kept) and kept[after][0] <= place
