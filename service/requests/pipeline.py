"""Dialect-independent request pipeline: language detection, markup handling, and pass-through of empty texts."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from service.live.registry import Registry
from service.requests.call import Call
from service.requests.dispatch import Dispatcher, Part
from service.text.detection import UNKNOWN, Detected, detect, is_loaded, load
from service.text.markup import Document
from service.text.markup_tokens import Markup
from service.translation.cost import Cost
from service.translation.preparing import CHARACTERS_ON_THE_LOOP, prepared
from service.translation.results import Candidate, OnSentence, Options, TranslatedSentence, Translation, Unchanged
from service.translation.taken_apart import TakenApart

AUTO = "auto"
_MARKUP_TAKES = 2  # times the work of plain text, and more


class TranslationRequest(NamedTuple):
    """Texts to translate and the options to translate them with.

    Attributes:
        texts: In any order and number; `Dispatcher.check` refuses too many.
        options: With the source "auto", the language of each text is detected.
        markup: What is to be kept of the texts; None for plain text.
        keeps_empty: An empty text comes back as it is; otherwise the request is refused.
        context: Stands around the texts, and tells the language of those that are too short to tell it.
        on_sentence: Is called with each sentence as soon as it is ready; for texts without markup.
    """

    texts: Sequence[str]
    options: Options
    markup: Markup | None = None
    keeps_empty: bool = False
    context: str = ""
    on_sentence: OnSentence | None = None


class Outcome(NamedTuple):
    """The translations of a request, and of each text its source and its characters without tags.

    The characters of texts that were translated are charged. `cost` has no weights where there was none.
    """

    translations: list[Translation]
    detected: list[Detected]
    characters: list[int]
    cost: Cost


class _Text(NamedTuple):
    """A text of a request. `unchanged` is why it is not translated; None if it is."""

    given: str
    apart: TakenApart
    detected: Detected
    unchanged: Unchanged | None

    def rendered(self, translation: Translation, *, with_links: bool) -> Translation:
        """Put the markup and the messages around a translation and its alternatives; links are those of plain text."""
        if self.unchanged is not None:
            return translation._replace(best=Candidate(self.given, 0.0))
        return self.apart.rendered(translation, with_links=with_links)


async def translate(dispatcher: Dispatcher, registry: Registry, call: Call, request: TranslationRequest) -> Outcome:
    """Translate one request, as `translate_each` does, with its exceptions.

    Args:
        dispatcher: checks and serves the request.
        registry: the live models.
        call: who asks, which model and configuration must answer, by when.
        request: the texts and options.
    """
    [outcome] = await translate_each(dispatcher, registry, call, [request])
    return outcome


async def translate_each(
    dispatcher: Dispatcher, registry: Registry, call: Call, requests: Sequence[TranslationRequest]
) -> list[Outcome]:
    """Translate what one call asks for, such as the same texts to several languages. The limits, the charge and the
    deadline are those of one request, and so is the cost.

    What is not for translation comes back as it is: a text that is empty, or is markup alone; a text in the target
    language; and a text in a language that no model translates, where the source was to be detected.

    Args:
        dispatcher: checks and serves the requests.
        registry: the live models.
        call: who asks, which model and configuration must answer, by when.
        requests: at least one; they differ in nothing but their languages.

    Raises:
        LimitExceeded: all requests together ask for more than the settings allow one.
        DeadlineExceeded: it took too long.
        ClientClosed: the client disconnected.
        MissingKey, WrongKey, RateExceeded, QuotaExceeded, StoreUnavailable: the key does not admit it.
        UnsupportedPair, UnknownModel, NotLive, NotReady, SwapTookTooLong: no live model or configuration can answer.
        GlossaryRefused: the vocabulary cannot spell the translation of a term.
        QueueFull, SchedulerClosed: the engine takes no more work.
    """
    deadline = dispatcher.deadline(call)
    sources = [registry.sources(request.options.target, call.model) for request in requests]
    size = sum(map(_size, requests))
    is_short = size <= CHARACTERS_ON_THE_LOOP
    if not is_short:
        await dispatcher.check_key(call)  # before the work, which is for those who have one
    if any(request.options.source == AUTO for request in requests):
        await ready_to_detect(registry.languages)
    preparing = prepared(size, _prepare, dispatcher, call, requests, sources, registry.languages)
    texts_of = await (preparing if is_short else dispatcher.in_time(call, deadline, preparing))
    for request, own in zip(requests, sources, strict=True):
        if request.options.source == AUTO and not own:
            registry.way(AUTO, request.options.target, call.model)  # there is none, and this says which there are
    parts = [_parts(*of_request) for of_request in zip(requests, texts_of, sources, strict=True)]
    together = [part for own in parts for part in own]
    if together:
        translated = await dispatcher.translate(call, together, deadline)
        cost, made = translated.cost, iter(translated.translations)
    else:
        cost, made = await dispatcher.admit(call), iter(())
    outcomes = []
    for request, texts, own_parts in zip(requests, texts_of, parts, strict=True):
        translations = [Translation(Candidate(text.apart.plain, 0.0), (), unchanged=text.unchanged) for text in texts]
        for part in own_parts:
            for index in part.indices:
                translations[index] = next(made)
        with_links = request.options.alignment and request.markup is None
        rendered = await prepared(size, list, map(partial(_Text.rendered, with_links=with_links), texts, translations))
        if request.on_sentence is not None:
            _pass_whole(request.on_sentence, texts, rendered)
        outcomes.append(
            Outcome(rendered, [text.detected for text in texts], [len(text.apart.plain) for text in texts], cost)
        )
    return outcomes


def _size(request: TranslationRequest) -> int:
    """Return how much work the texts of a request are, in characters of plain text."""
    return sum(map(len, request.texts)) * (1 if request.markup is None else _MARKUP_TAKES)


async def ready_to_detect(known: Collection[str]) -> None:
    """Load the detector in a thread, once for the languages of the models: that takes 40 ms, and 30 for each."""
    if not is_loaded(known):
        await asyncio.to_thread(load, known)


def _prepare(
    dispatcher: Dispatcher,
    call: Call,
    requests: Sequence[TranslationRequest],
    sources: Sequence[Sequence[str]],
    known: Collection[str],
) -> list[list[_Text]]:
    """Take the markup out, check the limits, and detect the languages.

    Args:
        dispatcher: Checks the limits.
        call: Who asks.
        requests: The texts and the options.
        sources: For each request, the languages from which there is a route to its target.
        known: The languages of all models.
    """
    marked_up = [text for request in requests if request.markup is not None for text in request.texts]
    if marked_up:
        dispatcher.check_markup(marked_up)
    else:
        dispatcher.check_tags(requests[0].texts)
    documents = [_documents(request) for request in requests]
    plain = [_plain(request, own) for request, own in zip(requests, documents, strict=True)]
    first = requests[0]
    checked = [text for own in plain for text in own]
    if first.keeps_empty:
        checked = list(filter(None, checked))
    if checked or not first.keeps_empty:
        dispatcher.check(call, checked, first.options)
    return [_detected(*of_request, known) for of_request in zip(requests, documents, sources, strict=True)]


def _documents(request: TranslationRequest) -> list[Document | None]:
    """Read the markup of each text; None for plain text."""
    markup = request.markup
    return [None if markup is None else Document(text, markup, is_aligned=True) for text in request.texts]


def _plain(request: TranslationRequest, documents: Sequence[Document | None]) -> list[str]:
    """Return each text without its markup."""
    return [
        text if document is None else document.text for text, document in zip(request.texts, documents, strict=True)
    ]


def _detected(
    request: TranslationRequest,
    documents: Sequence[Document | None],
    sources: Sequence[str],
    known: Collection[str],
) -> list[_Text]:
    """Take messages and pairs of tags apart, and detect the languages of the texts.

    Args:
        request: The texts and the options.
        documents: The texts' markup.
        sources: The languages from which there is a route to the target.
        known: The languages of all models.
    """
    pairs = zip(request.texts, documents, strict=True)
    apart = [TakenApart(text, request.options, document) for text, document in pairs]
    if request.options.source == AUTO:
        detected = [detect(text.plain, known, request.context) for text in apart]
    else:
        detected = [Detected(request.options.source, 1.0)] * len(apart)
    kept = [_unchanged(found, request.options, sources, known) for found in detected]
    return list(map(_Text, request.texts, apart, detected, kept))


def _pass_whole(on_sentence: OnSentence, texts: Sequence[_Text], rendered: Sequence[Translation]) -> None:
    """Pass each text that was taken apart on whole, as one sentence."""
    for index, (text, translation) in enumerate(zip(texts, rendered, strict=True)):
        if text.apart.is_in_lines:
            on_sentence(TranslatedSentence(index, 0, text.given, translation.best, 0, is_last=True))


def _parts(request: TranslationRequest, texts: Sequence[_Text], sources: Sequence[str]) -> list[Part]:
    """Group the texts that are to be translated by their language."""
    on_sentence = request.on_sentence
    by_source: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        if text.apart.plain and text.unchanged is None:
            # without a letter there is nothing to translate, but much to count
            is_untold = request.options.source == AUTO and text.detected == UNKNOWN
            source = sources[0] if is_untold else text.detected.language
            by_source[source, text.apart.is_in_lines].append(index)
    parts = []
    for (source, is_in_lines), indices in by_source.items():
        own = [texts[index].apart for index in indices]
        options = own[0].options(request.options)
        needs_alignment = any(apart.needs_alignment for apart in own)
        parts.append(
            Part(
                indices,
                [apart.plain for apart in own],
                replace(options, source=source, alignment=options.alignment or needs_alignment),
                None if on_sentence is None or is_in_lines else partial(_pass_on, on_sentence, indices),
            )
        )
    return parts


def _pass_on(on_sentence: OnSentence, indices: Sequence[int], sentence: TranslatedSentence) -> None:
    """Pass a sentence on with the number of its text among all texts of the request."""
    on_sentence(sentence._replace(text=indices[sentence.text]))


def _unchanged(
    detected: Detected, options: Options, sources: Sequence[str], known: Collection[str]
) -> Unchanged | None:
    """Return why a text is not translated; None if it is to be.

    Args:
        detected: Its language: the detected one, or that of the options.
        options: The source and the target.
        sources: The languages from which there is a route to the target.
        known: The languages of all models.
    """
    if detected == UNKNOWN:
        return None
    if detected.language == options.target and detected.language in known:
        return "same_language"
    if options.source == AUTO and detected.language not in sources:
        return "unsupported_language"
    return None
