"""Dialect-independent dispatch of a request: limits, quota, deadline, leases of the live models, cost."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from service.accounts.keys import Keys
from service.live.registry import Registry, Step
from service.live.shadow import ShadowTraffic
from service.observability.metrics import Metrics
from service.observability.request_context import current
from service.process import process_rss_bytes
from service.requests import pivot
from service.requests.call import Call
from service.requests.disconnect import ClientClosed, while_connected
from service.settings import Settings
from service.translation.cost import NO_COST, Cost, milliseconds_since
from service.translation.results import LimitExceeded, OnSentence, Options, Translated, Translation
from service.translation.scheduler import Scheduler

T = TypeVar("T")

_MARKED_UP = 8  # characters with markup, for one without
_TAGS = 4  # in a request, for a character of the longest text: a second of processor time
_SENTENCES = 2  # likewise: 20 MB; a mebibyte of text has half as many


class DeadlineExceeded(Exception):
    """A request took longer than it may; the sentence tells how long that is."""


class Part(NamedTuple):
    """The texts of a request that are in one language.

    Attributes:
        indices: Their places among the texts of the request.
        texts: Without markup, none empty.
        options: With that language as the source.
        on_sentence: Is called with each sentence as soon as it is ready, those of a text in its order.
    """

    indices: Sequence[int]
    texts: Sequence[str]
    options: Options
    on_sentence: OnSentence | None = None


class Dispatcher:
    """Translates the requests of all dialects."""

    def __init__(
        self, settings: Settings, registry: Registry, scheduler: Scheduler, metrics: Metrics, keys: Keys
    ) -> None:
        """Wire up the parts of one app.

        Args:
            settings: limits and time-outs.
            registry: the live models.
            scheduler: the engine threads.
            metrics: counts texts, stages and failures.
            keys: who may translate, and how much.
        """
        self._settings, self._registry, self._scheduler, self._metrics = settings, registry, scheduler, metrics
        self._keys = keys
        self._shadow = ShadowTraffic(registry)

    async def close(self) -> None:
        """End what goes on after replies."""
        await self._shadow.close()

    def check(self, call: Call, texts: Sequence[str], options: Options) -> None:
        """Refuse a request that exceeds the limits, before any work goes into it. To be called once for each request.

        Args:
            call: who asks, and how soon.
            texts: all texts of the request, without markup.
            options: how to translate them.

        Raises:
            LimitExceeded: too many or too long texts, an empty one, a beam too wide, too many alternatives, or a
                time-out that is not a number of milliseconds.
        """
        context = current()
        context.texts, context.characters = len(texts), sum(map(len, texts))
        with self._failures_counted():
            _check_limits(call, texts, options, self._settings)

    async def admit(self, call: Call) -> Cost:
        """Admit a request of which nothing is left to translate: its key is looked up, and charged nothing.

        Returns:
            What it cost, which has no weights.

        Raises:
            MissingKey: the server asks for an API key.
            WrongKey: there is no such key.
            RateExceeded: the key has made too many requests.
            StoreUnavailable: the key could not be looked up.
        """
        accepted = time.perf_counter()
        with self._failures_counted():
            async with self._charged(call, 0):
                memory = replace(NO_COST.memory, process_rss_bytes=process_rss_bytes())
                return replace(NO_COST, memory=memory).finished(milliseconds_since(accepted))

    def check_markup(self, texts: Sequence[str]) -> None:
        """Refuse marked-up texts that are too long or have too many tags, before the markup is taken out.

        Raises:
            LimitExceeded: a text is too long with its markup, or all have too many tags.
        """
        most = self._settings.max_text_characters
        with self._failures_counted():
            for number, text in enumerate(texts, 1):
                if len(text) > most and not ("<" in text or "&" in text):
                    raise _too_long(number, text, most)
                if len(text) > _MARKED_UP * most:
                    raise LimitExceeded(
                        f"Text {number} has {len(text):,} characters with its markup; the limit is "
                        f"{_MARKED_UP * most:,}."
                    )
        self.check_tags(texts)

    def check_tags(self, texts: Sequence[str]) -> None:
        """Refuse texts with too many tags, before they are taken apart: plain ones may have pairs of them, too.

        Raises:
            LimitExceeded: all together have too many.
        """
        most = _TAGS * self._settings.max_text_characters
        with self._failures_counted():
            if (tags := sum(text.count("<") for text in texts)) > most:
                raise LimitExceeded(f"The texts have {tags:,} tags; the limit of a request is {most:,}.")

    async def check_key(self, call: Call) -> None:
        """Refuse a client without a valid key; `translate` charges it.

        Raises:
            MissingKey, WrongKey, StoreUnavailable: the key does not admit the call.
        """
        if self._keys.required:
            with self._failures_counted():
                await asyncio.to_thread(self._keys.usage, call.key)

    def deadline(self, call: Call) -> float:
        """Return the time of the event loop until which a request that begins now may take."""
        return asyncio.get_running_loop().time() + _timeout_s(call, self._settings)

    async def translate(self, call: Call, parts: Sequence[Part], deadline: float | None = None) -> Translated:
        """Translate a request that has passed `check`, part by part, together with the sentences of other requests.

        If the client disconnects or the deadline passes, the request's sentences leave at the next step.

        Args:
            call: who asks, which model and configuration must answer, by when.
            parts: at least one.
            deadline: of a request that has begun before.

        Returns:
            The translations, in the order of the parts' texts, and what they cost together.

        Raises:
            DeadlineExceeded: it took too long.
            ClientClosed: the client disconnected.
            MissingKey: the server asks for an API key.
            WrongKey: there is no such key.
            RateExceeded: the key has made too many requests.
            QuotaExceeded: the key has no characters left.
            StoreUnavailable: the key could not be looked up.
            UnsupportedPair: no model translates the language pair.
            UnknownModel: the named one does not.
            NotLive: the pinned configuration is not live.
            NotReady: a model is still loading, or the server is shutting down.
            SwapTookTooLong: the configuration was being replaced for too long.
            GlossaryRefused: the vocabulary cannot spell the translation of a term.
            LimitExceeded: the texts have too many sentences.
            QueueFull: too much work is waiting.
            SchedulerClosed: the server is shutting down.
        """
        accepted = time.perf_counter()
        texts = sum(len(part.texts) for part in parts)
        characters = sum(len(text) for part in parts for text in part.texts)
        with self._failures_counted():
            async with self._charged(call, characters), self._until(deadline, call), AsyncExitStack() as leases:
                routes = [
                    await leases.enter_async_context(
                        self._registry.steps(part.options.source, part.options.target, call.pin, call.model)
                    )
                    for part in parts
                ]
                done = await while_connected(call, self._serve(routes, parts))
                cost = functools.reduce(Cost.then, [work.cost for works in done for work in works])
                current().cost = cost = cost.finished(milliseconds_since(accepted))
        translations: list[Translation] = []
        for part, steps, works in zip(parts, routes, done, strict=True):
            via = tuple(step.target for step in steps[:-1])
            own = [translation._replace(via=via) for translation in works[0].translations]
            if call.pin is None:
                self._shadow.answered(part.texts, part.options, own, [work.cost for work in works])
            translations += own
        self._metrics.translated(texts, cost, is_pivoted=any(len(steps) > 1 for steps in routes))
        return Translated(translations, cost)

    async def _serve(self, routes: Sequence[Sequence[Step]], parts: Sequence[Part]) -> list[list[Translated]]:
        """Return the work of each step of each part; a request that has been admitted is not refused half-way."""
        done = []
        for steps, part in zip(routes, parts, strict=True):
            most = _SENTENCES * self._settings.max_text_characters
            options = replace(part.options, max_beam_size=self._settings.max_beam_size, max_sentences=most)
            work = (part.texts, options, self._scheduler, part.on_sentence)
            is_admitted = part is not parts[0]
            if len(steps) == 1:
                done.append([await steps[0].translator.serve(*work, is_admitted=is_admitted)])
            else:
                done.append(await pivot.translate(steps, *work, is_admitted=is_admitted))
        return done

    async def in_time(self, call: Call, deadline: float, work: Coroutine[Any, Any, T]) -> T:
        """Await work for a request, which counts its failures; cancel it at the deadline, or when the client leaves.

        Raises:
            DeadlineExceeded: it took too long.
            ClientClosed: the client disconnected.
        """
        try:
            async with self._until(deadline, call):
                return await while_connected(call, work)
        except (DeadlineExceeded, ClientClosed) as error:  # other failures are the work's own, which has counted them
            self._metrics.failed(type(error).__name__)
            raise

    @asynccontextmanager
    async def _until(self, deadline: float | None, call: Call) -> AsyncIterator[None]:
        """Cancel the block at the request's deadline; None if it begins now."""
        try:
            async with asyncio.timeout_at(self.deadline(call) if deadline is None else deadline) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise DeadlineExceeded(
                f"The request took longer than {_timeout_s(call, self._settings):g} s; send less text, or retry when "
                "less is going on."
            ) from None

    @contextmanager
    def _failures_counted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            raise

    @asynccontextmanager
    async def _charged(self, call: Call, characters: int) -> AsyncIterator[None]:
        """Charge the characters to the key; refund them if the block fails for a reason of the server's."""
        if not self._keys.required:
            yield
            return
        # the store may be a disk or a network away: not on the event loop
        use = await asyncio.to_thread(self._keys.authorise, call.key, characters)
        current().key = use.name
        try:
            yield
        except ClientClosed:
            raise  # its work was done, and perhaps it has read most of it
        except Exception:
            await asyncio.to_thread(self._keys.refund, use)
            raise


