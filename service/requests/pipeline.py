"""Dialect-independent request pipeline: language detection, markup handling, and pass-through of empty texts."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from service.live.registry import Registry
from service.requests.call import Call
from service.requests.dispatch import Dispatcher, Part
from service.text.detection import Detected, detect
from service.text.markup import Document
from service.text.markup_tokens import Markup
from service.translation.cost import Cost
from service.translation.results import Candidate, OnSentence, Options, TranslatedSentence, Translation

AUTO = "auto"
_CHARACTERS_ON_THE_LOOP = 5000  # larger requests are prepared in a thread: a millisecond at most holds up the others


class TranslationRequest(NamedTuple):
    """Texts to translate and the options to translate them with.

    Attributes:
        texts: In any order and number; `Dispatcher.check` refuses too many.
        options: With the source "auto", the language of each text is detected.
        markup: What is to be kept of the texts; None for plain text.
        keeps_empty: An empty text comes back as it is; otherwise the request is refused.
    """

    texts: Sequence[str]
    options: Options
    markup: Markup | None = None
    keeps_empty: bool = False


class Outcome(NamedTuple):
    """The translations of a request, and of each text its source and its characters without tags, which are charged.

    `cost` is None where nothing was computed.
    """

    translations: list[Translation]
    detected: list[Detected]
    characters: list[int]
    cost: Cost | None


class _Text(NamedTuple):
    """A text of a request without its markup."""

    plain: str
    detected: Detected
    document: Document | None


async def translate(
    dispatcher: Dispatcher,
    registry: Registry,
    call: Call,
    request: TranslationRequest,
    on_sentence: OnSentence | None = None,
) -> Outcome:
    """Translate a request. A text that is empty, or markup without text, comes back as it is.

    Args:
        dispatcher: checks and serves the request.
        registry: the live models.
        call: who asks, which model and configuration must answer, by when.
        request: the texts and options.
        on_sentence: is called with each sentence as soon as it is ready; for texts without markup.

    Raises:
        LimitExceeded: the request asks for more than the settings allow.
        DeadlineExceeded: it took too long.
        ClientClosed: the client disconnected.
        MissingKey, WrongKey, RateExceeded, QuotaExceeded, StoreUnavailable: the key does not admit it.
        UnsupportedPair, NotLive, NotReady, SwapTookTooLong: no live model or configuration can answer.
        GlossaryRefused: the vocabulary cannot spell the translation of a term.
        QueueFull, SchedulerClosed: the engine takes no more work.
    """
    sources = registry.sources(request.options.target, call.model)
    if sum(map(len, request.texts)) > _CHARACTERS_ON_THE_LOOP:
        await dispatcher.check_key(call)  # before the work, which is for those who have one
        texts = await asyncio.to_thread(_prepare, dispatcher, call, request, sources)
    else:
        texts = _prepare(dispatcher, call, request, sources)
    parts = _parts(request, texts, sources, on_sentence)
    translations = [Translation(Candidate(text.plain, 0.0), ()) for text in texts]
    cost: Cost | None = None
    if parts:
        translated = await dispatcher.translate(call, parts)
        cost = translated.cost
        indices = [index for part in parts for index in part.indices]
        for index, translation in zip(indices, translated.translations, strict=True):
            translations[index] = translation
    return Outcome(
        [
            translation if text.document is None else _rendered(text.document, translation)
            for text, translation in zip(texts, translations, strict=True)
        ],
        [text.detected for text in texts],
        [len(text.plain) for text in texts],
        cost,
    )


def _prepare(dispatcher: Dispatcher, call: Call, request: TranslationRequest, sources: Sequence[str]) -> list[_Text]:
    """Take the markup out, check the limits, and detect the languages."""
    markup = request.markup
    if markup is not None:
        dispatcher.check_markup(request.texts)
    documents = [None if markup is None else Document(text, markup, is_aligned=True) for text in request.texts]
    plain = [
        text if document is None else document.text for text, document in zip(request.texts, documents, strict=True)
    ]
    checked = list(filter(None, plain)) if request.keeps_empty else plain
    if checked or not request.keeps_empty:
        dispatcher.check(call, checked, request.options)
    if request.options.source == AUTO:
        detected = [detect(text, sources)[0] for text in plain]
    else:
        detected = [Detected(request.options.source, 1.0)] * len(plain)
    return list(map(_Text, plain, detected, documents))


def _parts(
    request: TranslationRequest, texts: Sequence[_Text], sources: Sequence[str], on_sentence: OnSentence | None
) -> list[Part]:
    """Group the texts that are not empty by their language."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        if text.plain:
            by_source[source_of(text.detected.language, request.options, sources)].append(index)
    options = request.options
    if request.markup is not None:  # each run of text is a line
        options = replace(options, split_sentences="lines" if options.split_sentences == "0" else "1")
    parts = []
    for source, indices in by_source.items():
        documents = [texts[index].document for index in indices]
        needs_alignment = any(document is not None and document.needs_alignment for document in documents)
        parts.append(
            Part(
                indices,
                [texts[index].plain for index in indices],
                replace(options, source=source, alignment=options.alignment or needs_alignment),
                None if on_sentence is None else partial(_pass_on, on_sentence, indices),
            )
        )
    return parts


def _pass_on(on_sentence: OnSentence, indices: Sequence[int], sentence: TranslatedSentence) -> None:
    """Pass a sentence on with the number of its text among all texts of the request."""
    on_sentence(sentence._replace(text=indices[sentence.text]))


def source_of(detected: str, options: Options, sources: Sequence[str]) -> str:
    """Return the source to translate from: the detected one if there is a route from it, else the first that has one.

    Args:
        detected: code of the detected language.
        options: the source matters only if it is "auto".
        sources: the languages from which there is a route to the target of the options.
    """
    return sources[0] if options.source == AUTO and sources and detected not in sources else detected


def _rendered(document: Document, translation: Translation) -> Translation:
    """Put the markup around a translation and its alternatives."""
    best, *alternatives = [
        candidate._replace(text=document.render(candidate.text, candidate.alignment), alignment=())
        for candidate in (translation.best, *translation.alternatives)
    ]
    return Translation(best, tuple(alternatives))
