"""The arithmetic of what a request costs, against figures worked out by hand."""

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install -e '.[load]'")

from tests.load.costs import ALONE, FULL, Threads, costs_of, first_request


def test_costs_come_from_the_loads_that_show_them():
    costs = costs_of(
        {
            ALONE: Threads(loop_ms=2.0, others_ms=4.0, wall_ms=6.5),
            FULL: Threads(loop_ms=1.5, others_ms=3.0, wall_ms=4.5),
            (1, 10.0): Threads(loop_ms=2.5, others_ms=5.0, wall_ms=8.0),
            (1, 20.0): Threads(loop_ms=1.0, others_ms=4.0, wall_ms=5.6),
        }
    )
    assert (costs.engine_alone_ms, costs.loop_ms, costs.outside_ms, costs.full_ms) == (4.0, 1.5, 0.5, 4.5)
    # beside 1.5 + 4.0 of a busy server; the pause is longer by what is outside; noise never makes it a gain
    assert costs.wake_ms == {0.5: 0.5, 10.5: 2.0, 20.5: 0.0}


def test_pieces_begin_with_different_requests():
    assert len({first_request(seed, 1000) for seed in range(10)}) == 10
    assert all(0 <= first_request(seed, 7) < 7 for seed in range(100))
