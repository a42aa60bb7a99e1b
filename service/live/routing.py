"""Which models take a text from one language to another: the one that can, or else the shortest chain of them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Pair = tuple[str, str]  # source and target language


class Leg(NamedTuple):
    """A model's part of a way."""

    model: str
    source: str
    target: str


Way = tuple[Leg, ...]


def ways(models: Mapping[str, Iterable[Pair]], max_pivots: int) -> dict[Pair, Way]:
    """The way of each pair of languages that has one.

    It is the shortest; of equally short ones that whose models come first, step by step, and of one model's that whose
    pairs do. Pairs that a model translates itself come first, in that order too.

    Args:
        models: their pairs, by name; the order says which comes first.
        max_pivots: most languages between source and target.
    """
    direct: dict[Pair, Leg] = {}
    for name, pairs in models.items():
        for source, target in pairs:
            direct.setdefault((source, target), Leg(name, source, target))
    rank = {leg: number for number, leg in enumerate(direct.values())}
    onward: dict[str, list[Leg]] = {}  # by source: a model of a hundred languages has ten thousand pairs
    for leg in rank:
        onward.setdefault(leg.source, []).append(leg)
    found: dict[Pair, Way] = {pair: (leg,) for pair, leg in direct.items()}
    last = found
    for _ in range(max_pivots):
        longer: dict[Pair, Way] = {}
        for (source, middle), way in last.items():
            for leg in onward.get(middle, ()):
                pair = (source, leg.target)
                if source == leg.target or pair in found:
                    continue
                if pair not in longer or _ranks((*way, leg), rank) < _ranks(longer[pair], rank):
                    longer[pair] = (*way, leg)
        found = found | longer
        last = longer
    return found


def _ranks(way: Way, rank: Mapping[Leg, int]) -> list[int]:
    return [rank[leg] for leg in way]
