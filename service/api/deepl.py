"""DeepL's API, version 2, as its official clients and third-party clients use it."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.accounts.glossaries import NOBODY, Glossaries
from service.accounts.keys import Keys, KeyUse, MissingKey, QuotaExceeded
from service.api.authorization import credentials
from service.api.calls import call_of, cost_headers
from service.api.deepl_schemas import (
    MAX_TEXTS,
    DeeplDocument,
    DeeplDocumentStatus,
    DeeplError,
    DeeplTranslation,
    DeeplTranslations,
    DeeplUsage,
    DocumentFields,
    DocumentKeyFields,
    ModelType,
    TranslateFields,
)
from service.api.dialect import Dialect
from service.api.downloads import FILE_REPLY, download
from service.api.errors import documented, sentence_of
from service.api.fields import Fields, read_fields
from service.api.json_reply import JsonReply
from service.api.language_codes import read_code
from service.api.native_key import DEEPL_SECURITY
from service.api.openapi import LARGE_ADDRESS, form_body, link, query_fields, upload_body
from service.api.routes import Routes
from service.api.uploads import read_upload
from service.files import FileRefused, UnknownFormat
from service.live.model import NotLive, Pin
from service.live.registry import Registry
from service.live.routing import UnsupportedPair
from service.requests import pipeline
from service.requests.dispatch import Dispatcher
from service.requests.file_jobs import FileJob, FileJobs
from service.requests.pipeline import AUTO, Outcome, TranslationRequest
from service.text.glossary import GlossaryRefused
from service.text.markup_tokens import Markup
from service.text.sentences import SplitSentences
from service.translation.cost import ModelIdentity
from service.translation.results import LimitExceeded, Options

UNLIMITED = 10**12  # the limit in DeepL's own replies for an account without one

_MODEL_TYPES: dict[str, ModelType] = {  # requested -> used
    "quality_optimized": "quality_optimized",
    "latency_optimized": "latency_optimized",
    "prefer_quality_optimized": "quality_optimized",
}
_FORMALITIES = ("default", "more", "less", "prefer_more", "prefer_less")
# Wishes that no model here can meet: a request that has one is refused, by its name, rather than translated without.
_WISHES = ("style_id", "custom_instructions", "translation_memory_id", "translation_memory_threshold")
_REFUSALS = documented(400, 403, 404, 413, 415, 429, 503, 504, model=DeeplError)
_DOCUMENT_STATES: dict[str, Literal["queued", "translating", "done", "error"]] = {
    "queued": "queued",
    "translating": "translating",
    "done": "done",
    "failed": "error",
    "cancelled": "error",
}
_CHARACTERS_PER_SECOND = 5000  # approximate, of the default model; clients poll after the remaining time


def _error(status: int, sentence: str, code: str) -> dict[str, str]:
    return {"message": sentence}


def _head_key(request: Request) -> str | None:
    return credentials(request, "deepl-auth-key")


DIALECT = Dialect(
    paths=re.compile("/v2/(translate|languages|usage|glossar|document|write|admin)|/v3/"),  # /v2 is KServe's, too
    error=_error,
    refusals={
        MissingKey: (403, "Authorization failed: send the API key as Authorization: DeepL-Auth-Key KEY."),
        QuotaExceeded: (456, "Quota exceeded: {}"),
        UnsupportedPair: (400, "{}"),
        LimitExceeded: (413, "{}"),
        GlossaryRefused: (400, "{}"),
        NotLive: (400, "{}"),
        UnknownFormat: (400, "Invalid file extension. {}"),
        FileRefused: (400, "{}"),
    },
    not_found="Not found",
    uploads=re.compile("/v2/document|/v2/glossaries|/v3/glossaries(/[^/]+(/dictionaries)?)?"),
    head_key=_head_key,
    body_key=True,  # of old clients
)


def router(
    dispatcher: Dispatcher, registry: Registry, keys: Keys, files: FileJobs, glossaries: Glossaries
) -> APIRouter:
    """Return the routes; several take GET and POST, as DeepL's do.

    Args:
        dispatcher: Runs the translations.
        registry: The live models.
        keys: The API keys.
        files: The jobs of documents.
        glossaries: The stored glossaries.
    """
    routes = Routes(prefix="/v2", tags=["DeepL"], dependencies=[DEEPL_SECURITY], responses=_REFUSALS)
    characters = 0  # translated by this process, for /v2/usage without API keys

    async def key_use(request: Request, fields: Fields) -> KeyUse:
        if not keys.required:
            return KeyUse()
        return await asyncio.to_thread(keys.usage, deepl_key(request, fields))  # raises for an unknown key

    async def with_glossary(use: KeyUse, fields: Fields, options: Options) -> Options:
        """Return the options with the glossaries that the fields name; the first that has a term decides."""
        wanted = _strings(fields, "glossary_id") + _strings(fields, "glossary_ids")
        if not wanted:
            return options
        source, target = options.source, options.target
        if source == AUTO:
            raise HTTPException(400, "Use of a glossary requires the 'source_lang' parameter.")
        glossary = await asyncio.to_thread(glossaries.find, use.name or NOBODY, wanted, source, target)
        glossaries.check_pair(source, target)
        return replace(options, glossary=glossary)

    @routes.get(
        "/translate",
        name="translate_by_query",
        response_model=DeeplTranslations,
        responses=LARGE_ADDRESS,
        openapi_extra=query_fields(TranslateFields),
        summary="Translate texts of the query string",
    )
    @routes.post(
        "/translate",
        response_model=DeeplTranslations,
        openapi_extra=form_body(TranslateFields),
        summary="Translate up to 50 texts",
    )
    async def translate(request: Request) -> Response:
        nonlocal characters
        fields = await read_fields(request)
        use = await key_use(request, fields)
        asked = _asked(fields, registry)
        wanted = asked.request._replace(options=await with_glossary(use, fields, asked.request.options))
        pin = _PINS[asked.model_type] if asked.model_type else None
        call = call_of(request, deepl_key(request, fields), pin=pin)
        outcome = await pipeline.translate(dispatcher, registry, call, wanted)
        characters += sum(outcome.characters)
        return JsonReply(_translated(asked, outcome), headers=cost_headers(outcome.cost))

    @routes.get(
        "/usage", name="usage_by_query", response_model=DeeplUsage, summary="Get the characters used this month"
    )
    @routes.post("/usage", response_model=DeeplUsage, summary="Get the characters used this month")
    async def usage(request: Request) -> Response:
        use = await key_use(request, await read_fields(request))
        count = characters if use.name is None else use.characters
        return JsonReply({"character_count": count, "character_limit": use.characters_per_month or UNLIMITED})

    @routes.post(
        "/document",
        response_model=DeeplDocument,
        responses={
            200: {
                "links": {
                    name: link(f"deepl_document_{name}", ("document_key",), document_id="document_id")
                    for name in ("status", "result")
                }
            }
        },
        openapi_extra=upload_body(DocumentFields),
        summary="Upload a document to translate",
    )
    async def document(request: Request) -> Response:
        if (key := deepl_key(request, Fields({}, False))) is not None or not keys.required:
            await files.admit(key)
        upload = await read_upload(request, "Parameter 'file' not specified")
        fields = upload.fields(*DocumentFields.__annotations__, *_WISHES, "output_format", "context", "auth_key")
        use = await key_use(request, fields)
        source, target = _pair(fields, registry)
        _refuse_wishes(fields, target, *(["context"] if fields.first("context") else []))
        name, wanted = fields.first("filename") or upload.name, fields.first("output_format")
        if wanted and not name.lower().endswith(f".{wanted.lower()}"):
            raise HTTPException(400, "Value for 'output_format' not supported.")
        options = await with_glossary(use, fields, Options(source or AUTO, target))
        job = await files.submit(call_of(request, deepl_key(request, fields)), name, upload.file, options)
        return JsonReply({"document_id": job.id.upper(), "document_key": job.secret.upper()})

    async def its_job(document_id: str, request: Request) -> FileJob:
        fields = await read_fields(request)
        await key_use(request, fields)
        secret = fields.first("document_key")
        if not isinstance(secret, str):
            raise HTTPException(400, "Parameter 'document_key' not specified")
        return files.find(document_id.lower(), deepl_key(request, fields), secret.lower())

    @routes.post(
        "/document/{document_id}",
        response_model=DeeplDocumentStatus,
        responses=documented(404, 422, model=DeeplError),
        openapi_extra=form_body(DocumentKeyFields),
        summary="Get document status",
    )
    async def document_status(document_id: str, request: Request) -> Response:
        job = await its_job(document_id, request)
        status: DeeplDocumentStatus = {"document_id": document_id, "status": _DOCUMENT_STATES[job.status]}
        if job.status == "done" and job.source == job.options.target:
            status |= {"status": "error", "error_message": "Source and target language are equal."}
        elif job.status == "translating":
            left = job.characters - job.characters_done
            status["seconds_remaining"] = 1 + left // _CHARACTERS_PER_SECOND
        elif job.status == "done":
            status["billed_characters"] = job.characters
        elif job.has_ended:
            status["error_message"] = sentence_of(job.error) if job.error else "The translation was cancelled."
        return JsonReply(status)

    @routes.post(
        "/document/{document_id}/result",
        response_class=Response,
        responses={**documented(404, 422, model=DeeplError), 200: FILE_REPLY},
        openapi_extra=form_body(DocumentKeyFields),
        summary="Download the translated document",
    )
    async def document_result(document_id: str, request: Request) -> Response:
        job = await its_job(document_id, request)
        if not job.has_ended:
            raise HTTPException(503, "The document is not translated yet.", {"Retry-After": "1"})
        if job.status != "done" or job.source == job.options.target:
            raise HTTPException(400, "The document was not translated; its status says why.")
        return download(job)

    # Nothing here improves texts: whatever is asked for, the language doesn't support it, in DeepL's words.
    @routes.post("/write/rephrase", include_in_schema=False)
    async def rephrase(request: Request) -> Response:
        fields = await read_fields(request)
        await key_use(request, fields)
        has_style, has_tone = (fields.first(name) not in (None, "", "default") for name in ("writing_style", "tone"))
        if has_style and has_tone:
            raise HTTPException(400, "Both writing_style and tone defined; send one of them.")
        if has_style or has_tone:
            language, what = str(fields.first("target_lang"))[:35], "a writing style" if has_style else "a tone"
            raise HTTPException(400, f"Language {language} does not support setting {what}.")
        raise HTTPException(400, "Value for 'target_lang' not supported.")

    return routes


def deepl_key(request: Request, fields: Fields) -> str | None:
    """Return the API key of a request: from the Authorization header, or from `auth_key` as old clients send it."""
    key = _head_key(request)
    given = fields.first("auth_key") if key is None else key
    return given if isinstance(given, str) else None


def fewest_bits(live: Sequence[ModelIdentity]) -> str:
    """Return the live configuration that answers latency_optimized requests."""
    return min(live, key=lambda identity: identity.bits_per_weight).config


def most_bits(live: Sequence[ModelIdentity]) -> str:
    """Return the live configuration that answers quality_optimized requests."""
    return max(live, key=lambda identity: identity.bits_per_weight).config


_PINS: dict[ModelType, Pin] = {"latency_optimized": fewest_bits, "quality_optimized": most_bits}


class _Asked(NamedTuple):
    """A validated request; `model_type` is the one that the reply names."""

    request: TranslationRequest
    model_type: ModelType | None


def _asked(fields: Fields, registry: Registry) -> _Asked:
    """Validate a request, with DeepL's error texts. Unknown fields are ignored: clients send extra ones."""
    texts = _texts(fields)
    source, target = _pair(fields, registry)
    context = fields.given("context")
    context = "" if context is None else context
    if not isinstance(context, str):
        raise HTTPException(400, "Value for 'context' not supported.")
    # it tells the language of short texts; where that is told, nothing is left that it could change
    _refuse_wishes(fields, target, *(["context"] if context and source else []))
    _one_of(fields, "tag_handling_version", ("v1", "v2"))
    _switch(fields, "preserve_formatting")
    split = _split_sentences(fields)
    markup = _markup(fields, split)
    asked_type = _one_of(fields, "model_type", tuple(_MODEL_TYPES))
    model_type = _MODEL_TYPES[asked_type] if asked_type else None
    beam_size = 1 if model_type == "latency_optimized" else None
    options = Options(source or AUTO, target, beam_size, split_sentences=split)
    return _Asked(TranslationRequest(texts, options, markup, keeps_empty=True, context=context), model_type)


