"""The dialect of LibreTranslate: its paths, fields and error texts to the letter, which clients compare."""

import asyncio
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.accounts.glossaries import Glossaries
from service.accounts.keys import Keys
from service.api.errors import LIBRETRANSLATE_PATHS, documented
from service.api.fields import Fields, form_body, json_reply, read_fields
from service.api.native_files import download, read_upload
from service.api.native_glossaries import with_terms
from service.api.schemas import are_terms
from service.files import ENDINGS, UnknownFormat, translated_name
from service.live.registry import NotReady, Registry
from service.requests import pipeline
from service.requests.disconnect import while_connected
from service.requests.dispatch import Dispatcher
from service.requests.file_jobs import FileJob, FileJobs, UnknownFile
from service.requests.pipeline import AUTO, Outcome, Wish
from service.settings import Settings
from service.text import languages
from service.text.detection import Detected, detect
from service.text.markup_tokens import Markup
from service.translation.translator import Options, Translation

# How replies spell what is one code inside; requests may use either.
_ISO = {"zh": "zh-Hans", "zt": "zh-Hant", "pb": "pt-BR"}
_ALIASES = {iso.lower(): code for code, iso in _ISO.items()}
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Authorization",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Max-Age": "1728000",
}

_STRINGS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_CODE = {"type": "string"}
_KEY = {"api_key": {"type": "string"}}
_TRANSLATE = {
    "q": _STRINGS,
    "source": {**_CODE, "description": "A code or `auto`.", "examples": ["en"]},
    "target": {**_CODE, "examples": ["de"]},
    "format": {"enum": ["text", "html"]},
    "alternatives": {"type": "integer", "minimum": 0},
    "glossary": {
        "description": "In JSON, terms and their translations; or the id or name of a stored one. Ours.",
        "anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}],
    },
    **_KEY,
}
_FILE = {"source": _TRANSLATE["source"], "target": _TRANSLATE["target"], "glossary": {"type": "string"}, **_KEY}
_FILE_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "source", "target"],
                    "properties": {"file": {"type": "string", "format": "binary"}, **_FILE},
                }
            }
        },
    }
}
_FILE_REPLY = {
    "type": "object",
    "required": ["translatedFileUrl"],
    "properties": {"translatedFileUrl": {"type": "string"}},
}
_DETECT = {"q": {"type": "string"}, **_KEY}
_DETECTED = {
    "type": "object",
    "required": ["confidence", "language"],
    "properties": {"confidence": {"type": "number", "minimum": 0, "maximum": 100}, "language": _CODE},
}
_DETECT_REPLY = {"type": "array", "items": _DETECTED, "minItems": 1}
_TRANSLATE_REPLY = {
    "type": "object",
    "required": ["translatedText"],
    "properties": {
        "translatedText": _STRINGS,
        "detectedLanguage": {"anyOf": [_DETECTED, {"type": "array", "items": _DETECTED}]},
        "alternatives": {"type": "array", "items": _STRINGS},
    },
}
_LANGUAGES_REPLY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["code", "name", "targets"],
        "properties": {"code": _CODE, "name": {"type": "string"}, "targets": {"type": "array", "items": _CODE}},
    },
}


