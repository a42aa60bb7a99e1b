"""The figures of a canary, and which requests are compared."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.format.directory import open_model
from service.live.canary import LATENCIES_KEPT, Canary
from service.live.configurations import by_name
from service.live.registry import Registry


@pytest.fixture(scope="module")
def registry(tiny_model: Path) -> Iterator[Registry]:
    """Make a registry whose `full` is active and `half` is loaded."""
    started = Registry([open_model(tiny_model)], max_batch_tokens=4096)
    started.start()
    started.change("tiny", lambda directory, now: now.load(by_name(directory, "half")))
    yield started
    started.close()


def canary(registry: Registry, percent: float) -> Canary:
    full, half = registry.find("tiny").translators()
    return Canary(full, half, percent)


def test_the_figures_of_known_requests(registry: Registry) -> None:
    tally = canary(registry, 50)
    latencies = list(range(1, 101))
    random.Random(3).shuffle(latencies)
    for ms in latencies:
        tally.count("half", ms, 1000 + ms)
    tally.count("narrow", 5000, 5000)  # neither side
    report = tally.report()
    side = report.canary
    assert (side.config, side.requests, side.mean_ms, side.p95_ms) == ("half", 100, 50.5, 95)
    assert side.peak_request_bytes == 1100
    assert (report.active.requests, report.active.mean_ms, report.active.p95_ms) == (0, None, None)
    for _ in range(LATENCIES_KEPT):
        tally.count("half", 7, 0)
    side = tally.report().canary
    assert (side.requests, side.mean_ms, side.p95_ms, side.peak_request_bytes) == (100 + LATENCIES_KEPT, 7, 7, 1100)


@pytest.mark.parametrize(("count", "p95"), [(1, 1), (2, 2), (19, 19), (20, 19), (21, 20)])
def test_the_percentile_is_the_nearest_rank(registry: Registry, count: int, p95: int) -> None:
    tally = canary(registry, 50)
    for ms in range(1, count + 1):
        tally.count("full", ms, 0)
    assert tally.report().active.p95_ms == p95


@pytest.mark.parametrize("percent", [1, 30, 70, 100])
def test_a_canary_takes_exactly_its_share(registry: Registry, percent: float) -> None:
    tally = canary(registry, percent)
    taken = [tally.takes_next() for _ in range(100)]
    assert [sum(taken[:count]) for count in (50, 100)] == [percent // 2, percent]


def test_one_request_in_ten_is_compared_at_most(registry: Registry) -> None:
    tally = canary(registry, 1)
    assert not tally.wants_comparison("full")
    assert all(tally.wants_comparison("half") for _ in range(20))  # 1 in 100 requests
    tally.percent = 40  # what was not compared before is not made up for
    assert sum(tally.wants_comparison("half") for _ in range(40)) == 10


def test_texts_are_counted_one_by_one(registry: Registry) -> None:
    tally = canary(registry, 50)
    assert tally.report().agreement is None
    tally.compared([True, False, True])
    report = tally.report()
    assert (report.texts_compared, report.texts_equal, report.agreement) == (3, 2, 0.6667)
