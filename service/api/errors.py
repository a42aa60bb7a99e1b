"""HTTP status and headers of each exception, and the handlers that turn exceptions into error replies.

A dialect states what it does differently in its `Dialect`.
"""

import logging
import re
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from models.format.schema import ModelError, UnavailableConfiguration
from service.accounts.glossaries import UnknownDictionary, UnknownGlossary
from service.accounts.keys import MissingKey, QuotaExceeded, RateExceeded, WrongKey
from service.accounts.unavailable import StoreUnavailable
from service.api.dialect import CODES, Dialect, Refused, dialect_of
from service.api.schemas import Body, Error
from service.files import FileRefused, UnknownFormat
from service.files.room import NoRoom
from service.live.desired import CanaryConflict
from service.live.history import TooManyFollowers
from service.live.memory import InsufficientMemory
from service.live.model import NotLive, NotReady, SelfTestFailed, SwapTookTooLong, UnknownModel
from service.live.registry import LastModel, SwapInProgress
from service.live.routing import UnsupportedPair
from service.observability.middleware import REQUEST_ID
from service.observability.request_context import current
from service.requests.disconnect import ClientClosed
from service.requests.dispatch import DeadlineExceeded
from service.requests.file_jobs import TooManyFiles, UnknownFile
from service.text.glossary import GlossaryRefused
from service.translation.results import LimitExceeded
from service.translation.scheduler import QueueFull, SchedulerClosed

STATUS: dict[type[Exception], int] = {
    MissingKey: 401,
    WrongKey: 403,
    RateExceeded: 429,
    QuotaExceeded: 429,
    StoreUnavailable: 503,
    UnsupportedPair: 422,
    LimitExceeded: 422,
    GlossaryRefused: 422,
    UnknownGlossary: 404,
    UnknownDictionary: 404,
    UnavailableConfiguration: 422,
    ModelError: 422,
    NotLive: 404,
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
    NoRoom: 507,
    ClientClosed: 499,  # nobody reads it; it is counted
    ClientDisconnect: 499,  # before the body was there
    DeadlineExceeded: 504,
}
MEANING = {
    400: "The body is not valid JSON in UTF-8.",
    401: "The bearer token or the API key is missing, or the bearer token is wrong.",
    403: "The API key is missing or wrong, or the function is disabled.",
    404: "The model, live configuration, file or glossary does not exist.",
    409: "Another swap is running, a canary prevents it, the model is the only one, or a file is not translated yet.",
    413: "The body is too large.",
    415: "The media type of the body is not supported, or the body is compressed.",
    422: "The content of the request is refused; the error says which field and why.",
    429: "The queue is full, too many streams are open, or the API key is over its limits; retry after Retry-After.",
    503: "No model is ready, or a store cannot be reached.",
    504: "The request took longer than the settings or its X-Request-Timeout-Ms allow.",
    507: "The configuration does not fit into the memory limit, or the disk has no room for the file.",
}


UNEXPECTED = "The server failed; its log says why."
_METHOD_NOT_ALLOWED = "This path does not take that method; /docs lists what it takes."


def documented(*statuses: int, model: type[Body] = Error) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for the OpenAPI.

    Args:
        statuses: Statuses of errors, all in MEANING.
        model: Body of the errors.
    """
    return {status: {"model": model, "description": MEANING[status]} for status in statuses}


def status_of(error: Exception) -> int:
    """Return the HTTP status of an exception in the native dialect; 500 if it is unexpected."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, RequestValidationError):
        return 422
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def code_of(error: Exception) -> str:
    """Return the stable name of an exception's kind: LimitExceeded is `limit_exceeded`."""
    if isinstance(error, Refused):
        return error.code
    if isinstance(error, HTTPException | RequestValidationError):
        return CODES.get(status_of(error), "refused")
    kind = next((kind for kind in type(error).__mro__ if kind in STATUS), None)
    return CODES[500] if kind is None else re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def sentence_of(error: Exception) -> str:
    """Return the sentence of an exception for a reply whose status has already been sent."""
    known = isinstance(error, HTTPException) or status_of(error) != 500
    if not known:
        logging.getLogger("sub3").error("a stream failed", exc_info=error)
    return str(error.detail if isinstance(error, HTTPException) else error) if known else UNEXPECTED


def install(app: FastAPI, dialects: Sequence[Dialect]) -> None:
    """Turn exceptions into error replies, each in the form of the dialect that owns the path."""

    async def known(request: Request, error: Exception) -> Response:
        dialect = dialect_of(request.url.path, dialects)
        status, text = dialect.refusals.get(type(error), (status_of(error), "{}"))
        return dialect.refusal(status, text.format(error), _headers(error), code_of(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        dialect = dialect_of(request.url.path, dialects)
        # the framework's own words, as sentences
        sentences = {"Not Found": dialect.not_found, "Method Not Allowed": _METHOD_NOT_ALLOWED}
        headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else error.headers
        return dialect.refusal(error.status_code, sentences.get(error.detail, error.detail), headers, code_of(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return dialect_of(request.url.path, dialects).refusal(status_of(error), _validation_sentence(error))

    async def unexpected(request: Request, error: Exception) -> Response:
        logging.getLogger("sub3").error("%s %r failed", request.method, request.url.path, exc_info=error)
        # made outside of the middleware that adds the id to other replies
        return dialect_of(request.url.path, dialects).refusal(500, UNEXPECTED, {REQUEST_ID: current().id})

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
    soon = NotReady | SchedulerClosed | StoreUnavailable | SwapTookTooLong | TooManyFollowers
    return {"Retry-After": "1"} if isinstance(error, soon) else {}


def _allowed(request: Request) -> list[str]:
    """Return the methods of a path; each may be a route of its own, and HEAD is wherever GET is."""
    routes, scope = request.app.routes, request.scope
    methods = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ["HEAD", *methods] if "GET" in methods else methods


def _validation_sentence(error: RequestValidationError) -> str:
    """Return a sentence on the first problem; the others usually repeat it. Input values are never quoted."""
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
