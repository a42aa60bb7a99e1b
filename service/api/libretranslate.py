"""LibreTranslate's API: its paths, fields and exact error texts, which clients compare."""

import asyncio
import re
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from models.format.languages import canonical
from service.accounts.glossaries import Glossaries
from service.accounts.keys import Keys, MissingKey, QuotaExceeded, RateExceeded, WrongKey
from service.api.calls import call_of, cost_headers
from service.api.dialect import Dialect
from service.api.downloads import FILE_REPLY, download
from service.api.errors import documented
from service.api.fields import Fields, read_fields
from service.api.json_reply import JsonReply
from service.api.language_codes import accepted, read_code
from service.api.libretranslate_schemas import (
    DetectFields,
    DetectForm,
    FileFields,
    LibreDetected,
    LibreFile,
    LibreHealth,
    LibreLanguage,
    LibreSettings,
    LibreTranslations,
    TranslateFields,
    TranslateForm,
)
from service.api.native_glossaries import with_terms
from service.api.openapi import form_body, upload_body
from service.api.routes import Routes
from service.api.schemas import are_terms
from service.api.uploads import read_upload
from service.files import ENDINGS, FileRefused, UnknownFormat, translated_name
from service.live.model import NotLive, NotReady
from service.live.registry import Registry
from service.live.routing import Pair, UnsupportedPair
from service.requests import pipeline
from service.requests.disconnect import while_connected
from service.requests.dispatch import Dispatcher
from service.requests.file_jobs import FileJob, FileJobs, TooManyFiles, UnknownFile
from service.requests.pipeline import AUTO, Outcome, TranslationRequest
from service.settings import Settings
from service.text import languages
from service.text.detection import Detected, rank
from service.text.glossary import GlossaryRefused
from service.text.markup_tokens import Markup
from service.translation.results import LimitExceeded, Options, Translation
from service.translation.scheduler import QueueFull

# Our code -> the code in replies; requests may use either.
_ISO = {"zh": "zh-Hans", "zt": "zh-Hant", "pb": "pt-BR"}
_ALIASES = {iso.lower(): code for code, iso in _ISO.items()}

DIALECT = Dialect(
    paths=re.compile(
        r"/(translate|detect|languages|health|frontend/settings|suggest|spec|translate_file)/?\Z|/download_file/"
    ),
    refusals={
        MissingKey: (400, "Please contact the server operator to get an API key"),
        WrongKey: (403, "Invalid API key"),
        RateExceeded: (429, "Slowdown: {}"),
        QuotaExceeded: (429, "Slowdown: {}"),
        QueueFull: (429, "Slowdown: {}"),
        GlossaryRefused: (400, "{}"),
        UnsupportedPair: (400, "{}"),
        LimitExceeded: (400, "{}"),
        NotLive: (400, "{}"),
        FileRefused: (400, "{}"),
        TooManyFiles: (429, "Slowdown: {}"),
    },
    uploads=re.compile("/translate_file"),
    foreign_headers="Authorization, Content-Type",
)


