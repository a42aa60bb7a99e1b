"""The dialect of DeepL's API, version 2: what its official clients, and those of others, send and read."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.accounts.glossaries import NOBODY, Glossaries
from service.accounts.keys import Keys, KeyUse
from service.api.errors import documented, sentence_of
from service.api.fields import Fields, form_body, json_reply, query_fields, read_fields
from service.api.native_files import download, read_upload
from service.api.native_glossaries import wanted as wanted_glossary
from service.api.schemas import DeeplError
from service.live.registry import Pin, Registry
from service.observability.metrics import ModelFacts
from service.requests import pipeline
from service.requests.dispatch import Dispatcher
from service.requests.file_jobs import FileJob, FileJobs
from service.requests.pipeline import AUTO, Outcome, Wish
from service.text import languages
from service.text.markup_tokens import Markup
from service.text.sentences import SplitSentences
from service.translation.translator import Options

MAX_TEXTS = 50
UNLIMITED = 10**12  # how DeepL's own replies say that there is no limit

_QUALITY, _LATENCY = "quality_optimized", "latency_optimized"
_MODEL_TYPES = {_QUALITY: _QUALITY, _LATENCY: _LATENCY, "prefer_quality_optimized": _QUALITY}  # asked -> used
_FORMALITIES = ("default", "more", "less", "prefer_more", "prefer_less")
_NO_SUCH_THING = ("glossary_ids", "style_id", "translation_memory_id")  # whatever they name, we have none
_REFUSALS = documented(400, 403, 413, 415, 429, 503, 504, model=DeeplError)

_TAGS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_TRANSLATE = {
    "text": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": MAX_TEXTS}]},
    "target_lang": {"type": "string", "examples": ["DE"]},
    "source_lang": {"type": "string", "description": "Detected, text by text, where it is missing."},
    "split_sentences": {"enum": ["0", "1", "nonewlines"]},
    "preserve_formatting": {"enum": [True, False, "0", "1"], "description": "Formatting is always preserved."},
    "formality": {"enum": ["default", "prefer_more", "prefer_less"]},
    "glossary_id": {"type": "string", "description": "A glossary of the key; needs source_lang."},
    "model_type": {"enum": list(_MODEL_TYPES)},
    "tag_handling": {"enum": ["xml", "html"]},
    "ignore_tags": _TAGS,
    "splitting_tags": {**_TAGS, "description": "They always end a sentence."},
    "non_splitting_tags": {**_TAGS, "description": "They never end a sentence."},
    "outline_detection": {
        "enum": [True, False, "0", "1"],
        "description": "0: of XML, splitting_tags alone end a sentence; else those without words beside them do, too.",
    },
}
_TRANSLATE_REPLY = {
    "type": "object",
    "required": ["translations"],
    "properties": {
        "translations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detected_source_language", "text", "billed_characters"],
                "properties": {
                    "detected_source_language": {"type": "string"},
                    "text": {"type": "string"},
                    "billed_characters": {"type": "integer"},
                    "model_type_used": {"enum": [_QUALITY, _LATENCY]},
                },
            },
        }
    },
}
_DOCUMENT = {
    "target_lang": _TRANSLATE["target_lang"],
    "source_lang": _TRANSLATE["source_lang"],
    "filename": {"type": "string"},
    "output_format": {"type": "string", "description": "That of the document; others are refused."},
    "formality": _TRANSLATE["formality"],
    "glossary_id": _TRANSLATE["glossary_id"],
}
_DOCUMENT_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "target_lang"],
                    "properties": {"file": {"type": "string", "format": "binary"}, **_DOCUMENT},
                }
            }
        },
    }
}
_DOCUMENT_KEY = {"document_key": {"type": "string"}}
_DOCUMENT_REPLY = {
    "type": "object",
    "required": ["document_id", "document_key"],
    "properties": {"document_id": {"type": "string"}, "document_key": {"type": "string"}},
}
_DOCUMENT_STATUS = {
    "type": "object",
    "required": ["document_id", "status"],
    "properties": {
        "document_id": {"type": "string"},
        "status": {"enum": ["queued", "translating", "done", "error"]},
        "seconds_remaining": {"type": "integer"},
        "billed_characters": {"type": "integer"},
        "error_message": {"type": "string"},
    },
}
_DOCUMENT_STATES = {
    "queued": "queued",
    "translating": "translating",
    "done": "done",
    "failed": "error",
    "cancelled": "error",
}
_CHARACTERS_A_SECOND = 5000  # of the default model, about; clients wait that long before they ask again
_LANGUAGES = {"type": {"enum": ["source", "target"]}}
_LANGUAGES_REPLY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["language", "name"],
        "properties": {
            "language": {"type": "string"},
            "name": {"type": "string"},
            "supports_formality": {"type": "boolean"},
        },
    },
}
_USAGE_REPLY = {
    "type": "object",
    "required": ["character_count", "character_limit"],
    "properties": {"character_count": {"type": "integer"}, "character_limit": {"type": "integer"}},
}


def router(
    dispatcher: Dispatcher, registry: Registry, keys: Keys, files: FileJobs, glossaries: Glossaries
) -> APIRouter:
    """The routes over one app's parts; GET and POST, as DeepL's are."""
    routes = APIRouter(prefix="/v2", tags=["DeepL"], responses=_REFUSALS)
    characters = 0  # translated by this process

    async def key_use(request: Request, fields: Fields) -> KeyUse:
        if not keys.required:
            return KeyUse()
        return await asyncio.to_thread(keys.usage, deepl_key(request, fields))  # refuses a wrong one

    async def with_glossary(use: KeyUse, fields: Fields, options: Options) -> Options:
        """The options with the glossary that the fields name."""
        glossary_id = fields.first("glossary_id")
        if not glossary_id:
            return options
        if options.source == AUTO:
            raise HTTPException(400, "Use of a glossary requires the 'source_lang' parameter.")
        if not isinstance(glossary_id, str):
            raise HTTPException(400, "Value for 'glossary_id' not supported.")
        glossary = await wanted_glossary(glossaries, use.name or NOBODY, glossary_id, options.source, options.target)
        return replace(options, glossary=glossary)

    @routes.get(
        "/translate",
        responses={200: json_reply(_TRANSLATE_REPLY)},
        openapi_extra=query_fields(_TRANSLATE),
        summary="Translate, by the query string",
    )
    @routes.post(
        "/translate",
        responses={200: json_reply(_TRANSLATE_REPLY)},
        openapi_extra=form_body(_TRANSLATE, "text", "target_lang"),
        summary="Translate up to 50 texts",
    )
    async def translate(request: Request) -> Response:
        nonlocal characters
        fields = await read_fields(request)
        use = await key_use(request, fields)
        asked = _asked(fields, registry)
        wish = asked.wish._replace(options=await with_glossary(use, fields, asked.wish.options))
        outcome = await pipeline.translate(dispatcher, registry, request, deepl_key(request, fields), wish)
        characters += sum(outcome.characters)
        return _reply(_translated(asked, outcome), outcome.cost.headers() if outcome.cost else None)

    @routes.get(
        "/languages",
        responses={200: json_reply(_LANGUAGES_REPLY)},
        openapi_extra=query_fields(_LANGUAGES),
        summary="Source or target languages",
    )
    @routes.post(
        "/languages",
        responses={200: json_reply(_LANGUAGES_REPLY)},
        openapi_extra=form_body(_LANGUAGES),
        summary="Source or target languages",
    )
    async def known_languages(request: Request) -> Response:
        fields = await read_fields(request)
        await key_use(request, fields)
        kind = fields.first("type") or "source"
        if kind not in ("source", "target"):
            raise HTTPException(400, "Parameter 'type' is invalid. 'source' and 'target' are valid values.")
        codes = dict.fromkeys(pair[kind == "target"] for pair in registry.pairs())
        formality = {"supports_formality": False} if kind == "target" else {}
        return _reply([{"language": code.upper(), "name": languages.name(code), **formality} for code in codes])

    @routes.get("/usage", responses={200: json_reply(_USAGE_REPLY)}, summary="Characters of the key, this month")
    @routes.post("/usage", responses={200: json_reply(_USAGE_REPLY)}, summary="Characters of the key, this month")
    async def usage(request: Request) -> Response:
        use = await key_use(request, await read_fields(request))
        count = characters if use.name is None else use.characters  # without keys: of this process, since its start
        return _reply({"character_count": count, "character_limit": use.characters_per_month or UNLIMITED})

    @routes.post(
        "/document",
        responses={200: json_reply(_DOCUMENT_REPLY)},
        openapi_extra=_DOCUMENT_FORM,
        summary="Begin to translate a document",
    )
    async def document(request: Request) -> Response:
        upload = await read_upload(request, "Parameter 'file' not specified")
        fields = Fields({name: [value] for name in (*_DOCUMENT, "auth_key") if (value := upload.field(name))}, False)
        use = await key_use(request, fields)
        source, target = _pair(fields, registry)
        _formality(fields, target)
        name, wanted = fields.first("filename") or upload.name, fields.first("output_format")
        if wanted and not name.lower().endswith(f".{wanted.lower()}"):
            raise HTTPException(400, "Value for 'output_format' not supported.")
        options = await with_glossary(use, fields, Options(source or AUTO, target))
        job = await files.submit(request, name, upload.file, options, deepl_key(request, fields))
        return _reply({"document_id": job.id, "document_key": job.secret})

    async def its_job(document_id: str, request: Request) -> FileJob:
        fields = await read_fields(request)
        await key_use(request, fields)
        secret = fields.first("document_key")
        if not isinstance(secret, str):
            raise HTTPException(400, "Parameter 'document_key' not specified")
        return files.find(document_id, deepl_key(request, fields), secret)

    @routes.post(
        "/document/{document_id}",
        responses={200: json_reply(_DOCUMENT_STATUS), **documented(404, 422, model=DeeplError)},
        openapi_extra=form_body(_DOCUMENT_KEY, "document_key"),
        summary="How far a document is",
    )
    async def document_status(document_id: str, request: Request) -> Response:
        job = await its_job(document_id, request)
        status: dict[str, Any] = {"document_id": job.id, "status": _DOCUMENT_STATES[job.status]}
        if job.status == "translating":
            left = job.characters - job.characters_done
            status["seconds_remaining"] = 1 + left // _CHARACTERS_A_SECOND
        elif job.status == "done":
            status["billed_characters"] = job.characters
        elif job.has_ended:
            status["error_message"] = sentence_of(job.error) if job.error else "The translation was cancelled."
        return _reply(status)

    @routes.post(
        "/document/{document_id}/result",
        response_class=Response,
        responses={
            **documented(404, 422, model=DeeplError),
            200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        },
        openapi_extra=form_body(_DOCUMENT_KEY, "document_key"),
        summary="The translated document",
    )
    async def document_result(document_id: str, request: Request) -> Response:
        job = await its_job(document_id, request)
        if job.status != "done":
            raise HTTPException(503, "The document is not translated yet.", {"Retry-After": "1"})
        return download(job)

    return routes


def deepl_key(request: Request, fields: Fields) -> str | None:
    """The API key that a request carries: in the header, or as old clients send it."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = key.strip() if scheme.lower() == "deepl-auth-key" else fields.first("auth_key")
    return given if isinstance(given, str) else None


