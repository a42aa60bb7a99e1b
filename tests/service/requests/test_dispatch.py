"""Requests without HTTP: a `Call` says all that the layers below the dialects know of a client."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from models.format.directory import open_model
from service.accounts.keys import Keys, new_key
from service.live.configurations import by_name
from service.live.registry import Registry
from service.observability.metrics import Metrics
from service.observability.request_context import begin
from service.requests import pipeline
from service.requests.call import Call
from service.requests.disconnect import ClientClosed
from service.requests.dispatch import DeadlineExceeded, Dispatcher, Part
from service.requests.file_jobs import FileJobs
from service.requests.pipeline import Outcome, TranslationRequest
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from service.text.markup_tokens import Markup
from service.translation.preparing import CHARACTERS_ON_THE_LOOP, prepared
from service.translation.results import LimitExceeded, Options, Translated
from service.translation.scheduler import Limits, Scheduler, SchedulerClosed
from tests.service.running import held_steps

EN_DE = Options("en", "de")
ONE_THREAD = Limits(1)


class House(NamedTuple):
    """The middle of the service, without an app around it."""

    dispatcher: Dispatcher
    registry: Registry
    scheduler: Scheduler
    metrics: Metrics
    files: FileJobs

    async def ask(self, call: Call, request: TranslationRequest) -> Outcome:
        return await pipeline.translate(self.dispatcher, self.registry, call, request)

    def failures(self) -> list[str]:
        """Return the reasons that were counted."""
        lines = self.metrics.render()[0].decode().splitlines()
        return [line for line in lines if line.startswith("sub3_failures_total")]


@contextmanager
def house(
    model: Path,
    limits: Limits = ONE_THREAD,
    keys: Keys | None = None,
    max_texts: int = 2,
    max_text_characters: int = 100,
) -> Iterator[House]:
    settings = Settings(model_directory=model, threads=1, max_texts=max_texts, max_text_characters=max_text_characters)
    registry = Registry([open_model(model)], settings.max_batch_tokens)
    registry.start()
    scheduler = Scheduler(limits)
    scheduler.start()
    metrics = Metrics(registry.live_configurations, scheduler.load)
    try:
        dispatcher = Dispatcher(settings, registry, scheduler, metrics, keys or Keys(None))
        files = FileJobs(settings, dispatcher, registry, keys or Keys(None))
        yield House(dispatcher, registry, scheduler, metrics, files)
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


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (TranslationRequest(["<b>" * 250] * 2, EN_DE, Markup("html")), "500 tags; the limit of a request is 400"),
        (TranslationRequest(["<b>a" * 25] * 17, EN_DE), "425 tags; the limit of a request is 400"),
        (TranslationRequest(["It. Is. " * 10] * 11, EN_DE), "more than 200 sentences"),
    ],
)
def test_many_small_parts_are_refused_once(tiny_model: Path, request_: TranslationRequest, words: str) -> None:
    with house(tiny_model, max_texts=20) as made:
        with pytest.raises(LimitExceeded, match=words):
            asyncio.run(made.ask(Call(), request_))
        assert made.failures() == ['sub3_failures_total{reason="LimitExceeded"} 1.0']
        assert made.scheduler.load().waiting_tokens == 0


def test_empty_texts_may_come_back_as_they_are(shared: House) -> None:
    request = TranslationRequest(["", "<i></i>", "<b>A tree.</b>", ""], EN_DE, Markup("html"), keeps_empty=True)
    outcome = asyncio.run(shared.ask(Call(), request))  # four texts, one of which holds text
    texts = [translation.best.text for translation in outcome.translations]
    assert texts[0] == texts[3] == ""
    assert texts[1] == "<i></i>"
    assert texts[2].startswith("<b>")
    nothing = asyncio.run(shared.ask(Call(), TranslationRequest([""] * 5, EN_DE, keeps_empty=True)))
    assert not nothing.cost.weights


def test_the_call_s_pin_answers(shared: House) -> None:
    model = shared.registry.find("tiny")
    asked: list[list[str]] = []

    def pin(live: object) -> str:
        asked.append([identity.config for identity in live])  # type: ignore[attr-defined]
        return "full"

    asyncio.run(shared.ask(Call(model="tiny", pin=pin), TranslationRequest(["A tree."], EN_DE)))
    assert asked == [[translator.identity.config for translator in model.translators()]]


async def leave(made: House, key: str | None = None, *, is_cancelled: bool = False) -> None:
    """Ask, and disconnect before the first step; the server may cancel the request too, as when it shuts down."""
    gone = asyncio.Event()

    async def disconnected() -> None:
        await gone.wait()

    with held_steps() as gate:
        call = Call(key=key, disconnected=disconnected)
        task = asyncio.create_task(made.ask(call, TranslationRequest(["The old house."], EN_DE)))
        await asyncio.to_thread(gate.reached)
        gone.set()
        while not made.scheduler._workers[0].leaving:
            await asyncio.sleep(0)
        if is_cancelled:
            task.cancel()
        gate.open()
        await task


def test_a_client_that_disconnects_ends_its_request(tiny_model: Path) -> None:
    with house(tiny_model) as made:
        with pytest.raises(ClientClosed):
            asyncio.run(leave(made))
        assert made.scheduler.load().left_early == 1
        assert made.failures() == ['sub3_failures_total{reason="ClientClosed"} 1.0']


def test_a_client_that_disconnects_has_paid_and_a_server_that_fails_gives_back(
    tiny_model: Path, tmp_path: Path
) -> None:
    store = SqliteKeys(tmp_path / "keys.sqlite3")
    secret, record = new_key("acme", None, 1000)
    store.add(record)
    keys = Keys(store)
    with house(tiny_model, keys=keys) as made:
        with pytest.raises(ClientClosed):
            asyncio.run(leave(made, secret))
        assert keys.usage(secret).characters == len("The old house.")
        made.scheduler.close()
        with pytest.raises(SchedulerClosed):
            asyncio.run(made.ask(Call(key=secret), TranslationRequest(["A tree."], EN_DE)))
        assert keys.usage(secret).characters == len("The old house.")


def test_the_second_part_of_a_request_finds_a_place_in_a_full_queue(tiny_model: Path) -> None:
    async def scenario(made: House) -> None:
        def ask(*texts: list[str]) -> asyncio.Task[Translated]:
            parts = [Part(range(len(of_part)), of_part, EN_DE) for of_part in texts]
            return asyncio.create_task(made.dispatcher.translate(Call(), parts))

        def waiting() -> int:
            return made.scheduler.load().waiting_sentences

        with held_steps() as gate:
            first = ask(["The old house."], ["A tree."])
            await asyncio.to_thread(gate.reached)
            other = ask(["The river."] * 3)
            while waiting() < 3:
                await asyncio.sleep(0)
            while not made.scheduler.load().target_tokens:  # until the first part is done, and one of the others runs
                gate.let_through()
                await asyncio.to_thread(gate.reached)
            while waiting() < 3 and not first.done():
                await asyncio.sleep(0)
            gate.open()
            assert len((await first).translations) == 2
            await other

    with house(tiny_model, Limits(1, batch_rows=1, queue_tokens=1)) as made:
        asyncio.run(scenario(made))


def test_only_requests_that_pin_nothing_count_for_a_canary(tiny_model: Path) -> None:
    with house(tiny_model) as made:
        made.registry.change("tiny", lambda files, now: now.try_out(by_name(files, "half"), 50))
        canary = made.registry.find("tiny").canary
        assert canary is not None
        request = TranslationRequest(["A tree."], EN_DE)
        asyncio.run(made.ask(Call(pin="full"), request))
        assert canary.report().active.requests + canary.report().canary.requests == 0
        asyncio.run(made.ask(Call(), request))
        assert canary.report().active.requests + canary.report().canary.requests == 1


def test_a_file_outlives_its_upload_and_has_the_longest_time_out(shared: House) -> None:
    async def left() -> None:
        """Return at once: the client has gone."""

    async def translate_file() -> bytes:
        call = Call(timeout_ms=1, disconnected=left)  # a time-out that is meant for texts
        file = tempfile.TemporaryFile()  # noqa: SIM115  the job closes it
        file.write(b"The old house.")
        job = await shared.files.submit(call, "a.txt", file, EN_DE)
        assert job.call.timeout_ms == 120_000
        async for _ in shared.files.follow(job):
            pass
        assert job.result is not None
        translation = os.pread(job.result.fileno(), 1000, 0)
        await shared.files.close()
        return translation

    (translation,) = shared.registry.find("tiny").active.translate(["The old house."], EN_DE).translations
    assert asyncio.run(translate_file()).decode() == translation.best.text


def test_a_cancelled_request_is_not_one_whose_client_left(tiny_model: Path) -> None:
    with house(tiny_model) as made:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(leave(made, is_cancelled=True))
        assert made.failures() == []


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


def test_the_deadline_passes_while_texts_are_taken_apart(tiny_model: Path) -> None:
    """Of a long text, for which there is a thread, that others' texts have."""
    held = threading.Event()

    async def late(made: House) -> None:
        before = asyncio.create_task(prepared(CHARACTERS_ON_THE_LOOP + 1, held.wait, 60))
        try:
            with pytest.raises(DeadlineExceeded, match=r"0\.02 s"):
                await made.ask(Call(timeout_ms=20), TranslationRequest(["A tree. " * 100], EN_DE))
        finally:
            held.set()
        assert await before

    with house(tiny_model, max_text_characters=1000) as made:
        asyncio.run(late(made))
        assert made.failures() == ['sub3_failures_total{reason="DeadlineExceeded"} 1.0']


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
