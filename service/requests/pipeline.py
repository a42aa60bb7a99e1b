"""What the dialects share above the dispatcher: detecting the source, markup, texts that hold no text."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from fastapi import Request

from service.live.registry import Pin, Registry
from service.observability.metrics import Cost
from service.requests.dispatch import Dispatcher, Part, asked_model
from service.text.detection import Detected, detect
from service.text.markup import Document
from service.text.markup_tokens import Markup
from service.translation.translator import Candidate, OnSentence, Options, TranslatedSentence, Translation

AUTO = "auto"
_CHARACTERS_ON_THE_LOOP = 5000  # larger requests are prepared in a thread: a millisecond at most holds up the others


class Wish(NamedTuple):
    """Texts, and how to translate them; with `options.source` "auto" each text's source is detected."""

    texts: Sequence[str]
    options: Options
    markup: Markup | None = None
    configuration: Pin | None = None  # the live one that must answer, or what chooses it
    model: str | None = None  # the one that must answer


class Outcome(NamedTuple):
    """The translations of a wish, and of each text its source and its characters without tags, as the key is charged.

    `cost` is None where nothing was computed.
    """

    translations: list[Translation]
    detected: list[Detected]
    characters: list[int]
    cost: Cost | None


class _Prepared(NamedTuple):
    documents: list[Document] | None
    plain: Sequence[str]
    detected: list[Detected]


async def translate(
    dispatcher: Dispatcher,
    registry: Registry,
    request: Request,
    key: str | None,
    wish: Wish,
    on_sentence: OnSentence | None = None,
) -> Outcome:
    """Translate a wish. A text that is empty (or markup without text) comes back as it is.

    Args:
        key: the API key as the dialect carries it.
        on_sentence: gets each sentence as soon as it is ready, of texts without markup.

    Raises:
        Exception: as the dispatcher says.
    """
    model = asked_model(request, wish.model)
    sources = registry.sources(wish.options.target, model)
    if sum(map(len, wish.texts)) > _CHARACTERS_ON_THE_LOOP:
        prepared = await asyncio.to_thread(_prepare, wish, sources)
    else:
        prepared = _prepare(wish, sources)
    by_source: dict[str, list[int]] = defaultdict(list)
    for index, (text, detected) in enumerate(zip(prepared.plain, prepared.detected, strict=True)):
        if text:
            by_source[source_of(detected.language, wish.options, sources)].append(index)

    translations = [Translation(Candidate(text, 0.0), ()) for text in prepared.plain]
    split_sentences = wish.options.split_sentences
    if wish.markup is not None:  # each run of text is a line
        split_sentences = "lines" if split_sentences == "0" else "1"
    parts = []
    for source, indices in by_source.items():
        options = replace(wish.options, source=source, split_sentences=split_sentences)
        if prepared.documents is not None and any(prepared.documents[index].needs_alignment for index in indices):
            options = replace(options, alignment=True)
        passed_on = None if on_sentence is None else partial(_pass_on, on_sentence, indices)
        parts.append(Part([prepared.plain[index] for index in indices], options, passed_on))
    cost: Cost | None = None
    if parts:
        answer = await dispatcher.translate(request, parts, key, wish.configuration, model)
        cost = answer.cost
        order = [index for indices in by_source.values() for index in indices]
        for index, translation in zip(order, answer.translations, strict=True):
            translations[index] = translation
    if prepared.documents is not None:
        translations = list(map(_rendered, prepared.documents, translations))
    return Outcome(translations, prepared.detected, list(map(len, prepared.plain)), cost)


def _pass_on(on_sentence: OnSentence, indices: list[int], sentence: TranslatedSentence) -> None:
    """Count a sentence's text among all of the wish."""
    on_sentence(sentence._replace(text=indices[sentence.text]))


def _prepare(wish: Wish, sources: Collection[str]) -> _Prepared:
    documents = None if wish.markup is None else [Document(text, wish.markup, is_aligned=True) for text in wish.texts]
    plain = wish.texts if documents is None else [document.text for document in documents]
    if wish.options.source == AUTO:
        return _Prepared(documents, plain, [detect(text, sources)[0] for text in plain])
    return _Prepared(documents, plain, [Detected(wish.options.source, 1.0)] * len(plain))


def source_of(detected: str, options: Options, sources: Sequence[str]) -> str:
    """The source to translate from: what was detected, if there is a way from it, else the first that has one.

    Args:
        sources: the languages that there is a way from, to the target of the options.
    """
    return sources[0] if options.source == AUTO and sources and detected not in sources else detected


def _rendered(document: Document, translation: Translation) -> Translation:
    best, *alternatives = [
        candidate._replace(text=document.render(candidate.text, candidate.alignment), alignment=())
        for candidate in (translation.best, *translation.alternatives)
    ]
    return Translation(best, tuple(alternatives))