def fewest_bits(live: Sequence[ModelFacts]) -> str:
    """The live configuration that stands for latency_optimized."""
    return min(live, key=lambda facts: facts.bits_per_weight).config


def most_bits(live: Sequence[ModelFacts]) -> str:
    """The live configuration that stands for quality_optimized."""
    return max(live, key=lambda facts: facts.bits_per_weight).config


_PINS: dict[str, Pin] = {_LATENCY: fewest_bits, _QUALITY: most_bits}


class _Asked(NamedTuple):
    """A checked request; `model_type` is what its reply names."""

    wish: Wish
    model_type: str | None


def _asked(fields: Fields, registry: Registry) -> _Asked:
    """The request, refused in DeepL's words. What is unknown is tolerated: clients pass extra fields on."""
    texts = _texts(fields)
    source, target = _pair(fields, registry)
    _formality(fields, target)
    for name in _NO_SUCH_THING:
        if fields.first(name):
            raise HTTPException(400, f"Value for '{name}' not supported.")
    split = _split_sentences(fields)
    markup = _markup(fields, split)
    asked_type = _one_of(fields, "model_type", tuple(_MODEL_TYPES))
    model_type = _MODEL_TYPES[asked_type] if asked_type else None
    configuration = _PINS[model_type] if model_type else None
    options = Options(source or AUTO, target, split_sentences=split)
    return _Asked(Wish(texts, options, markup, configuration), model_type)