def router(
    dispatcher: Dispatcher,
    registry: Registry,
    settings: Settings,
    keys: Keys,
    files: FileJobs,
    glossaries: Glossaries,
) -> APIRouter:
    """The routes over one app's parts."""
    routes = APIRouter(tags=["LibreTranslate"])

    async def with_glossary(fields: Fields, options: Options) -> Options:
        """The options with the glossary that the fields name or are."""
        terms = fields.first("glossary")
        if terms is None or terms == "":
            return options
        if not (isinstance(terms, str) or are_terms(terms)):
            raise HTTPException(400, "Invalid request: glossary parameter is neither a name nor pairs of terms")
        return await with_terms(options, terms, glossaries, keys, _key(fields))

    @routes.post(
        "/translate",
        responses={200: json_reply(_TRANSLATE_REPLY), **documented(400, 403, 413, 415, 429, 503, 504)},
        openapi_extra=form_body(_TRANSLATE, "q", "source", "target"),
        summary="Translate a text or a list",
    )
    async def translate(request: Request) -> Response:
        fields = await read_fields(request)
        asked = _asked(fields, registry, settings)
        options = await with_glossary(fields, Options(asked.source, asked.target, alternatives=asked.alternatives))
        markup = Markup("html") if asked.is_html else None
        wish = Wish(asked.texts, options, markup)
        outcome = await pipeline.translate(dispatcher, registry, request, _key(fields), wish)
        headers = outcome.cost.headers() if outcome.cost else {}
        return _reply(_translated(asked, outcome), headers)

    @routes.post(
        "/detect",
        responses={200: json_reply(_DETECT_REPLY), **documented(400, 403, 413, 415, 503)},
        openapi_extra=form_body(_DETECT, "q"),
        summary="Which language a text is in, the likeliest first",
    )
    async def detection(request: Request) -> Response:
        fields = await read_fields(request)
        (text, *_), _ = _texts(fields)
        if keys.required:
            await asyncio.to_thread(keys.usage, _key(fields))  # refuses a wrong one; detection is free
        sources = {source for source, _ in registry.pairs()}
        return _reply([_spoken(found) for found in detect(text, sources)])

    @routes.get("/languages", responses={200: json_reply(_LANGUAGES_REPLY)}, summary="The languages and their targets")
    async def known_languages() -> Response:
        pairs = registry.pairs()
        codes = dict.fromkeys(code for pair in pairs for code in pair)
        return _reply(
            [
                {
                    "code": _iso(code),
                    "name": languages.name(code),
                    "targets": [_iso(target) for source, target in pairs if source == code],
                }
                for code in codes
            ]
        )

    @routes.get(
        "/health", responses={200: json_reply({"type": "object"}), **documented(503)}, summary="Whether it is ready"
    )
    async def health() -> Response:
        if not registry.ready:
            raise NotReady
        return _reply({"status": "ok"})

    @routes.get(
        "/frontend/settings", responses={200: json_reply({"type": "object"})}, summary="What a front end offers"
    )
    async def frontend_settings() -> Response:
        source, target = registry.pairs()[0]
        return _reply(
            {
                "charLimit": settings.max_text_characters,
                "frontendTimeout": 500,
                "apiKeys": keys.required,
                "keyRequired": keys.required,
                "suggestions": False,
                "filesTranslation": True,
                "supportedFilesFormat": list(ENDINGS),
                "language": {
                    "source": {"code": _iso(source), "name": languages.name(source)},
                    "target": {"code": _iso(target), "name": languages.name(target)},
                },
            }
        )

    @routes.post(
        "/translate_file",
        responses={200: json_reply(_FILE_REPLY), **documented(400, 403, 413, 415, 429, 503)},
        openapi_extra=_FILE_FORM,
        summary="Translate a file; the reply, once it is done, says where the translation is",
    )
    async def translate_file(request: Request) -> Response:
        upload = await read_upload(request, "Invalid request: missing file parameter")
        fields = Fields({name: [value] for name in (*_FILE, "apiKey") if (value := upload.field(name))}, False)
        source, target = _pair(fields, registry)
        try:
            options = await with_glossary(fields, Options(source, target))
            job = await files.submit(request, upload.name, upload.file, options, _key(fields))
        except UnknownFormat as error:
            raise HTTPException(400, f"{error.ending[:20]} format is not supported") from None
        try:
            await while_connected(request, _ended(files, job))
        except BaseException:
            await files.remove(job)  # nobody would ask for it
            raise
        if job.error is not None:
            raise job.error
        name = quote(translated_name(job.name, job.options.target))
        return _reply({"translatedFileUrl": f"{request.base_url}download_file/{job.id}.{name}"})

    @routes.get(
        "/download_file/{name}",
        response_class=Response,
        responses={
            **documented(404, 422),
            200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        },
        summary="A translated file",
    )
    async def download_file(name: str) -> Response:
        job = files.by_address(name.partition(".")[0])
        if job.status != "done":
            raise UnknownFile
        return download(job)

    @routes.post("/suggest", responses=documented(403, 413, 415), summary="Off: nothing is learned from suggestions")
    async def suggest() -> Response:
        raise HTTPException(403, "Suggestions are disabled on this server.")

    @routes.get("/spec", responses={200: json_reply({"type": "object"})}, summary="This document")
    async def spec(request: Request) -> Response:
        return _reply(request.app.openapi())

    return routes


async def _ended(files: FileJobs, job: FileJob) -> None:
    async for _ in files.follow(job):
        pass


def _key(fields: Fields) -> str | None:
    """The API key that a request carries."""
    key = fields.first("api_key", "apiKey")
    return key if isinstance(key, str) else None


