"""The simulation against queueing theory, and against the curve that was measured with its service times."""

import json
import statistics
from dataclasses import replace

import pytest

pytest.importorskip("simpy", reason="simpy is not installed: pip install -e '.[load]'")

from tests.load.capacity import QUIET, against_curve, by_pair, needed, tables
from tests.load.figures import RESULTS, percentile
from tests.load.replicas import ServiceTimes, highest_rate, replay, simulate
from tests.load.service_times import service_times

REPORT = RESULTS / "load-capacity.json"
D_MS = 4.0
# One at a time, first come first served: a sentence fills what is encoded between two steps, and its step is free.
ONE_BY_ONE = ServiceTimes({1: 0.0, 16: 0.0}, (D_MS, 0.0), 0.0, 0.0, [(64, 1)])
# All at a time, each at its share: a step takes as long as it has rows.
SHARED = ServiceTimes({1: D_MS / 40, 16: 16 * D_MS / 40}, (0.0, 0.0), 0.0, 0.0, [(1, 40)])
USUAL = ServiceTimes({1: 0.14, 2: 0.24, 4: 0.5, 8: 1.0, 16: 2.1}, (0.2, 0.05), 0.05, 0.6, [(8, 9), (10, 10), (14, 15)])


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_first_come_first_served_is_pollaczek_and_khinchine(load):
    mean = statistics.mean(simulate(ONE_BY_ONE, 1e3 * load / D_MS, 30_000))
    assert mean == pytest.approx(D_MS + load * D_MS / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.5])
def test_a_shared_processor_is_insensitive(load):
    """Mean sojourn D / (1 - load); an arrival waits for the step under way, so a bit more."""
    mean = statistics.mean(simulate(SHARED, 1e3 * load / D_MS, 5_000))
    assert mean == pytest.approx(D_MS / (1 - load), rel=0.1)


def test_many_cores_are_erlangs():
    """Times without spread halve Erlang C's waiting, with few servers to a little more than half (Cosmetatos)."""
    cores, load = 4, 0.8
    offered = cores * load
    below = sum(offered**n / _factorial(n) for n in range(cores))
    last = offered**cores / _factorial(cores) / (1 - load)
    erlang_wait = last / (below + last) * D_MS / (cores * (1 - load))
    wait = statistics.mean(simulate(ONE_BY_ONE, 1e3 * offered / D_MS, 40_000, cores=cores)) - D_MS
    assert 0.45 * erlang_wait < wait < 0.75 * erlang_wait


def _factorial(n):
    return 1 if n == 0 else n * _factorial(n - 1)


def test_what_it_is_for():
    one = highest_rate(USUAL, 200.0, 1500)
    assert percentile(simulate(USUAL, 0.9 * one, 3000), 99) < 200 < percentile(simulate(USUAL, 1.2 * one, 6000), 99)
    two = highest_rate(USUAL, 200.0, 1500, cores=2)
    assert 1.7 * one < two < 2.3 * one
    balanced = simulate(USUAL, 1.4 * one, 3000, replicas=2)
    alone = simulate(USUAL, 0.7 * one, 3000)
    assert percentile(balanced, 99) < percentile(alone, 99), "the shorter queue is no better than chance"


def test_what_steps_cost_anyway_two_configurations_pay_twice():
    """With steps that cost the same for any number of rows; where they cost by the row, there is nothing to lose."""
    fixed = ServiceTimes({1: 1.0, 16: 1.0}, (0.1, 0.0), 0.0, 0.0, [(8, 10)])
    assert highest_rate(fixed, 200.0, 1500, configurations=2) < 0.8 * highest_rate(fixed, 200.0, 1500)


def test_work_that_finds_the_replica_idle_pays_for_it():
    """Alone every request does, with arrivals close together none but the first; more idle costs more, to a bound."""
    sleepy = replace(ONE_BY_ONE, wake_ms={1.0: 0.5, 10.0: 2.0})
    assert replay(sleepy, [1.0, 2.0, 3.0]) == pytest.approx([D_MS + 2.0] * 3)
    assert replay(sleepy, [1.0, 1.001, 1.002]) == pytest.approx([D_MS + 2.0, 2 * D_MS + 1.0, 3 * D_MS])
    assert sleepy.wake(1.0) == 0.5
    assert sleepy.wake(5.5) == 1.25


def test_a_slower_machine_stretches_everything():
    """Requests so far apart that none waits: each takes `factor` times as long."""
    usual = replace(USUAL, wake_ms={1.0: 0.5}, outside_ms=0.7)
    at = [0.1 * n for n in range(1, 10)]
    assert replay(usual.slowed(3.0), at) == pytest.approx([3 * each for each in replay(usual, at)])


def test_the_arithmetic_of_fleets():
    assert [needed(rate, 100.0) for rate in (10, 100, 101, 1000)] == [2, 2, 3, 11]
    assert by_pair(1, 100.0) == 11
    # 1, 1/2, ... 1/10 of 1000: 341.4, 170.7, 113.8, 85.4, ..., 34.1: 4 + 2 + 2 + 7 of one, and one more each
    assert by_pair(10, 100.0) == 25


@pytest.fixture(scope="module")
def report():
    if not REPORT.is_file():
        pytest.skip("nothing was measured: make capacity")
    return json.loads(REPORT.read_text())


def test_the_kept_tables_are_of_the_kept_measurement(report):
    times = service_times(report["measured"])
    assert times.step(1) > 0
    assert all(point["arrivals_per_second"] > 0 for point in against_curve(report["measured"]))
    assert "requests/s" in tables(report, ["two=2:0.5", "free=4"])


def test_the_simulation_is_what_was_measured(report):
    """To 70 % of the saturation: the median to a third, the 99th percentile to a factor of two; the limit to a fifth.

    Above, a machine 10 % faster or slower is another curve, and no better is it known how fast it was.
    """
    busy = report["conditions"]["cores_of_others"]
    if busy > QUIET:
        pytest.skip(f"other work kept {busy} cores busy before the kept curve: make capacity on a quiet machine")
    measured = report["measured"]
    for point in against_curve(measured)[:4]:
        assert point["simulated_p50_ms"] == pytest.approx(point["measured_p50_ms"], rel=1 / 3), point
        assert 0.5 < point["simulated_p99_ms"] / point["measured_p99_ms"] < 2, point
    limit = highest_rate(service_times(measured), 1000.0, cores=len(measured["placement"]["server"]))
    assert limit == pytest.approx(measured["saturated_per_second"], rel=0.2)
