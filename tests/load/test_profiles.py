"""Locust's profiles, over real servers."""

import os

import pytest

from service.settings import Settings
from tests.load.processes import Server, ours, placements
from tests.load.profiles import PROFILES, broken, load, step_at
from tests.load.sentences import ROOT
from tests.service.running import TOKEN, serve


def test_each_profile_has_a_make_target_and_steps_to_its_end():
    targets = (ROOT / "Makefile").read_text()
    for name, profile in PROFILES.items():
        assert f" load-{name}" in targets
        ends = [end for end, _ in profile.steps]
        assert ends == sorted(ends)
        assert ends[-1] == 1
        assert step_at(profile, 0) == 0
        assert step_at(profile, 0.999) == len(ends) - 1
        assert step_at(profile, 1) is None


def test_what_breaks_is_a_failure_or_a_slow_tail():
    fine = {"failed": 0, "latency_ms": {"p95": 20.0}}
    assert not broken(fine)
    assert broken(fine | {"failed": 1})
    assert broken(fine | {"latency_ms": {"p95": 501.0}})
    assert broken(fine | {"latency_ms": {"p95": None}})


@pytest.mark.parametrize("name", ["smoke", "swap"])
def test_a_load_without_failures(name, tiny_model):
    with serve(Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN)) as running:
        status, figures = load(name, 3, Server("tiny", running.url, os.getpid()), TOKEN, placements()["shared"])
    assert status == 0
    assert figures["total"]["failed"] == 0
    assert figures["total"]["answered"] > 0
    assert sum(step["answered"] for step in figures["steps"]) == figures["total"]["answered"]
    if name == "swap":
        assert figures["swaps"]["answered"] > 0
        assert figures["swaps"]["failed"] == 0


def test_a_failed_request_fails_the_load(tiny_model):
    with serve(Settings(model_directory=tiny_model, threads=1, max_texts=1)) as running:
        status, figures = load("smoke", 3, Server("tiny", running.url, os.getpid()), "", placements()["shared"])
    assert status == 1
    assert "list of 4: status 422" in figures["total"]["failures"]


def test_memory_is_that_of_the_server_s_process(tiny_model):
    with ours("full", placements()["shared"], model=tiny_model) as server:
        memory = server.memory()
    assert 0 < memory["private_bytes"] < memory["resident_bytes"] <= memory["resident_peak_bytes"]
    assert memory["anonymous_bytes"] < memory["resident_bytes"]


def test_a_server_that_does_not_start_is_named_with_its_log(tiny_model):
    with (
        pytest.raises(RuntimeError, match=r"ended with \d+; read .*nonesuch\.log"),
        ours("nonesuch", placements()["shared"], model=tiny_model),
    ):
        pass
