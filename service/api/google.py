"""Google's Cloud Translation API, version 2, and the address of its web page, which tools ask without a key.

Fields that are not here are ignored, as clients send more than they need; a wish that can't be met is a 400.
"""

import asyncio
import re
from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import APIKeyHeader

from service.accounts.keys import Keys, MissingKey, QuotaExceeded, RateExceeded, WrongKey
from service.api.authorization import credentials
from service.api.calls import call_of, cost_headers
from service.api.dialect import Dialect, Refused
from service.api.errors import documented
from service.api.fields import Fields, read_fields
from service.api.google_schemas import (
    MAX_TEXTS,
    DetectFields,
    GoogleDetection,
    GoogleDetections,
    GoogleError,
    GoogleLanguages,
    GoogleTranslation,
    GoogleTranslations,
    LanguagesFields,
    Status,
    TranslateFields,
    WebFields,
    WebList,
    WebTranslation,
)
from service.api.json_reply import JsonReply
from service.api.language_codes import read_code
from service.api.native_glossaries import owner
from service.api.openapi import LARGE_ADDRESS, form_body, query_fields
from service.api.routes import Routes
from service.live.model import NotLive
from service.live.registry import Registry
from service.live.routing import UnsupportedPair
from service.requests import pipeline
from service.requests.dispatch import Dispatcher
from service.requests.pipeline import AUTO, Outcome, TranslationRequest
from service.text import languages
from service.text.detection import UNKNOWN, detect
from service.text.markup_tokens import Markup
from service.translation.results import LimitExceeded, Options

_SECURITY = Depends(
    APIKeyHeader(name="X-Goog-Api-Key", scheme_name="GoogleKey", description="The API key.", auto_error=False)
)
_WRITTEN = {"zh": "zh-CN", "zt": "zh-TW", "pb": "pt-BR"}  # our code -> Google's
_STATUS: dict[int, Status] = {
    401: "PERMISSION_DENIED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_USAGE_REASONS = {
    "rate_exceeded": "userRateLimitExceeded",
    "quota_exceeded": "dailyLimitExceeded",
    "queue_full": "rateLimitExceeded",
}
_REASONS = {
    "required": "required",
    "invalid": "invalid",
    "limit_exceeded": "invalid",
    "unsupported_pair": "invalid",
    "missing_key": "forbidden",
    "forbidden": "forbidden",
    "not_found": "notFound",
}
_LISTED = "GET /language/translate/v2/languages lists the languages."


def _error(status: int, sentence: str, code: str) -> dict[str, Any]:
    """Return an error as Google writes it."""
    usage = _USAGE_REASONS.get(code)
    reason = usage or _REASONS.get(code, "badRequest" if status < 500 else "backendError")
    item = {"message": sentence, "domain": "usageLimits" if usage else "global", "reason": reason}
    named = _STATUS.get(status, "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": sentence, "errors": [item], "status": named}}


def _head_key(request: Request) -> str | None:
    key = request.headers.get("x-goog-api-key") or credentials(request, "bearer")
    return key or request.query_params.get("key")


DIALECT = Dialect(
    paths=re.compile("/language/translate/v2|/translate_a/"),
    error=_error,
    refusals={
        MissingKey: (403, "The request is missing a valid API key. Send it as X-Goog-Api-Key: KEY, or as key=KEY."),
        WrongKey: (400, "API key not valid. Please pass a valid API key."),
        RateExceeded: (403, "User Rate Limit Exceeded: {}"),
        QuotaExceeded: (403, "Daily Limit Exceeded: {}"),
        UnsupportedPair: (400, "Bad language pair: {}"),
        LimitExceeded: (400, "{}"),
        NotLive: (400, "{}"),
    },
    not_found="There is nothing at this path; there are /language/translate/v2, and /detect and /languages below it.",
    head_key=_head_key,
    body_key=True,  # of a form
    foreign_headers="Authorization, Content-Type, X-Goog-Api-Key",
)


