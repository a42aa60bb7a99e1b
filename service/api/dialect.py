"""One API that clients speak: the paths it owns and the form of its errors."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastapi import Response

from service.api.json_reply import JsonReply


@dataclass(frozen=True)
class Dialect:
    """The paths of one API, and how its clients expect errors.

    Attributes:
        paths: Matches the beginning of each path that the dialect owns, whether or not a route serves it.
        error_field: JSON field that holds the sentence of an error.
        refusals: Status and text for exceptions where the dialect differs from `errors.STATUS`; `{}` in the text
            stands for the exception's own sentence. Subclasses of an exception need an entry of their own.
        not_found: Sentence of a 404 for a path that no route serves.
        uploads: Paths whose bodies may be as large as a file.
        has_codes: Whether its errors have a `code`, too: a stable name of the kind, for programs.
    """

    paths: re.Pattern[str]
    error_field: str = "error"
    refusals: Mapping[type[Exception], tuple[int, str]] = field(default_factory=dict)
    not_found: str = "There is nothing at this path; /docs lists what there is."
    uploads: frozenset[str] = frozenset()
    has_codes: bool = False

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
        codes = {"code": code or CODES.get(status, "refused")} if self.has_codes else {}
        return JsonReply({self.error_field: sentence, **codes}, status, headers)


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
_OTHERS = Dialect(re.compile(""), has_codes=True)  # pages, health checks, /admin, and paths that nobody owns


def dialect_of(path: str, dialects: Iterable[Dialect]) -> Dialect:
    """Return the dialect that owns a path, or one with the default form of errors."""
    return next((dialect for dialect in dialects if dialect.paths.match(path)), _OTHERS)
