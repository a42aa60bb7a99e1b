"""Requests without HTTP: a `Call` says all that the layers below the dialects know of a client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from models.format.directory import open_model
from service.accounts.keys import Keys
from service.live.registry import Registry
from service.observability.metrics import Metrics
from service.observability.request_context import begin
from service.requests import pipeline
from service.requests.call import Call
from service.requests.disconnect import ClientClosed
from service.requests.dispatch import DeadlineExceeded, Dispatcher, LimitExceeded
from service.requests.pipeline import Outcome, TranslationRequest
from service.settings import Settings
from service.text.markup import Markup
from service.translation.results import Options
from service.translation.scheduler import Limits, Scheduler
from tests.service.running import held_steps

EN_DE = Options("en", "de")


class House(NamedTuple):
    """The middle of the service, without an app around it."""

    dispatcher: Dispatcher
    registry: Registry
    scheduler: Scheduler
    metrics: Metrics

    async def ask(self, call: Call, request: TranslationRequest) -> Outcome:
        return await pipeline.translate(self.dispatcher, self.registry, call, request)

    def failures(self) -> list[str]:
        """The reasons that were counted."""
        lines = self.metrics.render().decode().splitlines()
        return [line for line in lines if line.startswith("sub3_failures_total")]


@contextmanager
def house(model: Path) -> Iterator[House]:
    settings = Settings(model_directory=model, threads=1, max_texts=2, max_text_characters=100)
    registry = Registry([open_model(model)], settings.max_batch_tokens)
    registry.start()
    scheduler = Scheduler(Limits(1))
    scheduler.start()
    metrics = Metrics(registry.live_configurations, scheduler.load)
    try:
        yield House(Dispatcher(settings, registry, scheduler, metrics, Keys(None)), registry, scheduler, metrics)
    finally:
        scheduler.close()
        registry.close()


@pytest.fixture(scope="module")
def shared(tiny_model: Path) -> Iterator[House]:
    with house(tiny_model) as made:
        yield made


def test_a_request_is_answered_without_a_server(shared: House) -> None:
    context = begin("mine")
    outcome = asyncio.run(shared.ask(Call(), TranslationRequest(["The old house.", "A tree."], EN_DE)))
    translator = shared.registry.find("tiny").active
    expected = translator.translate(["The old house.", "A tree."], EN_DE).translations
    assert [translation.best for translation in outcome.translations] == [one.best for one in expected]
    assert outcome.characters == [14, 7]
    assert (context.texts, context.characters) == (2, 21)
    assert context.cost is outcome.cost
    assert outcome.cost is not None
    assert outcome.cost.weights == {translator.identity: translator.model_bytes}
    stages = outcome.cost.latency_ms
    assert 0 < stages.queue + stages.tokenize + stages.encode + stages.decode + stages.detokenize <= stages.total


@pytest.mark.parametrize(
    ("call", "request_", "words"),
    [
        (Call(timeout_ms=0), TranslationRequest(["A tree."], EN_DE), "X-Request-Timeout-Ms must be"),
        (Call(), TranslationRequest([], EN_DE), "empty; send at least one"),
        (Call(), TranslationRequest(["A tree.", ""], EN_DE), "Text 2 is empty"),
        (Call(), TranslationRequest(["A tree."] * 3, EN_DE), "3 texts are too many"),
        (Call(), TranslationRequest(["a" * 101], EN_DE), "101 characters; the limit is 100"),
        (Call(), TranslationRequest(["<b>" + "a" * 101], EN_DE, Markup("html"), True), "101 characters"),
    ],
)
def test_what_exceeds_a_limit_is_refused_once(
    tiny_model: Path, call: Call, request_: TranslationRequest, words: str
) -> None:
    with house(tiny_model) as made:
        with pytest.raises(LimitExceeded, match=words):
            asyncio.run(made.ask(call, request_))
        assert made.failures() == ['sub3_failures_total{reason="LimitExceeded"} 1.0']


def test_empty_texts_may_come_back_as_they_are(shared: House) -> None:
    request = TranslationRequest(["", "<i></i>", "<b>A tree.</b>", ""], EN_DE, Markup("html"), keeps_empty=True)
    outcome = asyncio.run(shared.ask(Call(), request))  # four texts, one of which holds text
    texts = [translation.best.text for translation in outcome.translations]
    assert texts[0] == texts[3] == ""
    assert texts[1] == "<i></i>"
    assert texts[2].startswith("<b>")
    nothing = asyncio.run(shared.ask(Call(), TranslationRequest([""] * 5, EN_DE, keeps_empty=True)))
    assert nothing.cost is None


def test_the_call_s_pin_answers(shared: House) -> None:
    model = shared.registry.find("tiny")
    asked: list[list[str]] = []

    def pin(live: object) -> str:
        asked.append([identity.config for identity in live])  # type: ignore[attr-defined]
        return "full"

    asyncio.run(shared.ask(Call(model="tiny", pin=pin), TranslationRequest(["A tree."], EN_DE)))
    assert asked == [[translator.identity.config for translator in model.translators()]]


async def leaving(made: House, call: Callable[[Callable[[], Awaitable[None]]], Call]) -> None:
    """Ask, and disconnect before the first step."""
    gone = asyncio.Event()

    async def disconnected() -> None:
        await gone.wait()

    with held_steps() as gate:
        task = asyncio.create_task(made.ask(call(disconnected), TranslationRequest(["The old house."], EN_DE)))
        await asyncio.to_thread(gate.reached)
        gone.set()
        while not made.scheduler._workers[0].leaving:
            await asyncio.sleep(0)
        gate.open()
        await task


def test_a_client_that_disconnects_ends_its_request(tiny_model: Path) -> None:
    with house(tiny_model) as made:
        with pytest.raises(ClientClosed):
            asyncio.run(leaving(made, lambda disconnected: Call(disconnected=disconnected)))
        assert made.scheduler.load().left_early == 1
        assert made.failures() == ['sub3_failures_total{reason="ClientClosed"} 1.0']


def test_the_deadline_is_the_call_s(tiny_model: Path) -> None:
    async def late(made: House) -> None:
        with held_steps() as gate:
            task = asyncio.create_task(made.ask(Call(timeout_ms=20), TranslationRequest(["A tree."], EN_DE)))
            while not (made.scheduler._workers[0].leaving or task.done()):
                await asyncio.sleep(0)
            gate.open()
            await task

    with house(tiny_model) as made, pytest.raises(DeadlineExceeded, match=r"0\.02 s"):
        asyncio.run(late(made))


def test_a_caller_that_is_cancelled_has_not_left(shared: House) -> None:
    async def cancelled() -> None:
        with held_steps() as gate:
            task = asyncio.create_task(shared.ask(Call(), TranslationRequest(["A tree."], EN_DE)))
            await asyncio.to_thread(gate.reached)
            task.cancel()
            while not shared.scheduler._workers[0].leaving:
                await asyncio.sleep(0)
            gate.open()
            await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