def _pair(fields: Fields, registry: Registry) -> tuple[str | None, str]:
    """Return the source language, None to detect it, and the target language."""
    pairs = registry.pairs()
    target = language_code(fields, "target_lang", {target for _, target in pairs})
    if target is None:
        raise HTTPException(400, "Parameter 'target_lang' not specified")
    sources = {source for source, other in pairs if other == target}
    return language_code(fields, "source_lang", sources | {target}), target


def _texts(fields: Fields) -> list[str]:
    texts: list[Any] = []
    for given in fields.every("text", "text[]"):
        texts += given if isinstance(given, list) else [given]
    if not texts:
        raise HTTPException(400, "Parameter 'text' not specified")
    if len(texts) > MAX_TEXTS:
        raise HTTPException(400, f"Too many texts: send up to {MAX_TEXTS} in a request.")
    if not all(isinstance(text, str) for text in texts):
        raise HTTPException(400, "Value for 'text' not supported.")
    return texts


def language_code(fields: Fields, name: str, known: set[str]) -> str | None:
    """Return one of the known codes, or None if the field is missing. A variant such as EN-GB maps to its language.

    Raises:
        HTTPException: 400, the code is unknown.
    """
    given = fields.given(name)
    if given is None:
        return None
    if (code := read_code(str(given), known)) is not None:
        return code
    raise HTTPException(400, f"Value for '{name}' not supported.")


