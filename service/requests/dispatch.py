"""One translation request, whatever its dialect: limits, a lease on the live model, the scheduler, the cost."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import NamedTuple

from fastapi import Request
from starlette.exceptions import HTTPException

from service.accounts.keys import Keys, KeyUse
from service.live.model import Pin
from service.live.registry import Registry, Step
from service.live.shadow import ShadowTraffic
from service.observability.metrics import Metrics
from service.observability.request_context import RequestContext, current
from service.process import process_rss_bytes
from service.requests import pivot
from service.requests.disconnect import CLIENT_CLOSED_REQUEST, while_connected
from service.settings import Settings
from service.translation.cost import Cost, Memory, StageTimings, milliseconds_since
from service.translation.scheduler import Scheduler
from service.translation.translator import OnSentence, Options, Translated, Translation, Translator

PIN_HEADER = "X-Sub3-Config"  # replies carry it too
MODEL_HEADER = "X-Sub3-Model"  # and this
TIMEOUT_HEADER = "X-Request-Timeout-Ms"


class LimitExceeded(ValueError):
    """A request asks for more than the settings allow; the sentence names the limit."""


class DeadlineExceeded(Exception):
    """A request took longer than it may; the sentence says how long that is."""


class Part(NamedTuple):
    """Texts of a request in one language, and how they are translated.

    `on_sentence` gets each sentence as soon as it is ready, those of a text in its order.
    """

    texts: Sequence[str]
    options: Options
    on_sentence: OnSentence | None = None


class Answer(NamedTuple):
    """The translations of a request, in the order of its parts' texts, and what they cost."""

    translations: list[Translation]
    cost: Cost


class Dispatcher:
    """What every dialect translates through."""

    def __init__(
        self, settings: Settings, registry: Registry, scheduler: Scheduler, metrics: Metrics, keys: Keys
    ) -> None:
        """Over one app's parts."""
        self._settings, self._registry, self._scheduler, self._metrics = settings, registry, scheduler, metrics
        self._keys = keys
        self._trials = ShadowTraffic(registry)

    async def close(self) -> None:
        """End what goes on after replies."""
        await self._trials.close()

    def check(self, texts: Sequence[str], options: Options) -> None:
        """Refuse what `translate` would refuse, before any work goes into it.

        Raises:
            LimitExceeded: with the limit in its sentence.
        """
        with self._failures_counted():
            check_limits(texts, options, self._settings)

    async def translate(
        self,
        request: Request,
        parts: Sequence[Part],
        key: str | None,
        configuration: Pin | None = None,
        model: str | None = None,
    ) -> Answer:
        """Translate a request's parts, of which there is at least one, one after the other, their sentences among
        those of other requests. They leave at the next step if the request ends early.

        It ends early when the client of `request` leaves, whose body must have been read, and at the deadline of the
        settings or of the header X-Request-Timeout-Ms.

        Args:
            key: the API key as the dialect carries it; the server may not ask for any.
            configuration: the live one that must answer, or what chooses it; without it the request's X-Sub3-Config
                header says, and without that the active one answers.
            model: the one that must answer; without it `asked_model` says.

        Raises:
            LimitExceeded: too many or too long texts, too wide a beam, too many alternatives, no such time-out.
            DeadlineExceeded: it took too long.
            MissingKey, WrongKey, RateExceeded, QuotaExceeded, StoreUnavailable: as the keys say.
            NotLive: the configuration isn't live.
            UnsupportedPair, NotReady, QueueFull, SchedulerClosed: as the registry and the scheduler say.
            HTTPException: 499, the client went.
        """
        accepted = time.perf_counter()
        pinned, model = configuration or request.headers.get(PIN_HEADER), asked_model(request, model)
        texts = [text for part in parts for text in part.texts]
        translations: list[Translation] = []
        async with (
            self._admitted(texts, parts[0].options) as context,
            self._charged(key, texts),
            self._in_time(request),
            AsyncExitStack() as leases,
        ):
            ways = [
                await leases.enter_async_context(
                    self._registry.steps(part.options.source, part.options.target, pinned, model)
                )
                for part in parts
            ]
            done = await while_connected(request, self._serve(ways, parts))
            costs = [
                [_cost(step.translator, translated) for step, translated in zip(steps, work, strict=True)]
                for steps, work in zip(ways, done, strict=True)
            ]
            context.cost = cost = _whole([each for way in costs for each in way], accepted)
        for part, steps, work, part_costs in zip(parts, ways, done, costs, strict=True):
            via = tuple(step.target for step in steps[:-1])
            own = [translation._replace(via=via) for translation in work[0].translations]
            if pinned is None:
                self._trials.answered(part.texts, part.options, own, part_costs)
            translations += own
        self._metrics.translated(len(texts), cost.latency_ms, is_pivoted=any(len(steps) > 1 for steps in ways))
        return Answer(translations, cost)

    async def _serve(self, ways: Sequence[Sequence[Step]], parts: Sequence[Part]) -> list[list[Translated]]:
        """What each step of each part did; a request that has been taken on is not refused half-way."""
        return [
            await pivot.serve(
                steps, part.texts, part.options, self._scheduler, part.on_sentence, is_admitted=part is not parts[0]
            )
            for steps, part in zip(ways, parts, strict=True)
        ]

    @asynccontextmanager
    async def _in_time(self, request: Request) -> AsyncIterator[None]:
        """Cancel the block at the request's deadline."""
        timeout_s = _timeout_s(request, self._settings)
        try:
            async with asyncio.timeout(timeout_s) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise DeadlineExceeded(
                f"The request took longer than {timeout_s:g} s; send less text, or retry when less is going on."
            ) from None

    @asynccontextmanager
    async def _admitted(self, texts: Sequence[str], options: Options) -> AsyncIterator[RequestContext]:
        """Refuse what exceeds the limits, and note what the access log and the trace tell."""
        context = current()
        context.texts, context.characters = len(texts), sum(map(len, texts))
        with self._failures_counted():
            check_limits(texts, options, self._settings)
            yield context

    @contextmanager
    def _failures_counted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._metrics.failed("ClientClosed" if _client_left(error) else type(error).__name__)
            raise

    @asynccontextmanager
    async def _charged(self, key: str | None, texts: Sequence[str]) -> AsyncIterator[KeyUse]:
        """Count the texts on the key; take that back if the block fails for a reason of the server's."""
        if not self._keys.required:
            yield KeyUse()
            return
        # the store may be a disk or a network away: not on the event loop
        use = await asyncio.to_thread(self._keys.authorise, key, sum(map(len, texts)))
        current().key = use.name
        try:
            yield use
        except Exception as error:
            if not _client_left(error):  # or else its work was done, and perhaps it has read most of it
                await asyncio.to_thread(self._keys.refund, use)
            raise


