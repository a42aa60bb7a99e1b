"""Every refusal is one sentence, as `{"error": ...}` or in the dialect's own shape.

Which exception is which status, in which dialect, stands here and nowhere else.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from models.format.schema import ModelError, UnavailableConfiguration
from service.accounts.glossaries import UnknownGlossary
from service.accounts.keys import MissingKey, QuotaExceeded, RateExceeded, StoreDown, WrongKey
from service.api.schemas import DeeplError, Error
from service.files import FileRefused, UnknownFormat
from service.live.desired import CanaryConflict
from service.live.history import TooManyFollowers
from service.live.memory import InsufficientMemory
from service.live.registry import (
    LastModel,
    NotLive,
    NotReady,
    SelfTestFailed,
    SwapInProgress,
    SwapTookTooLong,
    UnknownModel,
    UnsupportedPair,
)
from service.observability.middleware import REQUEST_ID
from service.observability.request_context import current
from service.requests.dispatch import DeadlineExceeded, LimitExceeded
from service.requests.file_jobs import TooManyFiles, UnknownFile
from service.text.glossary import GlossaryRefused
from service.translation.scheduler import QueueFull, SchedulerClosed

STATUS: dict[type[Exception], int] = {
    MissingKey: 401,
    WrongKey: 403,
    RateExceeded: 429,
    QuotaExceeded: 429,
    StoreDown: 503,
    UnsupportedPair: 422,
    LimitExceeded: 422,
    GlossaryRefused: 422,
    UnknownGlossary: 404,
    UnavailableConfiguration: 422,
    ModelError: 422,
    NotLive: 422,
    UnknownModel: 404,
    CanaryConflict: 409,
    LastModel: 409,
    SwapInProgress: 409,
    InsufficientMemory: 507,
    TooManyFollowers: 429,
    QueueFull: 429,
    SelfTestFailed: 500,
    NotReady: 503,
    SwapTookTooLong: 503,
    SchedulerClosed: 503,
    UnknownFormat: 422,
    FileRefused: 422,
    UnknownFile: 404,
    TooManyFiles: 429,
    DeadlineExceeded: 504,
}
MEANING = {
    400: "The body is not valid JSON in UTF-8.",
    401: "The bearer token or the API key is missing; a wrong bearer token is 401 too.",
    403: "The API key is missing or wrong, or what was asked for is turned off.",
    404: "There is no such model, file or glossary.",
    409: "Another swap is running, a canary is in the way, it is the only model, or a file is not translated yet.",
    413: "The body is too large.",
    415: "The body is of a kind that is not taken, or it is compressed.",
    422: "The body is JSON, but its content is refused: the sentence says which field and why.",
    429: "The queue or the streams are full, or the API key is over its limits; Retry-After says when to come back.",
    503: "No model is ready, or a store does not answer.",
    504: "The request took longer than the settings or its X-Request-Timeout-Ms allow.",
    507: "The configuration does not fit the memory limit beside what serves.",
}


class Dialect(NamedTuple):
    """How a dialect refuses: the field with the sentence; what differs from STATUS, with {} for our own sentence."""

    field: str
    differences: Mapping[type[Exception], tuple[int, str]]


NATIVE = Dialect("error", {})
LIBRETRANSLATE = Dialect(
    "error",
    {
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
)
DEEPL = Dialect(
    "message",
    {
        MissingKey: (403, "Authorization failed: send the API key as Authorization: DeepL-Auth-Key KEY."),
        QuotaExceeded: (456, "Quota exceeded: {}"),
        UnsupportedPair: (400, "{}"),
        LimitExceeded: (413, "{}"),
        GlossaryRefused: (400, "{}"),
        NotLive: (400, "{}"),
        UnknownFormat: (400, "{}"),
        FileRefused: (400, "{}"),
    },
)
KSERVE = Dialect(
    "error",
    {
        UnknownModel: (400, "{}"),
        UnavailableConfiguration: (400, "{}"),
        ModelError: (400, "{}"),
        NotLive: (400, "{}"),
        CanaryConflict: (400, "{}"),
    },
)
# KServe's paths begin with /v2 too: of DeepL's, each name that its clients know is listed
KSERVE_PATHS = re.compile(r"/v2/(health|models|repository)/")
LIBRETRANSLATE_PATHS = re.compile(
    r"/(translate|detect|languages|health|frontend/settings|suggest|spec|translate_file)/?|/download_file/.*"
)
DEEPL_PATHS = re.compile(r"/v2/(translate|languages|usage|glossar|document|write|admin)|/v3/")

UNEXPECTED = "The server failed; its log says why."
# What the framework says by itself, as sentences.
PLAIN = {
    "Not Found": "There is nothing at this path; /docs lists what there is.",
    "Method Not Allowed": "This path does not take that method; /docs lists what it takes.",
}


def documented(*statuses: int, model: type[Error | DeeplError] = Error) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route, for the OpenAPI."""
    return {status: {"model": model, "description": MEANING[status]} for status in statuses}