def _split_sentences(fields: Fields) -> SplitSentences:
    match _one_of(fields, "split_sentences", ("0", "1", "nonewlines")):
        case "0":
            return "0"
        case "nonewlines":
            return "nonewlines"
    return "1"


def _refuse_wishes(fields: Fields, target: str, *more: str) -> None:
    """Refuse a request for what can't be done, in DeepL's words.

    Args:
        fields: those of the request.
        target: the target language.
        more: names of further fields that can't be obeyed.

    Raises:
        HTTPException: 400, a field asks for formality or for one of the _WISHES.
    """
    if _one_of(fields, "formality", _FORMALITIES) in ("more", "less"):
        raise HTTPException(400, f"Target language '{target.upper()}' doesn't support formality.")
    if unmet := [name for name in _WISHES if any(fields.every(name, f"{name}[]"))] + list(more):
        raise HTTPException(400, " ".join(f"Value for '{name}' not supported." for name in unmet))


def _markup(fields: Fields, split: SplitSentences) -> Markup | None:
    kind = _one_of(fields, "tag_handling", ("xml", "html"))
    outline = _switch(fields, "outline_detection")
    ignored, splitting, non_splitting = (
        _tags(fields, name) for name in ("ignore_tags", "splitting_tags", "non_splitting_tags")
    )
    if kind is None:
        return None
    return Markup(
        "xml" if kind == "xml" else "html",
        ignored,
        splitting,
        non_splitting,
        outline_detection=outline is not False,
        joins_lines=split == "nonewlines",
    )