def _pair(fields: Fields, registry: Registry) -> tuple[str | None, str]:
    """Source, None to detect it, and target."""
    pairs = registry.pairs()
    target = language_code(fields, "target_lang", {target for _, target in pairs})
    if target is None:
        raise HTTPException(400, "Parameter 'target_lang' not specified")
    return language_code(fields, "source_lang", {source for source, other in pairs if other == target}), target


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
    """One of the known codes; a variant such as EN-GB stands for its language. None if the field is missing."""
    given = fields.first(name)
    if given is None or given == "":
        return None
    code = str(given).lower()
    for candidate in (code, code.split("-")[0]):
        if candidate in known:
            return candidate
    raise HTTPException(400, f"Value for '{name}' not supported.")


def _split_sentences(fields: Fields) -> SplitSentences:
    match _one_of(fields, "split_sentences", ("0", "1", "nonewlines")):
        case "0":
            return "0"
        case "nonewlines":
            return "nonewlines"
    return "1"


def _formality(fields: Fields, target: str) -> None:
    formality = _one_of(fields, "formality", _FORMALITIES)
    if formality in ("more", "less"):
        raise HTTPException(400, f"Target language '{target.upper()}' doesn't support formality.")


def _markup(fields: Fields, split: SplitSentences) -> Markup | None:
    kind = _one_of(fields, "tag_handling", ("xml", "html"))
    outline = _one_of(fields, "outline_detection", ("0", "1"))
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
        outline_detection=outline != "0",
        joins_lines=split == "nonewlines",
    )


