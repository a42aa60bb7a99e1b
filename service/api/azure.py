"""Azure Translator's API, version 3.0, at the address of a resource of one's own: /translator/text/v3.0.

The global address of Azure has no such beginning. Requests to its paths, which name an `api-version`, are taken there.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import APIKeyHeader
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.accounts.keys import Keys, MissingKey, QuotaExceeded, WrongKey
from service.api.authorization import credentials
from service.api.azure_places import projection, sentence_lengths, translated_lengths
from service.api.azure_schemas import (
    AzureBreaks,
    AzureDetected,
    AzureDetection,
    AzureError,
    AzureGuess,
    AzureLanguages,
    AzureTexts,
    AzureTranslation,
    AzureTranslations,
    BreakParameters,
    LanguagesParameters,
    TranslateParameters,
    VersionParameters,
)
from service.api.calls import call_of, cost_headers
from service.api.dialect import Dialect, Refused
from service.api.errors import documented
from service.api.json_reply import JsonReply
from service.api.json_route import is_json, media_type, parse_json
from service.api.language_codes import accepted, read_code
from service.api.native_glossaries import owner
from service.api.openapi import json_body, query_fields
from service.api.routes import Routes
from service.live.model import NotLive
from service.live.registry import Registry
from service.live.routing import UnsupportedPair
from service.observability.request_context import current
from service.requests import pipeline
from service.requests.dispatch import Dispatcher
from service.requests.pipeline import AUTO, Outcome, TranslationRequest
from service.settings import Settings
from service.text import languages
from service.text.detection import Detected, detect, rank
from service.text.markup_tokens import Markup
from service.translation.preparing import prepared
from service.translation.results import LimitExceeded, Options, TranslatedSentence

PREFIX = "/translator/text/v3.0"
_TOKEN = "/sts/v1.0/issueToken"
_VERSION = re.compile(rb"(?:\A|&)api-version=", re.IGNORECASE)
_AT_ROOT = re.compile(r"/(translate|detect|languages|breaksentence|transliterate|dictionary/(lookup|examples))\Z")
_SCOPES = ("translation", "transliteration", "dictionary")
_SECURITY = Depends(
    APIKeyHeader(name="Ocp-Apim-Subscription-Key", scheme_name="AzureKey", description="The API key.", auto_error=False)
)
_WRITTEN = {"zh": "zh-Hans", "zt": "zh-Hant", "pb": "pt-br"}  # our code -> Azure's
_UNAUTHORIZED = (
    "The request is not authorized because credentials are missing or invalid. Send the key as the header "
    "Ocp-Apim-Subscription-Key."
)
# Codes of errors -> Azure's numbers. The others are the status and three zeros.
_NUMBERS = {
    "bad_request": 400074,
    "limit_exceeded": 400077,
    "unsupported_pair": 400023,
    "quota_exceeded": 403001,
    "rate_exceeded": 429001,
}


def _error(status: int, sentence: str, code: str) -> dict[str, Any]:
    number = int(code) if code.isdecimal() else _NUMBERS.get(code, 1000 * status)
    return {"error": {"code": number, "message": sentence}}


def _key(request: Request) -> str | None:
    """Return the API key of a request: of Azure's header, of a bearer, or of the query string."""
    key = request.headers.get("ocp-apim-subscription-key") or credentials(request, "bearer")
    return key or request.query_params.get("Subscription-Key")


DIALECT = Dialect(
    paths=re.compile(f"{re.escape(PREFIX)}|{re.escape(_TOKEN)}"),
    error=_error,
    refusals={
        MissingKey: (401, _UNAUTHORIZED),
        WrongKey: (401, _UNAUTHORIZED),
        QuotaExceeded: (403, "The operation is not allowed because the key has exceeded its quota: {}"),
        UnsupportedPair: (400, "{}"),
        LimitExceeded: (400, "{}"),
        NotLive: (400, "{}"),
    },
    not_found="There is nothing at this path; there are translate, detect, languages and breaksentence.",
    head_key=_key,
    foreign_headers="Authorization, Content-Type, Ocp-Apim-Subscription-Key, Ocp-Apim-Subscription-Region, "
    "X-ClientTraceId",
)