def _client_left(error: Exception) -> bool:
    return isinstance(error, HTTPException) and error.status_code == CLIENT_CLOSED_REQUEST


def check_limits(texts: Sequence[str], options: Options, settings: Settings) -> None:
    """Refuse what exceeds the settings' limits.

    Raises:
        LimitExceeded: with the limit in its sentence.
    """
    if not texts:
        raise LimitExceeded("The list of texts is empty; send at least one text.")
    if len(texts) > settings.max_texts:
        raise LimitExceeded(f"{len(texts)} texts are too many; send up to {settings.max_texts} in a request.")
    for number, text in enumerate(texts, 1):
        if not text:
            raise LimitExceeded(f"Text {number} is empty; leave it out.")
        if len(text) > settings.max_text_characters:
            raise LimitExceeded(
                f"Text {number} has {len(text):,} characters; the limit is {settings.max_text_characters:,}."
            )
    if options.beam_size > settings.max_beam_size:
        raise LimitExceeded(f"beam_size is {options.beam_size}; the limit is {settings.max_beam_size}.")
    if options.alternatives > settings.max_alternatives:
        raise LimitExceeded(f"alternatives is {options.alternatives}; the limit is {settings.max_alternatives}.")


def _timeout_s(request: Request, settings: Settings) -> float:
    """Seconds that the request may take: what its header asks for, within the settings.

    Raises:
        LimitExceeded: the header holds something else than a number of milliseconds.
    """
    asked = request.headers.get(TIMEOUT_HEADER)
    if asked is None:
        return settings.request_timeout_ms / 1e3
    if not (asked.isascii() and asked.isdecimal() and int(asked[:10])):
        raise LimitExceeded(f"{TIMEOUT_HEADER} must be a whole number of milliseconds, at least 1.")
    return min(int(asked[:10]), settings.max_request_timeout_ms) / 1e3


def asked_model(request: Request, given: str | None) -> str | None:
    """The model that must answer: what the dialect says, or else the request's X-Sub3-Model header."""
    return given or request.headers.get(MODEL_HEADER)


def _cost(translator: Translator, work: Translated) -> Cost:
    """What a model's part of a request cost; its total is the sum of its stages."""
    stages = {
        "queue": work.queue_ms,
        "tokenize": work.tokenize_ms,
        "encode": work.encode_ms,
        "decode": work.decode_ms,
        "detokenize": work.detokenize_ms,
    }
    return Cost(
        weights={translator.identity: translator.model_bytes},
        latency_ms=StageTimings(**stages, total=round(sum(stages.values()), 3)),
        memory=Memory(
            model_bytes=translator.model_bytes,
            workspace_peak_bytes=work.workspace_peak_bytes,
            kv_cache_peak_bytes=work.kv_cache_peak_bytes,
            process_rss_bytes=process_rss_bytes(),
        ),
    )


def _whole(parts: Sequence[Cost], accepted: float) -> Cost:
    """The one record of what a request cost; `accepted` is a time of time.perf_counter."""
    whole = functools.reduce(Cost.then, parts)
    return replace(whole, latency_ms=replace(whole.latency_ms, total=milliseconds_since(accepted)))
