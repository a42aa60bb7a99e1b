"""One API that clients speak: the paths it owns, the form of its errors, and where a request has its key."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from service.api.json_reply import JsonReply


def plain_error(status: int, sentence: str, code: str) -> dict[str, Any]:
    """Return the body of an error that is its sentence alone."""
    return {"error": sentence}


def coded_error(status: int, sentence: str, code: str) -> dict[str, Any]:
    """Return the body of an error that has a code, too: a stable name of its kind, for programs."""
    return {"error": sentence, "code": code}


class Refused(HTTPException):
    """A refusal for whose kind the dialect has a code of its own."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        """Refuse with a sentence on what is wrong and what to do."""
        super().__init__(status, sentence)
        self.code = code


@dataclass(frozen=True)
class Dialect:
    """The paths of one API, and how its clients expect errors.

    Attributes:
        paths: Matches the beginning of each path that the dialect owns, whether or not a route serves it.
        error: Returns the body of an error from its status, its sentence and its code: one of CODES, the name of an
            exception of `errors.STATUS`, or the dialect's own by `Refused`.
        refusals: Status and text for exceptions where the dialect differs from `errors.STATUS`; `{}` in the text
            stands for the exception's own sentence. Subclasses of an exception need an entry of their own.
        not_found: Sentence of a 404 for a path that no route serves.
        uploads: Matches the paths whose bodies may be as large as a file; None if there is none.
        head_key: Returns the API key that the head of a request has; None if the dialect has it in bodies alone.
        body_key: Whether a body may have the key where the head has none.
        foreign_headers: Those that pages of any origin may send with its requests (CORS); None if only pages of this
            server may use the dialect.
    """

    paths: re.Pattern[str]
    error: Callable[[int, str, str], dict[str, Any]] = plain_error
    refusals: Mapping[type[Exception], tuple[int, str]] = field(default_factory=dict)
    not_found: str = "There is nothing at this path; /docs lists what there is."
    uploads: re.Pattern[str] | None = None
    head_key: Callable[[Request], str | None] | None = None
    body_key: bool = False
    foreign_headers: str | None = None

    def refusal(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None, code: str | None = None
    ) -> Response:
        """Return an error reply.

        Args:
            status: of HTTP.
            sentence: what is wrong and what to do.
            headers: of the reply.
            code: the kind of the error; by default that of the status.
        """
        return JsonReply(self.error(status, sentence, code or CODES.get(status, "refused")), status, headers)


# Codes of errors that are no exception of ours.
CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    411: "length_required",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    431: "headers_too_large",
    500: "internal",
    503: "unavailable",
}
_OTHERS = Dialect(re.compile(""), error=coded_error)  # pages, health checks, /admin, and paths that nobody owns


def dialect_of(path: str, dialects: Iterable[Dialect]) -> Dialect:
    """Return the dialect that owns a path, or one with the default form of errors."""
    return next((dialect for dialect in dialects if dialect.paths.match(path)), _OTHERS)
