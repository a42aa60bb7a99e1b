"""The open loop: arrivals by a Poisson process, latency from the intended time; over a real server."""

import itertools
import math
import statistics

import pytest

from service.settings import Settings
from tests.load.client import bodies, closed_loop, one_client, run
from tests.load.open_loop import arrivals, open_loop, plot
from tests.service.running import serve


@pytest.fixture(scope="module")
def url(tiny_model):
    with serve(Settings(model_directory=tiny_model, threads=1, max_text_characters=50)) as running:
        yield running.url


@pytest.mark.parametrize("rate", [3.0, 40.0, 500.0])
def test_arrivals_are_a_poisson_process(rate):
    seconds = 20_000 / rate
    times = arrivals(rate, seconds, seed=1)
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < seconds
    assert abs(len(times) - 20_000) < 4 * math.sqrt(20_000)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    # exponential gaps: standard deviation as large as the mean, exp(-1) of them longer than it
    assert statistics.stdev(gaps) * rate == pytest.approx(1, abs=0.05)
    assert sum(gap > 1 / rate for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), abs=0.02)


def test_arrivals_follow_from_their_seed():
    assert arrivals(50, 2, seed=3) == arrivals(50, 2, seed=3)
    assert arrivals(50, 2, seed=3) != arrivals(50, 2, seed=4)


def test_one_client_counts_each_reply_and_what_was_not_the_engines(url):
    tally, seconds = run(one_client(url, bodies(["The river."]), 0.3))
    assert seconds >= 0.3
    assert len(tally.latency_ms) == len(tally.over_engine_ms) > 0
    assert not tally.failures
    assert all(0 < over < latency for over, latency in zip(tally.over_engine_ms, tally.latency_ms, strict=True))


def test_one_client_counts_what_was_refused(url):
    tally, _ = run(one_client(url, bodies(["x" * 51]), 0.1))
    assert set(tally.failures) == {"status 422"}
    assert not tally.latency_ms


def test_every_arrival_is_sent_and_counted(url):
    good, bad = bodies(["The river.", "x" * 51])
    tally, _ = run(open_loop(url, [good, good, bad], arrivals(300, 0.2, seed=2)))
    sent = len(arrivals(300, 0.2, seed=2))
    assert len(tally.latency_ms) + tally.failures.total() == len(tally.late_ms) == sent
    assert tally.failures == {"status 422": sent // 3}


def test_a_request_that_is_sent_late_is_charged_for_it(url):
    tally, _ = run(open_loop(url, bodies(["The river."]), [-100.0, -50.0]))
    assert min(tally.latency_ms) > 50_000
    assert max(tally.latency_ms) > 100_000
    assert min(tally.late_ms) > 50_000


def test_the_engine_s_own_time_is_told_apart(url):
    tally, _ = run(open_loop(url, bodies(["The river."]), [0.0] * 5))
    assert len(tally.over_engine_ms) == 5
    assert all(
        0 < over < whole for over, whole in zip(sorted(tally.over_engine_ms), sorted(tally.latency_ms), strict=True)
    )


def test_the_closed_loop_asks_with_each_client(url):
    tally, _ = run(closed_loop(url, bodies(["The river."]), 3, 0.5))
    assert len(tally.latency_ms) >= 3
    assert not tally.failures


def test_a_server_that_is_gone_is_a_failure():
    tally, _ = run(open_loop("http://127.0.0.1:9", bodies(["The river."]), [0.0]))
    assert tally.failures.total() == 1
    assert tally.figures(1.0)["requests_per_second"] == 0


def test_the_curve_is_plotted(tmp_path):
    latency = {"p50": 2.0, "p95": 3.0, "p99": None, "max": None}
    points = [{"arrivals_per_second": rate, "requests_per_second": rate, "latency_ms": latency} for rate in (5.0, 9.0)]
    plot({"full": points}, tmp_path / "load-curve.png")
    assert (tmp_path / "load-curve.png").read_bytes().startswith(b"\x89PNG")
