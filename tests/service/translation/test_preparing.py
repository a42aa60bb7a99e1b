"""Long texts of several requests in one thread: they take turns."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from service.translation.preparing import prepared, turns


def test_long_requests_take_turns() -> None:
    done: list[str] = []

    async def request(name: str, texts: Sequence[str]) -> None:
        for _ in turns(texts):
            await prepared(sum(map(len, texts)), done.append, name)

    async def scenario() -> None:
        await asyncio.gather(request("a", ["x" * 1500] * 4), request("b", ["x" * 1500] * 2))

    asyncio.run(scenario())
    assert done == ["a", "b", "a", "b", "a", "a"]


@given(st.lists(st.integers(0, 3000).map("x".__mul__)))
def test_a_turn_is_a_text_or_a_few_short_ones(texts: list[str]) -> None:
    stretches = list(turns(texts))
    assert [text for stretch in stretches for text in stretch] == texts
    assert all(len(stretch) == 1 or 0 < sum(map(len, stretch)) <= 2000 or not any(stretch) for stretch in stretches)
