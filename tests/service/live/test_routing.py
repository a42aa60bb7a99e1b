"""Ways between languages, against a search through all of them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from service.live.routing import Leg, Pair, Way, ways

LANGUAGES = "abcde"
PAIRS = st.sampled_from([pair for pair in itertools.product(LANGUAGES, repeat=2) if pair[0] != pair[1]])
MODELS = st.lists(st.lists(PAIRS, min_size=1, max_size=3, unique=True), max_size=6).map(
    lambda models: {f"model-{number}": pairs for number, pairs in enumerate(models)}
)


def every_way(models: dict[str, list[Pair]], pair: Pair, longest: int) -> list[Way]:
    """List all chains of models between two languages, shortest first, then by the order of the models' pairs."""
    legs = [Leg(name, *languages) for name, pairs in models.items() for languages in pairs]
    return [
        way
        for length in range(1, longest + 1)
        for way in itertools.product(legs, repeat=length)
        if (way[0].source, way[-1].target) == pair
        and all(before.target == after.source for before, after in itertools.pairwise(way))
    ]


@given(MODELS, st.integers(0, 2))
def test_the_first_of_the_shortest_ways_is_found(models: dict[str, list[Pair]], max_pivots: int) -> None:
    found = ways(models, max_pivots)
    for pair in itertools.permutations(LANGUAGES, 2):
        possible = every_way(models, pair, max_pivots + 1)
        assert found.get(pair) == (possible[0] if possible else None)
    assert all(source != target for source, target in found)


@given(MODELS, st.integers(0, 4))
def test_what_a_model_translates_itself_comes_first(models: dict[str, list[Pair]], max_pivots: int) -> None:
    found = ways(models, max_pivots)
    direct = list(dict.fromkeys(pair for pairs in models.values() for pair in pairs))
    assert list(found)[: len(direct)] == direct
    assert [len(way) for way in found.values()] == sorted(len(way) for way in found.values())


def test_a_chain_is_as_long_as_it_must_be_and_may_be() -> None:
    chain = {f"{a}-{b}": [(a, b)] for a, b in itertools.pairwise(LANGUAGES)}
    assert ways(chain, 0).keys() == set(itertools.pairwise(LANGUAGES))
    assert [leg.model for leg in ways(chain, 3)["a", "e"]] == ["a-b", "b-c", "c-d", "d-e"]
    assert ("a", "e") not in ways(chain, 2)
    assert [leg.model for leg in ways({**chain, "a-d": [("a", "d")]}, 3)["a", "e"]] == ["a-d", "d-e"]