def _check_limits(call: Call, texts: Sequence[str], options: Options, settings: Settings) -> None:
    if not texts:
        raise LimitExceeded("The list of texts is empty; send at least one text.")
    if len(texts) > settings.max_texts:
        raise LimitExceeded(f"{len(texts)} texts are too many; send up to {settings.max_texts} in a request.")
    for number, text in enumerate(texts, 1):
        if not text:
            raise LimitExceeded(f"Text {number} is empty; leave it out.")
        if len(text) > settings.max_text_characters:
            raise _too_long(number, text, settings.max_text_characters)
    if options.beam_size is not None and options.beam_size > settings.max_beam_size:
        raise LimitExceeded(f"beam_size is {options.beam_size}; the limit is {settings.max_beam_size}.")
    if options.alternatives > settings.max_alternatives:
        raise LimitExceeded(f"alternatives is {options.alternatives}; the limit is {settings.max_alternatives}.")
    if call.timeout_ms is not None and call.timeout_ms < 1:
        raise LimitExceeded("X-Request-Timeout-Ms must be a whole number of milliseconds, at least 1.")


def _timeout_s(call: Call, settings: Settings) -> float:
    """Return the seconds that the request may take: what its client asks for, within the settings."""
    asked = call.timeout_ms or settings.request_timeout_ms  # 0 is refused with other limits
    return min(asked, settings.max_request_timeout_ms) / 1e3


def _too_long(number: int, text: str, most: int) -> LimitExceeded:
    return LimitExceeded(f"Text {number} has {len(text):,} characters; the limit is {most:,}.")