def router(
    dispatcher: Dispatcher,
    registry: Registry,
    settings: Settings,
    keys: Keys,
    files: FileJobs,
    glossaries: Glossaries,
) -> APIRouter:
    """Return the routes.

    Args:
        dispatcher: Runs the translations.
        registry: The live models.
        settings: Limits of a request.
        keys: The API keys.
        files: The jobs of files.
        glossaries: The stored glossaries.
    """
    routes = Routes(tags=["LibreTranslate"])

    async def with_glossary(fields: Fields, options: Options) -> Options:
        """Return the options with the glossary that the fields name or contain."""
        terms = fields.first("glossary")
        if terms is None or terms == "":
            return options
        if not (isinstance(terms, str) or are_terms(terms)):
            raise HTTPException(400, "Invalid request: glossary parameter is neither a name nor pairs of terms")
        return await with_terms(options, terms, glossaries, keys, _key(fields))

    @routes.post(
        "/translate",
        response_model=LibreTranslations,
        responses=documented(400, 403, 404, 413, 415, 429, 503, 504),
        openapi_extra=form_body(TranslateFields, TranslateForm),
        summary="Translate a text or a list of texts",
    )
    async def translate(request: Request) -> Response:
        fields = await read_fields(request)
        asked = _asked(fields, registry, settings)
        options = await with_glossary(fields, Options(asked.source, asked.target, alternatives=asked.alternatives))
        markup = Markup("html") if asked.is_html else None
        wanted = TranslationRequest(asked.texts, options, markup, keeps_empty=True)
        outcome = await pipeline.translate(dispatcher, registry, call_of(request, _key(fields)), wanted)
        return JsonReply(_translated(asked, outcome), headers=cost_headers(outcome.cost))

    @routes.post(
        "/detect",
        response_model=Annotated[list[LibreDetected], Field(min_length=1)],
        responses=documented(400, 403, 413, 415, 503),
        openapi_extra=form_body(DetectFields, DetectForm),
        summary="Detect the language of a text, most likely first",
    )
    async def detect(request: Request) -> Response:
        fields = await read_fields(request)
        (text, *_), _ = _texts(fields)
        if keys.required:
            await asyncio.to_thread(keys.usage, _key(fields))  # raises for an unknown key; detection is not charged
        sources = dict.fromkeys(source for source, _ in registry.pairs())
        await pipeline.ready_to_detect(registry.languages)
        return JsonReply([_detection(found) for found in rank(text, sources, registry.languages)])

    @routes.get("/languages", response_model=list[LibreLanguage], summary="List languages and their targets")
    async def list_languages(request: Request) -> Response:
        reader = accepted(request.headers.get("accept-language"))
        pairs = registry.pairs()
        codes = dict.fromkeys(code for pair in pairs for code in pair)
        return JsonReply(
            [
                {
                    "code": _iso(code),
                    "name": languages.name(code, reader),
                    "targets": [_iso(target) for source, target in pairs if source == code],
                }
                for code in codes
            ],
            headers={"Content-Language": _iso(reader), "Vary": "Accept-Language"},
        )

    @routes.get("/health", response_model=LibreHealth, responses=documented(503), summary="Check readiness")
    async def check_readiness() -> Response:
        if not registry.ready:
            raise NotReady(registry.altered)
        return JsonReply({"status": "ok"})

    @routes.get("/frontend/settings", response_model=LibreSettings, summary="Get the settings of a front end")
    async def get_settings() -> Response:
        source, target = registry.pairs()[0]
        return JsonReply(
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
        response_model=LibreFile,
        responses=documented(400, 403, 404, 413, 415, 429, 503, 507),
        openapi_extra=upload_body(FileFields),
        summary="Translate a file and return the address of the translation",
    )
    async def translate_file(request: Request) -> Response:
        if not keys.required:  # where it is, the form has the key
            await files.admit(None)
        upload = await read_upload(request, "Invalid request: missing file parameter")
        fields = upload.fields(*FileFields.__annotations__, "apiKey")
        source, target = _pair(fields, registry)
        call = call_of(request, _key(fields))
        try:
            options = await with_glossary(fields, Options(source, target))
            job = await files.submit(call, upload.name, upload.file, options)
        except UnknownFormat as error:
            raise HTTPException(400, f"{error.ending[:20]} format is not supported") from None
        try:
            await while_connected(call, _ended(files, job))
        except BaseException:
            await files.remove(job)  # its address would have been in this reply only
            raise
        if job.error is not None:
            raise job.error
        name = quote(translated_name(job.name, job.options.target))
        return JsonReply({"translatedFileUrl": f"{request.base_url}download_file/{job.id}.{name}"})

    @routes.get(
        "/download_file/{name}",
        response_class=Response,
        responses={**documented(404, 422), 200: FILE_REPLY},
        summary="Download a translated file",
    )
    async def download_file(name: str) -> Response:
        job = files.by_address(name.partition(".")[0])
        if job.status != "done":
            raise UnknownFile
        return download(job)

    @routes.post("/suggest", responses=documented(403, 413, 415), summary="Suggest a better translation (disabled)")
    async def suggest() -> Response:
        raise HTTPException(403, "Suggestions are disabled on this server.")

    @routes.get("/spec", response_model=dict[str, Any], summary="Get this OpenAPI document")
    def get_document(request: Request) -> Response:  # in a thread: to make the document takes half a second
        return JsonReply(request.app.openapi())

    return routes


async def _ended(files: FileJobs, job: FileJob) -> None:
    async for _ in files.follow(job):
        pass