def _tags(fields: Fields, name: str) -> frozenset[str]:
    """Names of tags in lower case, from lists and from texts with commas."""
    tags: list[str] = []
    for given in fields.every(name, f"{name}[]"):
        if isinstance(given, str):
            tags += given.split(",")
        elif isinstance(given, list) and all(isinstance(tag, str) for tag in given):
            tags += given
        else:
            raise HTTPException(400, f"Value for '{name}' not supported.")
    return frozenset(tag.strip().lower() for tag in tags)


def _one_of(fields: Fields, name: str, values: tuple[str, ...]) -> str | None:
    """The value of a field that must be one of a few; None if missing. true and false are 1 and 0."""
    given = fields.first(name)
    if given is None or given == "":
        return None
    value = str(int(given)) if isinstance(given, bool | int) else given
    if value not in values:
        raise HTTPException(400, f"Value for '{name}' not supported.")
    return str(value)


def _translated(asked: _Asked, outcome: Outcome) -> dict[str, Any]:
    used = {"model_type_used": asked.model_type} if asked.model_type else {}
    return {
        "translations": [
            {
                "detected_source_language": detected.language.upper(),
                "text": translation.best.text,
                "billed_characters": characters,
                **used,
            }
            for translation, detected, characters in zip(
                outcome.translations, outcome.detected, outcome.characters, strict=True
            )
        ]
    }


def _reply(content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), headers=headers, media_type="application/json")
