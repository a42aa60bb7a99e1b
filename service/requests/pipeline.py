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
from service.text.markup import Document, with_pairs
from service.text.markup_tokens import Markup
from service.text.message_format import Choices
from service.translation.cost import Cost
from service.translation.preparing import CHARACTERS_ON_THE_LOOP, prepared
from service.translation.results import Candidate, OnSentence, Options, TranslatedSentence, Translation, Unchanged

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
    """A text of a request: what there is to translate of it, without markup, and with messages taken apart.

    A plain text has a document, too, if pairs of tags stand around some of its words. `unchanged` is why it is not
    translated; None if it is.
    """

    plain: str
    document: Document | None
    detected: Detected
    choices: Choices | None
    unchanged: Unchanged | None
    given: str

    @property
    def is_in_lines(self) -> bool:
        """Whether each line of what there is to translate is a run of text, or of a message."""
        return self.document is not None or self.choices is not None

    def rendered(self, translation: Translation) -> Translation:
        """Put the markup and the messages around a translation and its alternatives."""
        if self.unchanged is not None:
            return translation._replace(best=Candidate(self.given, 0.0))
        if not self.is_in_lines:
            return translation
        best, *alternatives = [
            candidate._replace(text=self._around(candidate), alignment=())
            for candidate in (translation.best, *translation.alternatives)
        ]
        return translation._replace(best=best, alternatives=tuple(alternatives))

    def _around(self, candidate: Candidate) -> str:
        text, links = candidate.text, candidate.alignment
        if self.choices is not None:  # the words of its branches have other places in the text
            text, links = "\n".join(self.choices.render(text)), ()
        return text if self.document is None else self.document.render(text, links)


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
    sources = [registry.sources(request.options.target, call.model) for request in requests]
    size = sum(map(_size, requests))
    if size > CHARACTERS_ON_THE_LOOP:
        await dispatcher.check_key(call)  # before the work, which is for those who have one
    if any(request.options.source == AUTO for request in requests):
        await ready_to_detect(registry.languages)
    texts_of = await prepared(size, _prepare, dispatcher, call, requests, sources, registry.languages)
    for request, own in zip(requests, sources, strict=True):
        if request.options.source == AUTO and not own:
            registry.way(AUTO, request.options.target, call.model)  # there is none, and this says which there are
    parts = [_parts(*of_request) for of_request in zip(requests, texts_of, sources, strict=True)]
    together = [part for own in parts for part in own]
    if together:
        translated = await dispatcher.translate(call, together)
        cost, made = translated.cost, iter(translated.translations)
    else:
        cost, made = await dispatcher.admit(call), iter(())
    outcomes = []
    for request, texts, own_parts in zip(requests, texts_of, parts, strict=True):
        translations = [Translation(Candidate(text.plain, 0.0), (), unchanged=text.unchanged) for text in texts]
        for part in own_parts:
            for index in part.indices:
                translations[index] = next(made)
        rendered = await prepared(size, list, map(_Text.rendered, texts, translations))
        if request.on_sentence is not None:
            _pass_whole(request.on_sentence, texts, rendered)
        outcomes.append(Outcome(rendered, [text.detected for text in texts], [len(text.plain) for text in texts], cost))
    return outcomes


def _size(request: TranslationRequest) -> int:
    """Return how much work the texts of a request are, in characters of plain text."""
    return sum(map(len, request.texts)) * (1 if request.markup is None else _MARKUP_TAKES)


async def ready_to_detect(known: Collection[str]) -> None:
    """Load the detector in a thread, once for the languages of the models: that takes 60 ms, and 50 for each."""
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
    documents = [_documents(request) for request in requests]
    plain = [_plain(request, own) for request, own in zip(requests, documents, strict=True)]
    first = requests[0]
    checked = [text for own in plain for text in own]
    if first.keeps_empty:
        checked = list(filter(None, checked))
    if checked or not first.keeps_empty:
        dispatcher.check(call, checked, first.options)
    return [_detected(*of_request, known) for of_request in zip(requests, documents, plain, sources, strict=True)]


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
    plain: Sequence[str],
    sources: Sequence[str],
    known: Collection[str],
) -> list[_Text]:
    """Detect the languages of the texts, and take messages apart.

    Args:
        request: The texts and the options.
        documents: The texts' markup.
        plain: The texts without it.
        sources: The languages from which there is a route to the target.
        known: The languages of all models.
    """
    choices = [
        _choices([text] if document is None else text.split("\n"), request.options.target)
        for text, document in zip(plain, documents, strict=True)
    ]
    if request.markup is None:
        documents = [
            _with_pairs(text, request.options) if found is None else None
            for text, found in zip(plain, choices, strict=True)
        ]
        plain = [text if document is None else document.text for text, document in zip(plain, documents, strict=True)]
    if request.options.source == AUTO:
        detected = [detect(text, known, request.context) for text in plain]
    else:
        detected = [Detected(request.options.source, 1.0)] * len(plain)
    taken_apart = [text if found is None else found.text for text, found in zip(plain, choices, strict=True)]
    kept = [_unchanged(found, request.options, sources, known) for found in detected]
    return list(map(_Text, taken_apart, documents, detected, choices, kept, request.texts))


def _choices(texts: Sequence[str], target: str) -> Choices | None:
    choices = Choices(texts, target)
    return choices if choices else None


def _with_pairs(text: str, options: Options) -> Document | None:
    """Take a plain text apart at its pairs of tags, unless a sentence may go over its line breaks."""
    return None if options.split_sentences != "1" and "\n" in text else with_pairs(text)


def _pass_whole(on_sentence: OnSentence, texts: Sequence[_Text], rendered: Sequence[Translation]) -> None:
    """Pass each text that was taken apart on whole, as one sentence."""
    for index, (text, translation) in enumerate(zip(texts, rendered, strict=True)):
        if text.is_in_lines:
            on_sentence(TranslatedSentence(index, 0, text.given, translation.best, 0, is_last=True))


def _parts(request: TranslationRequest, texts: Sequence[_Text], sources: Sequence[str]) -> list[Part]:
    """Group the texts that are to be translated by their language."""
    on_sentence = request.on_sentence
    by_source: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        if text.plain and text.unchanged is None:
            # without a letter there is nothing to translate, but much to count
            is_untold = request.options.source == AUTO and text.detected == UNKNOWN
            source = sources[0] if is_untold else text.detected.language
            by_source[source, text.is_in_lines].append(index)
    parts = []
    for (source, is_in_lines), indices in by_source.items():
        options = request.options
        if is_in_lines:
            options = replace(options, split_sentences="lines" if options.split_sentences == "0" else "1")
        documents = [texts[index].document for index in indices]
        needs_alignment = any(document is not None and document.needs_alignment for document in documents)
        parts.append(
            Part(
                indices,
                [texts[index].plain for index in indices],
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