def _key(fields: Fields) -> str | None:
    """Return the API key of a request."""
    key = fields.first("api_key", "apiKey")
    return key if isinstance(key, str) else None


class _Asked(NamedTuple):
    """A validated request; the reply is a list if `is_list`."""

    texts: list[str]
    is_list: bool
    source: str
    target: str
    alternatives: int
    is_html: bool


def _asked(fields: Fields, registry: Registry, settings: Settings) -> _Asked:
    """Validate a request, with LibreTranslate's order of checks and error texts."""
    texts, is_list = _texts(fields)
    for name in ("source", "target"):
        _code(fields, name)
    alternatives = _alternatives(fields, settings.max_alternatives)
    if len(texts) > settings.max_texts:
        raise _exceeds(len(texts), settings.max_texts)
    longest = max(map(len, texts))
    if longest > settings.max_text_characters:
        raise _exceeds(longest, settings.max_text_characters)
    form = fields.first("format")
    if form not in (None, "", "text", "html"):
        raise HTTPException(400, f"{str(form)[:100]} format is not supported")
    source, target = _pair(fields, registry)
    return _Asked(texts, is_list, source, target, alternatives, form == "html")


def _pair(fields: Fields, registry: Registry) -> tuple[str, str]:
    """Return the source language, which may be "auto", and the target language."""
    pairs = registry.pairs()
    known = dict.fromkeys(code for pair in pairs for code in (pair[0], pair[1]))
    given = _code(fields, "source"), _code(fields, "target")
    source, target = (read_code(code, known) or code for code in given)
    for asked, code in zip(given, (source, target), strict=True):
        if code != AUTO and not any(code in pair for pair in pairs):
            raise HTTPException(400, f"{_ISO.get(asked, asked)[:100]} is not supported")
    if target == AUTO:
        raise HTTPException(400, "auto is not supported")
    if source != target and not any(target == other and source in (AUTO, known) for known, other in pairs):
        source = pairs[0][0] if source == AUTO else source
        from_, to = (f"{languages.name(code)} ({_iso(code)})" for code in (source, target))
        raise HTTPException(400, f"{to} is not available as a target language from {from_}")
    return source, target


def _texts(fields: Fields) -> tuple[list[str], bool]:
    """Return the texts, and whether they came as a list: in JSON, or as JSON in a form field, as Nextcloud sends it."""
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
        if fields.is_json and not (
            given is None or isinstance(given, str) or (type(given) in (int, float) and given == given // 1)
        ):
            raise ValueError
        number = int(given or 0)
    except (TypeError, ValueError, OverflowError):
        raise HTTPException(400, "Invalid request: alternatives parameter is not a number") from None
    if number > most:
        raise HTTPException(400, f"Invalid request: alternatives parameter must be <= {most}")
    return max(0, number)


def _exceeds(size: int, limit: int) -> HTTPException:
    return HTTPException(400, f"Invalid request: request ({size}) exceeds text limit ({limit})")


def _translated(asked: _Asked, outcome: Outcome) -> LibreTranslations:
    """Return the reply: its fields are lists if `q` was, and optional ones are present only if requested."""

    def shaped(values: list[Any]) -> Any:
        return values if asked.is_list else values[0]

    reply: LibreTranslations = {
        "translatedText": shaped([translation.best.text for translation in outcome.translations])
    }
    if asked.source == AUTO:
        reply["detectedLanguage"] = shaped([_detection(detected) for detected in outcome.detected])
    if asked.alternatives:
        reply["alternatives"] = shaped([_alternative_texts(translation) for translation in outcome.translations])
    return reply


def _alternative_texts(translation: Translation) -> list[str]:
    return [alternative.text for alternative in translation.alternatives]


def _detection(detected: Detected) -> LibreDetected:
    """Return a detection in LibreTranslate's form, with the confidence in percent."""
    confidence = round(100 * detected.confidence, 2)
    return {"confidence": confidence, "language": _iso(detected.language)}


def codes(pairs: Iterable[Pair]) -> tuple[list[str], list[str]]:
    """Return the source and the target languages of pairs by the codes that replies have."""
    sources, targets = zip(*pairs, strict=True) if pairs else ((), ())
    return [_iso(code) for code in dict.fromkeys(sources)], [_iso(code) for code in dict.fromkeys(targets)]


def _iso(code: str) -> str:
    return _ISO.get(code) or canonical(code)