class AzureAddress:
    """Middleware that takes requests to Azure's global address to the routes, and names each request as Azure does."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _AT_ROOT.match(scope["path"]) and _VERSION.search(scope["query_string"]):
            scope["path"] = PREFIX + scope["path"]
        elif not DIALECT.paths.match(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-RequestId"] = current().id
            await send(message)

        await self._app(scope, receive, named)


def router(dispatcher: Dispatcher, registry: Registry, settings: Settings, keys: Keys) -> APIRouter:
    """Return the routes.

    Args:
        dispatcher: Runs the translations.
        registry: The live models.
        settings: Limits of a request.
        keys: The API keys.
    """
    refusals = documented(400, 401, 403, 413, 415, 429, 503, 504, model=AzureError)
    routes = Routes(tags=["Azure"], responses=refusals)

    @routes.post(
        f"{PREFIX}/translate",
        dependencies=[_SECURITY],
        response_model=list[AzureTranslations],
        openapi_extra=query_fields(TranslateParameters) | json_body(AzureTexts),
        summary="Translate texts to one or more languages",
    )
    async def translate(request: Request) -> Response:
        asked = await _asked(request, registry, settings)
        sentences = [_Sentences() for _ in asked.targets]
        wanted = [
            TranslationRequest(
                asked.texts,
                Options(asked.source, target, alignment=asked.with_alignment and not asked.is_html),
                Markup("html") if asked.is_html else None,
                keeps_empty=True,
                on_sentence=own.take if asked.with_lengths else None,
            )
            for target, own in zip(asked.targets, sentences, strict=True)
        ]
        outcomes = await pipeline.translate_each(dispatcher, registry, call_of(request, _key(request)), wanted)
        headers = cost_headers(outcomes[0].cost) | {
            "X-MT-System": ",".join("Team" for _ in outcomes),
            "X-Metered-Usage": str(sum(map(_charged, outcomes))),
        }
        size = sum(map(len, asked.texts)) * len(outcomes)
        return JsonReply(await prepared(size, _translated, asked, outcomes, sentences), headers=headers)

    @routes.post(
        f"{PREFIX}/detect",
        dependencies=[_SECURITY],
        response_model=list[AzureDetection],
        openapi_extra=query_fields(VersionParameters) | json_body(AzureTexts),
        summary="Detect the languages of texts",
    )
    async def detect_languages(request: Request) -> Response:
        texts = await _texts(request, settings)
        await owner(keys, _key(request))  # raises for an unknown key; detection is not charged
        _refuse_long(texts, settings)
        sources, known = {source for source, _ in registry.pairs()}, registry.languages
        return JsonReply(await asyncio.to_thread(lambda: [_detection(text, sources, known) for text in texts]))

    @routes.post(
        f"{PREFIX}/breaksentence",
        dependencies=[_SECURITY],
        response_model=list[AzureBreaks],
        openapi_extra=query_fields(BreakParameters) | json_body(AzureTexts),
        summary="Find the sentences of texts",
    )
    async def break_sentences(request: Request) -> Response:
        texts = await _texts(request, settings)
        await owner(keys, _key(request))
        known, given = registry.languages, request.query_params.get("language")
        if request.query_params.get("script"):
            raise _no_transliteration("script")
        _refuse_long(texts, settings)
        language = _language(given, 400003, "language", known) if given else None

        def broken(text: str) -> AzureBreaks:
            if language is not None:
                return {"sentLen": sentence_lengths(text, language)}
            detected = detect(text, known)
            return {"sentLen": sentence_lengths(text, detected.language), "detectedLanguage": _detected(detected)}

        return JsonReply(await asyncio.to_thread(lambda: list(map(broken, texts))))

    @routes.get(
        f"{PREFIX}/languages",
        response_model=AzureLanguages,
        openapi_extra=query_fields(LanguagesParameters),
        summary="List languages",
    )
    async def list_languages(request: Request) -> Response:
        _require_version(request)
        scopes = [scope.strip() for scope in (request.query_params.get("scope") or ",".join(_SCOPES)).split(",")]
        if not set(scopes) <= set(_SCOPES):
            raise _refused(400001, f'The "scope" parameter is invalid. It is a list of {", ".join(_SCOPES)}.')
        reader = accepted(request.headers.get("accept-language"))
        codes = sorted(registry.languages)
        reply: AzureLanguages = {}
        if "translation" in scopes:
            reply["translation"] = {
                written(code): {
                    "name": languages.name(code, reader),
                    "nativeName": languages.native_name(code),
                    "dir": "rtl" if code in languages.RIGHT_TO_LEFT else "ltr",
                }
                for code in codes
            }
        if "transliteration" in scopes:
            reply["transliteration"] = {}
        if "dictionary" in scopes:
            reply["dictionary"] = {}
        return JsonReply(reply, headers={"Content-Language": reader, "Vary": "Accept-Language"})

    @routes.post(
        _TOKEN,
        dependencies=[_SECURITY],
        response_class=Response,  # refusals are JSON
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        summary="Exchange a key for a bearer token, which is the key",
    )
    async def issue_token(request: Request) -> Response:
        key = _key(request)
        await owner(keys, key)
        return PlainTextResponse(key or "any")

    return routes


class _Sentences(defaultdict[int, list[TranslatedSentence]]):
    """The sentences of each text of a request."""

    def __init__(self) -> None:
        super().__init__(list)

    def take(self, sentence: TranslatedSentence) -> None:
        self[sentence.text].append(sentence)


class _Asked(NamedTuple):
    """A validated request."""

    texts: list[str]
    source: str
    targets: list[str]
    is_html: bool
    with_alignment: bool
    with_lengths: bool


async def _asked(request: Request, registry: Registry, settings: Settings) -> _Asked:
    """Validate a request. Unknown parameters are ignored; a known one that asks for what is not here is refused."""
    texts = await _texts(request, settings)
    asked, pairs, known = request.query_params, registry.pairs(), registry.languages
    source = _language(asked["from"], 400035, "source language", known) if asked.get("from") else AUTO
    targets = [_language(given, 400036, "target language", known) for given in asked.getlist("to")]
    if not targets:
        raise _refused(400036, "The target language is missing; name one by 'to'.")
    if len(set(targets)) < len(targets):
        raise _refused(400036, "A target language is named twice.")
    for target in targets:
        ways = {code for code, other in pairs if other == target}
        if source != target and not ((source == AUTO and ways) or source in ways):
            raise _refused(
                400023,
                f"The language pair {written(source)} to {written(target)} is not valid; /languages lists them.",
            )
    if asked.get("suggestedFrom"):
        _language(asked["suggestedFrom"], 400035, "suggested source language", known)
    for name in ("fromScript", "toScript"):
        if asked.get(name):
            raise _no_transliteration(name)
    if _one_of(request, "profanityAction", ("noaction", "marked", "deleted")) in ("marked", "deleted"):
        raise _refused(400042, "The option profanityAction is NoAction here; profanity is translated like other words.")
    _one_of(request, "profanityMarker", ("asterisk", "tag"))
    is_own = asked.get("category", "") not in ("", "general")
    if not _switch(request, "allowFallback", default=True) and is_own:
        raise _refused(400079, "There are no custom systems; leave 'category' out, or allow the fallback.")
    if any("<mstrans:dictionary" in text.lower() for text in texts):
        raise _refused(400042, "A dynamic dictionary (mstrans:dictionary) is not taken; leave its tags out.")
    is_html = _one_of(request, "textType", ("plain", "html"), 400071) == "html"
    with_lengths = _switch(request, "includeSentenceLength")
    if is_html and with_lengths:
        raise _refused(400042, "The option includeSentenceLength is for plain text.")
    return _Asked(texts, source, targets, is_html, _switch(request, "includeAlignment"), with_lengths)


async def _texts(request: Request, settings: Settings) -> list[str]:
    """Return the texts of the body: a list of objects with `Text` or `text`."""
    _require_version(request)
    if not is_json(media_type(request)):
        raise Refused(415, "415000", "The Content-Type header is missing or invalid; send JSON as application/json.")
    elements = parse_json(await request.body())
    if not isinstance(elements, list) or not elements:
        raise _refused(400005, 'The input text is missing or invalid; send a list of objects: [{"Text": "..."}].')
    if len(elements) > settings.max_texts:
        sentence = "The array of input text has too many elements"
        raise _refused(400072, f"{sentence}: {len(elements)}; send up to {settings.max_texts} in a request.")
    return list(map(_text, elements))


def _refuse_long(texts: list[str], settings: Settings) -> None:
    if max(map(len, texts)) > settings.max_text_characters:
        raise _refused(400050, f"The input text is too long; send up to {settings.max_text_characters:,} characters.")


def _text(element: Any) -> str:
    given = [element[name] for name in ("Text", "text") if name in element] if isinstance(element, dict) else []
    if len(given) != 1 or not isinstance(given[0], str):
        raise _refused(400020, 'An element of the input text is not valid; each is an object: {"Text": "..."}.')
    return given[0]


def _require_version(request: Request) -> None:
    if request.query_params.get("api-version") != "3.0":
        raise _refused(400021, "The API version parameter is missing or invalid; send api-version=3.0.")


def _language(given: str, number: int, name: str, known: Collection[str]) -> str:
    code = read_code(given, known)
    if code is None:
        raise _refused(number, f"The {name} is not valid; choose one of {', '.join(sorted(map(written, known)))}.")
    return code


def _one_of(request: Request, name: str, values: tuple[str, ...], number: int = 400042) -> str:
    """Return a parameter in lower case; the first of the values if it is missing."""
    given = request.query_params.get(name, "").lower() or values[0]
    if given not in values:
        raise _refused(number, f"The value of {name} is not valid; it is one of {', '.join(values)}.")
    return given


def _switch(request: Request, name: str, *, default: bool = False) -> bool:
    return _one_of(request, name, ("true", "false") if default else ("false", "true")) == "true"


def _no_transliteration(name: str) -> Refused:
    return _refused(400080, f"Transliteration is not supported; leave {name} out.")


def _refused(number: int, sentence: str) -> Refused:
    return Refused(400, str(number), sentence)


def _translated(asked: _Asked, outcomes: list[Outcome], sentences: list[_Sentences]) -> list[AzureTranslations]:
    """Return the reply: for each text its translations to all targets."""
    reply: list[AzureTranslations] = []
    for number, text in enumerate(asked.texts):
        translations: list[AzureTranslation] = []
        for target, outcome, own in zip(asked.targets, outcomes, sentences, strict=True):
            best = outcome.translations[number].best
            translations.append({"text": best.text, "to": written(target)})
            if asked.with_alignment:
                proj = projection(best.alignment, text, best.text)
                translations[-1]["alignment"] = {"proj": proj} if proj else {}
            if asked.with_lengths:
                source, translated = translated_lengths(text, best.text, own[number])
                translations[-1]["sentLen"] = {"srcSentLen": source, "transSentLen": translated}
        if asked.source == AUTO:
            detected = _detected(outcomes[0].detected[number])
            reply.append({"detectedLanguage": detected, "translations": translations})
        else:
            reply.append({"translations": translations})
    return reply


def _charged(outcome: Outcome) -> int:
    """Return the characters of the texts that were translated."""
    return sum(
        characters
        for characters, translation in zip(outcome.characters, outcome.translations, strict=True)
        if translation.unchanged is None
    )


def _detection(text: str, sources: Collection[str], known: Collection[str]) -> AzureDetection:
    best = detect(text, known)
    others = [found for found in rank(text, sources, known) if found.language != best.language and found.confidence]
    return {**_guess(best, sources), "alternatives": [_guess(found, sources) for found in others]}


def _guess(found: Detected, sources: Collection[str]) -> AzureGuess:
    return {
        "language": written(found.language),
        "score": found.confidence,
        "isTranslationSupported": found.language in sources,
        "isTransliterationSupported": False,
    }


def _detected(found: Detected) -> AzureDetected:
    return {"language": written(found.language), "score": found.confidence}


def written(code: str) -> str:
    """Return a language code as Azure writes it."""
    return _WRITTEN.get(code, code)