def _tags(fields: Fields, name: str) -> frozenset[str]:
    """Return tag names in lower case, from lists and comma-separated strings."""
    return frozenset(tag.strip().lower() for given in _strings(fields, name) for tag in given.split(","))


def _strings(fields: Fields, name: str) -> list[str]:
    """Return the values of a field, from strings and lists of strings; empty ones are left out."""
    values: list[Any] = []
    for given in fields.every(name, f"{name}[]"):
        values += given if isinstance(given, list) else [given]
    if not all(isinstance(value, str) for value in values):
        raise HTTPException(400, f"Value for '{name}' not supported.")
    return [value for value in values if value]


def _one_of(fields: Fields, name: str, values: tuple[str, ...]) -> str | None:
    """Return a field that must have one of the values, or None if it is missing. A number is its digits."""
    given = fields.given(name)
    if given is None:
        return None
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and given in (0, 1)
    value = str(int(given)) if is_number else given
    if not isinstance(value, str) or value not in values:
        raise HTTPException(400, f"Value for '{name}' not supported.")
    return value


def _switch(fields: Fields, name: str) -> bool | None:
    """Return a field that is on or off, None if it is missing."""
    given = fields.first(name)
    if isinstance(given, bool):
        return given
    value = _one_of(fields, name, ("0", "1", "false", "true"))
    return None if value is None else value in ("1", "true")


def _translated(asked: _Asked, outcome: Outcome) -> DeeplTranslations:
    translations: list[DeeplTranslation] = [
        {
            "detected_source_language": detected.language.upper(),
            "text": translation.best.text,
            "billed_characters": characters,
        }
        for translation, detected, characters in zip(
            outcome.translations, outcome.detected, outcome.characters, strict=True
        )
    ]
    if asked.model_type is not None:
        for translation in translations:
            translation["model_type_used"] = asked.model_type
    return {"translations": translations}