def cross_origin(app: ASGIApp) -> ASGIApp:
    """Middleware: pages of any origin may use this dialect; refusals say so too, and preflights are answered."""

    async def allowed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not LIBRETRANSLATE_PATHS.fullmatch(scope["path"]):
            await app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_CORS)
            await send(message)

        handler = Response() if scope["method"] == "OPTIONS" else app
        await handler(scope, receive, with_headers)

    return allowed


class _Asked(NamedTuple):
    """A checked request; `is_list` says in which shape the reply is."""

    texts: list[str]
    is_list: bool
    source: str
    target: str
    alternatives: int
    is_html: bool


def _asked(fields: Fields, registry: Registry, settings: Settings) -> _Asked:
    """The request, refused in LibreTranslate's order and words."""
    texts, is_list = _texts(fields)
    for name in ("source", "target"):
        _code(fields, name)
    alternatives = _alternatives(fields, settings.max_alternatives)
    if len(texts) > settings.max_texts:
        raise _exceeds(len(texts), settings.max_texts)
    longest = max(map(len, texts))
    if longest > settings.max_text_characters:
        raise _exceeds(longest, settings.max_text_characters)
    form = fields.first("format") or "text"
    if form not in ("text", "html"):
        raise HTTPException(400, f"{str(form)[:100]} format is not supported")
    source, target = _pair(fields, registry)
    return _Asked(texts, is_list, source, target, alternatives, form == "html")


def _pair(fields: Fields, registry: Registry) -> tuple[str, str]:
    """Source, which may be "auto", and target."""
    source, target = _code(fields, "source"), _code(fields, "target")
    pairs = registry.pairs()
    for code in (source, target):
        if code != AUTO and not any(code in pair for pair in pairs):
            raise HTTPException(400, f"{_iso(code)[:100]} is not supported")
    if target == AUTO:
        raise HTTPException(400, "auto is not supported")
    if not any(target == other and source in (AUTO, known) for known, other in pairs):
        source = pairs[0][0] if source == AUTO else source
        from_, to = (f"{languages.name(code)} ({_iso(code)})" for code in (source, target))
        raise HTTPException(400, f"{to} is not available as a target language from {from_}")
    return source, target


def _texts(fields: Fields) -> tuple[list[str], bool]:
    """The texts, and whether they came as a list: of JSON, or of JSON written into a form, as Nextcloud does."""
    given = fields.first("q")
    if not given:
        raise HTTPException(400, "Invalid request: missing q parameter")
    if not fields.is_json:
        given = _list_in(given) or "\n".join(given.splitlines())
    texts = given if isinstance(given, list) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise HTTPException(400, "Invalid request: q parameter is neither a string nor a list of strings")
    return texts, isinstance(given, list)


def _list_in(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        texts = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return texts if all(isinstance(item, str) for item in texts) else None


def _code(fields: Fields, name: str) -> str:
    given = fields.first(name)
    if not given:
        raise HTTPException(400, f"Invalid request: missing {name} parameter")
    code = str(given).lower()
    return _ALIASES.get(code, code)


def _alternatives(fields: Fields, most: int) -> int:
    given = fields.first("alternatives")
    try:
        number = int(given or 0)
    except (TypeError, ValueError, OverflowError):
        raise HTTPException(400, "Invalid request: alternatives parameter is not a number") from None
    if number > most:
        raise HTTPException(400, f"Invalid request: alternatives parameter must be <= {most}")
    return max(0, number)


def _exceeds(size: int, limit: int) -> HTTPException:
    return HTTPException(400, f"Invalid request: request ({size}) exceeds text limit ({limit})")


def _translated(asked: _Asked, outcome: Outcome) -> dict[str, Any]:
    """The reply: its fields are lists if the request's were, and are there only if they were asked for."""

    def shaped(values: list[Any]) -> Any:
        return values if asked.is_list else values[0]

    reply = {"translatedText": shaped([translation.best.text for translation in outcome.translations])}
    if asked.source == AUTO:
        reply["detectedLanguage"] = shaped([_spoken(detected) for detected in outcome.detected])
    if asked.alternatives:
        reply["alternatives"] = shaped([_alternative_texts(translation) for translation in outcome.translations])
    return reply


def _alternative_texts(translation: Translation) -> list[str]:
    return [alternative.text for alternative in translation.alternatives]


def _spoken(detected: Detected) -> dict[str, Any]:
    """A detection in LibreTranslate's terms: confidence in percent."""
    confidence = round(100 * detected.confidence, 2)
    return {"confidence": confidence, "language": _iso(detected.language)}


def _iso(code: str) -> str:
    return _ISO.get(code, code)


def _reply(content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), headers=headers, media_type="application/json")
