"""Middleware that lets pages of any origin use the dialects that are open to them (CORS), errors and preflights too."""

from collections.abc import Sequence

from fastapi import Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.dialect import Dialect, dialect_of

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Authorization",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Max-Age": "1728000",
}


class CrossOrigin:
    """Add the CORS headers of a dialect to each reply, and answer preflights."""

    def __init__(self, app: ASGIApp, dialects: Sequence[Dialect]) -> None:
        """Wrap an app of these dialects."""
        self._app, self._dialects = app, dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = dialect_of(scope["path"], self._dialects).foreign_headers
        if allowed is None:
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({**_CORS, "Access-Control-Allow-Headers": allowed})
            await send(message)

        handler = Response() if scope["method"] == "OPTIONS" else self._app
        await handler(scope, receive, with_headers)
