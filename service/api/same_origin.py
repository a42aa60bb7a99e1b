"""Middleware against cross-site request forgery: a page of another site can't have its visitor's browser change things.

On a server without keys a form on any page could make glossaries, and stand behind a firewall while it does. Browsers
tell where a request comes from (Sec-Fetch-Site, or Origin in old ones); other clients send neither.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.dialect import Dialect, dialect_of

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN = "A page of another site sent this request; send it from a program, or from a page of this server."


class SameOrigin:
    """Refuse requests that change something and come from a page of another origin (403)."""

    def __init__(self, app: ASGIApp, dialects: Sequence[Dialect]) -> None:
        """Guard an app; the dialects tell which of them pages of any origin may use."""
        self._app, self._dialects = app, dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["method"] not in _SAFE and _is_foreign(Headers(scope=scope)):
            dialect = dialect_of(scope["path"], self._dialects)
            if dialect.foreign_headers is None:
                await dialect.refusal(403, _FOREIGN)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_foreign(headers: Headers) -> bool:
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != headers.get("host", "")
    except ValueError:  # no address at all
        return True
