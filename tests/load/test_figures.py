"""The account of a load."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.load.figures import Tally, percentile, write


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([50, 95, 99, 100]))
def test_percentiles_are_those_of_numpy(values, percent):
    assert percentile(sorted(values), percent) == np.percentile(values, percent, method="inverted_cdf")


def test_failures_are_counted_by_reason_and_their_latency_is_not():
    tally = Tally()
    for latency_ms in range(1, 101):
        tally.add(float(latency_ms))
    for _ in range(50):
        tally.add(0.001, "status 429")
    tally.add(0.001, "ClientOSError")
    figures = tally.figures(seconds=4.0)
    assert (figures["answered"], figures["failed"], figures["requests_per_second"]) == (100, 51, 25.0)
    assert figures["failures"] == {"status 429": 50, "ClientOSError": 1}
    assert figures["latency_ms"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_merged_tallies_are_the_tally_of_both():
    parts, both = [Tally(), Tally()], Tally()
    for number in range(200):
        failure = "status 503" if number % 7 == 0 else None
        parts[number % 2].add(float(number), failure)
        both.add(float(number), failure)
    parts[0].merge(parts[1])
    assert parts[0].figures(1.0) == both.figures(1.0)


def test_nothing_answered_has_no_percentiles():
    figures = Tally().figures(1.0)
    assert figures["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}
    assert figures["requests_per_second"] == 0


def test_a_report_says_with_what_and_where_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(tmp_path / "profiles.py"), "smoke", "--seconds", "5"])
    path = write("smoke", "tests.load.profiles", {"total": {"failed": 0}}, tmp_path)
    report = json.loads(path.read_text())
    assert path.name == "load-smoke.json"
    assert report["command"] == "python -m tests.load.profiles smoke --seconds 5"
    assert report["total"] == {"failed": 0}
    assert {"cpu", "cores", "load_average", "sentences"} <= set(report["conditions"])