def router(dispatcher: Dispatcher, registry: Registry, keys: Keys) -> APIRouter:
    """Return the routes; each takes GET and POST, as Google's do.

    Args:
        dispatcher: Runs the translations.
        registry: The live models.
        keys: The API keys.
    """
    refusals = documented(400, 403, 413, 415, 429, 503, 504, model=GoogleError)
    routes = Routes(tags=["Google"], dependencies=[_SECURITY], responses=refusals)

    async def translated(request: Request, fields: Fields, wanted: TranslationRequest) -> Outcome:
        return await pipeline.translate(dispatcher, registry, call_of(request, _key(request, fields)), wanted)

    @routes.get("/language/translate/v2/", include_in_schema=False)  # as some clients write it
    @routes.post("/language/translate/v2/", include_in_schema=False)
    @routes.get(
        "/language/translate/v2",
        name="translate_by_query",
        response_model=GoogleTranslations,
        responses=LARGE_ADDRESS,
        openapi_extra=query_fields(TranslateFields),
        summary="Translate texts of the query string",
    )
    @routes.post(
        "/language/translate/v2",
        response_model=GoogleTranslations,
        openapi_extra=form_body(TranslateFields),
        summary="Translate up to 128 texts",
    )
    async def translate(request: Request) -> Response:
        fields = await read_fields(request)
        texts = _texts(fields)
        form, model = _one_of(fields, "format", ("html", "text")), _one_of(fields, "model", ("nmt", "base"))
        if any(fields.every("cid")):
            raise Refused(400, "invalid", "Invalid Value: there are no customised models; leave 'cid' out.")
        options = _pair(fields, registry, "source", "target")
        markup = None if form == "text" else Markup("html")
        outcome = await translated(request, fields, TranslationRequest(texts, options, markup, keeps_empty=True))
        translations: list[GoogleTranslation] = []
        for translation, detected in zip(outcome.translations, outcome.detected, strict=True):
            translations.append({"translatedText": translation.best.text})
            if options.source == AUTO:
                translations[-1]["detectedSourceLanguage"] = written(detected.language)
            if model is not None:
                translations[-1]["model"] = "base" if model == "base" else "nmt"
        return JsonReply({"data": {"translations": translations}}, headers=cost_headers(outcome.cost))

    @routes.get(
        "/language/translate/v2/detect",
        name="detect_languages_by_query",
        response_model=GoogleDetections,
        responses=LARGE_ADDRESS,
        openapi_extra=query_fields(DetectFields),
        summary="Detect the languages of texts of the query string",
    )
    @routes.post(
        "/language/translate/v2/detect",
        response_model=GoogleDetections,
        openapi_extra=form_body(DetectFields),
        summary="Detect the languages of up to 128 texts",
    )
    async def detect_languages(request: Request) -> Response:
        fields = await read_fields(request)
        texts = _texts(fields)
        await owner(keys, _key(request, fields))  # raises for an unknown key; detection is not charged
        known = registry.languages
        detections = await asyncio.to_thread(lambda: [[_detection(text, known)] for text in texts])
        return JsonReply({"data": {"detections": detections}})

    @routes.get(
        "/language/translate/v2/languages",
        name="list_languages_by_query",
        response_model=GoogleLanguages,
        openapi_extra=query_fields(LanguagesFields),
        summary="List languages",
    )
    @routes.post(
        "/language/translate/v2/languages",
        name="list_languages_by_body",
        response_model=GoogleLanguages,
        openapi_extra=form_body(LanguagesFields),
        summary="List languages",
    )
    async def list_languages(request: Request) -> Response:
        fields = await read_fields(request)
        await owner(keys, _key(request, fields))
        given = fields.first("target")
        if given is not None and not isinstance(given, str):
            raise Refused(400, "invalid", "Invalid Value: 'target' is not a language code.")
        _one_of(fields, "model", ("nmt", "base"))
        reader = (read_code(given, languages.ENGLISH) or "en") if given else None
        codes = sorted(registry.languages)
        listed = [
            {"language": written(code), "name": languages.name(code, reader)} if reader else {"language": written(code)}
            for code in codes
        ]
        return JsonReply({"data": {"languages": listed}})

    @routes.get(
        "/translate_a/single",
        name="translate_for_web_by_query",
        response_model=WebList | WebTranslation,
        responses=LARGE_ADDRESS,
        openapi_extra=query_fields(WebFields),
        summary="Translate a text as the web page's clients do",
    )
    @routes.post(
        "/translate_a/single",
        response_model=WebList | WebTranslation,
        openapi_extra=form_body(WebFields),
        summary="Translate a text as the web page's clients do",
    )
    async def translate_for_web(request: Request) -> Response:
        fields = await read_fields(request)
        texts = _texts(fields)
        options = _pair(fields, registry, "sl", "tl")
        as_object = _one_of(fields, "dj", ("0", "1")) == "1"
        outcome = await translated(request, fields, TranslationRequest(texts, options, keeps_empty=True))
        source, headers = written(outcome.detected[0].language), cost_headers(outcome.cost)
        pairs = [(translation.best.text, text) for translation, text in zip(outcome.translations, texts, strict=True)]
        if as_object:
            sentences = [{"trans": translation, "orig": text} for translation, text in pairs]
            return JsonReply({"sentences": sentences, "src": source}, headers=headers)
        return JsonReply([pairs, None, source], headers=headers)

    return routes


