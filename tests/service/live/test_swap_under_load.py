"""Swaps back to back under load: no request fails, and each reply is that of the configuration that it names."""

from pathlib import Path

from service.settings import Settings
from tests.load.swapping import offline_answers, swap_under_load
from tests.service.running import AUTHORIZED, TOKEN, serve

TEXTS = [
    "The old house.",
    "A big tree sees the river.",
    "Hello world and sun.",
    "The big old tree near a river sees the house. The sun sees the world. Hello!",
]


def test_no_request_fails_and_none_is_answered_by_another(tiny_model: Path) -> None:
    answers = offline_answers(tiny_model, TEXTS)
    assert len({tuple(answer) for answer in answers.values()}) == len(answers)  # else a mix-up would go unseen
    settings = Settings(model_directory=tiny_model, threads=2, admin_token=TOKEN)
    policies = ("availability", "availability", "resource")
    with serve(settings) as server:
        outcome = swap_under_load(server.url, AUTHORIZED, "tiny", TEXTS, answers, 4.0, lambda _: None, policies)
    assert outcome.failures == []
    assert len(outcome.swap_ms) > len(answers)
    assert set(answers) <= set(outcome.answered)
