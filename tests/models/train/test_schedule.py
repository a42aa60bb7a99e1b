"""The learning rate: warm-up, stable, decay."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.train.schedule import Schedule, Shape

SHAPES: tuple[Shape, ...] = ("cosine", "linear", "sqrt")


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    tokens = draw(st.integers(1, 10_000))
    decay = draw(st.none() | st.integers(0, tokens))
    stable = tokens - (tokens if decay is None else decay)
    # Warmed up before the decay, as is meant, but for what decays from the first token.
    warmup = draw(st.integers(0, stable or tokens // 10))
    rate, floor = draw(st.floats(1e-6, 1.0)), draw(st.floats(0.0, 1.0))
    return Schedule(tokens, warmup, rate, floor, draw(st.sampled_from(SHAPES)), decay)


@given(schedules(), st.lists(st.integers(0, 12_000), min_size=2, max_size=20))
def test_the_rate_rises_stays_and_falls(schedule: Schedule, places: list[int]) -> None:
    rates = {tokens: schedule.rate_after(tokens) for tokens in sorted(places)}
    for tokens, rate in rates.items():
        assert 0 <= rate <= schedule.rate * (1 + 1e-12)
        if tokens < schedule.warmup_tokens - 1:
            assert rate < schedule.rate
        elif tokens <= schedule.stable_until:
            assert rate == pytest.approx(schedule.rate)
        if tokens >= schedule.tokens and schedule.decay_tokens != 0:
            assert rate == pytest.approx(schedule.floor * schedule.rate, abs=1e-12)
    falling = [rate for tokens, rate in rates.items() if tokens >= max(schedule.stable_until, schedule.warmup_tokens)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rate_is_that_of_the_formula(shape: Shape) -> None:
    schedule = Schedule(tokens=1000, warmup_tokens=100, rate=2.0, floor=0.1, shape=shape, decay_tokens=400)
    left = {"cosine": (1 + math.cos(math.pi / 4)) / 2, "linear": 0.75, "sqrt": 0.5}[shape]
    expected = {0: 0.02, 49: 1.0, 99: 2.0, 600: 2.0, 700: 2.0 * (0.1 + 0.9 * left), 1000: 0.2, 1500: 0.2}
    assert {tokens: schedule.rate_after(tokens) for tokens in expected} == pytest.approx(expected)


def test_a_cosine_decays_from_the_first_token_unless_told() -> None:
    schedule = Schedule(tokens=1000, warmup_tokens=100, rate=1.0)
    assert schedule.stable_until == 0
    assert schedule.rate_after(500) == pytest.approx(0.02 + 0.98 / 2)
    assert schedule.rate_after(49) == pytest.approx(0.5 * (0.02 + 0.98 * (1 + math.cos(math.pi * 0.049)) / 2))


def test_a_constant_rate_has_no_end() -> None:
    schedule = Schedule(tokens=1000, warmup_tokens=0, rate=0.5, decay_tokens=0)
    assert [schedule.rate_after(tokens) for tokens in (0, 999, 1000, 5000)] == [0.5] * 4
    assert schedule.stable_until == 1000