def _key(request: Request, fields: Fields) -> str | None:
    """Return the API key of a request: of a header, of the query string, or of the form."""
    key = _head_key(request) or fields.first("key")
    return key if isinstance(key, str) else None


def _texts(fields: Fields) -> list[str]:
    texts: list[Any] = []
    for given in fields.every("q"):
        texts += given if isinstance(given, list) else [given]
    if not texts:
        raise Refused(400, "required", "Required Text: send what to translate as 'q'.")
    if len(texts) > MAX_TEXTS:
        raise Refused(400, "invalid", f"Too many text segments: send up to {MAX_TEXTS} in a request.")
    if not all(isinstance(text, str) for text in texts):
        raise Refused(400, "invalid", "Invalid Value: 'q' is neither a text nor a list of texts.")
    return texts


def _pair(fields: Fields, registry: Registry, source_name: str, target_name: str) -> Options:
    """Return the languages of a request.

    Args:
        fields: Of the request.
        registry: The live models.
        source_name: The field of the source, which is detected without it.
        target_name: The field of the target.
    """
    pairs, known = registry.pairs(), registry.languages
    given = fields.given(target_name)
    if given is None:
        raise Refused(400, "required", f"Required parameter: {target_name}, the language to translate to.")
    target = _language(given, target_name, known)
    given = fields.given(source_name)
    source = AUTO if given is None or given == AUTO else _language(given, source_name, known)
    if source == AUTO and target not in {code for _, code in pairs}:
        raise Refused(400, "invalid", f"Bad language pair: nothing translates to {written(target)}. {_LISTED}")
    if source not in (AUTO, target) and (source, target) not in pairs:
        raise Refused(400, "invalid", f"Bad language pair: {written(source)}|{written(target)}. {_LISTED}")
    return Options(source, target)


def _language(given: object, name: str, known: Collection[str]) -> str:
    code = read_code(given, known)
    if code is None:
        raise Refused(400, "invalid", f"Invalid Value: '{name}' is not a language of this server. {_LISTED}")
    return code


def _one_of(fields: Fields, name: str, values: tuple[str, ...]) -> str | None:
    given = fields.given(name)
    if given is None:
        return None
    if isinstance(given, str) and given in values:
        return given
    raise Refused(400, "invalid", f"Invalid Value: '{name}' is none of {', '.join(values)}.")


def _detection(text: str, known: Collection[str]) -> GoogleDetection:
    detected = detect(text, known)
    language = "und" if detected == UNKNOWN else written(detected.language)
    return {"language": language, "confidence": detected.confidence, "isReliable": detected.confidence >= 0.5}


def written(code: str) -> str:
    """Return a language code as Google writes it."""
    return _WRITTEN.get(code, code)