def dialect_of(path: str) -> Dialect:
    """Whose path it is."""
    if LIBRETRANSLATE_PATHS.fullmatch(path):
        return LIBRETRANSLATE
    if KSERVE_PATHS.match(path):
        return KSERVE
    return DEEPL if DEEPL_PATHS.match(path) else NATIVE


def refusal(path: str, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as the client of a path reads it."""
    body = orjson.dumps({dialect_of(path).field: sentence})
    return Response(body, status, dict(headers or {}), media_type="application/json")


def status_of(error: Exception) -> int:
    """The status that the client of an exception gets in the native dialect."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, RequestValidationError):
        return 422
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def sentence_of(error: Exception) -> str:
    """What the client of an exception reads where no status can be sent any more."""
    known = isinstance(error, HTTPException) or status_of(error) != 500
    if not known:
        logging.getLogger("sub3").error("a stream failed", exc_info=error)
    return str(error.detail if isinstance(error, HTTPException) else error) if known else UNEXPECTED


def install(app: FastAPI) -> None:
    """Map exceptions to refusals."""

    async def known(request: Request, error: Exception) -> Response:
        differences = dialect_of(request.url.path).differences
        status, words = differences.get(type(error), (status_of(error), "{}"))
        return refusal(request.url.path, status, words.format(error), _headers(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        plain = {**PLAIN, **({"Not Found": "Not found"} if dialect_of(path) is DEEPL else {})}
        return refusal(path, error.status_code, plain.get(error.detail, error.detail), error.headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return refusal(request.url.path, status_of(error), _validation_sentence(error))

    async def unexpected(request: Request, error: Exception) -> Response:
        logging.getLogger("sub3").error("%s %r failed", request.method, request.url.path, exc_info=error)
        # made outside of the middleware that adds the id to other replies
        return refusal(request.url.path, 500, UNEXPECTED, {REQUEST_ID: current().id})

    for kind in STATUS:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, QueueFull | RateExceeded | TooManyFiles):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, MissingKey):
        return {"WWW-Authenticate": "Bearer"}
    soon = NotReady | SchedulerClosed | StoreDown | SwapTookTooLong | TooManyFollowers
    return {"Retry-After": "1"} if isinstance(error, soon) else {}


def _validation_sentence(error: RequestValidationError) -> str:
    """A sentence for the first problem; the rest would only repeat it. The input itself is never quoted."""
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"][1:] if part not in ("string", "list", "[key]")]
    message = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
    if problem["type"] == "missing" and not place:
        return "The body is missing; send a JSON object."
    if problem["type"] == "extra_forbidden":
        return f"The field {place[-1][:100]!r} is unknown; leave it out."
    if not place:
        return f"The body is refused: {message}."
    return f"The field {'.'.join(place)[:200]} is refused: {message}."
