"""Routing of language pairs to models: to one that translates the pair, or else to the shortest chain of them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Pair = tuple[str, str]  # source and target language


class UnsupportedPair(Exception):
    """A language pair that no live model translates; the sentence lists those that can be translated."""


class Leg(NamedTuple):
    """One model's step of a way."""

    model: str
    source: str
    target: str


Way = tuple[Leg, ...]


def ways(models: Mapping[str, Iterable[Pair]], max_pivots: int) -> dict[Pair, Way]:
    """Find the way of each language pair that has one.

    The shortest way wins. Among equally short ones, the models that come first win, step by step; within a model, the
    pairs that come first. Pairs that a model translates directly come first in the result.

    Args:
        models: the pairs of each model by its name, in the order of preference.
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
