"""Access-log middleware: assigns a request id; records a log line, a metric and a span when the response ends."""

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.metrics import Metrics
from service.observability.request_context import RequestContext, begin
from service.observability.tracing import Tracing
from service.translation.cost import milliseconds_since

REQUEST_ID = "X-Request-Id"
CONTEXT = "sub3.context"  # in the ASGI scope, for the connection
REFUSED = "sub3.refused"  # in the scope, too: the status that the connection sent instead of the app
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")  # goes into a log line and a header as it is
_log = logging.getLogger("sub3.access")


def new_id() -> str:
    """Return 128 random bits in hexadecimal digits."""
    return secrets.token_hex(16)


class AccessLog:
    """ASGI middleware around the whole app. It records the request context, the route template and the status."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None) -> None:
        """Wrap `app`; without `tracing` there are no spans."""
        self._app, self._metrics, self._tracing = app, metrics, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, then record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, started_ns = time.perf_counter(), time.time_ns()
        headers = Headers(scope=scope)
        sent = headers.get(REQUEST_ID, "")
        context = begin(sent if _SAFE_ID.fullmatch(sent) else new_id())
        scope[CONTEXT] = context
        status = 500  # what the client gets when nothing was sent

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = context.id
            await send(message)

        try:
            await self._app(scope, receive, identified)
        finally:
            status = scope.get(REFUSED, status)
            route = getattr(scope.get("route"), "path", "none")  # never the raw path: it may hold anything
            self._metrics.requested(route, status)
            log_access(scope["method"], route, status, milliseconds_since(started), context)
            if self._tracing is not None:
                self._tracing.record(scope["method"], route, status, started_ns, headers, context)


def log_access(method: str, route: str, status: int, milliseconds: float | None, context: RequestContext) -> None:
    """Write one line; `record.fields` holds the same as a dictionary, for the JSON format.

    Args:
        method: of the request; "-" if it never reached the app.
        route: the template, never the path, which may hold anything; "none" where no route matches.
        status: of the response.
        milliseconds: from the first byte that the app saw to the end of the response; None if it saw none.
        context: the request's.
    """
    fields: dict[str, str | int | float | None] = {
        "request_id": context.id,
        "method": method,
        "route": route,
        "status": status,
        "ms": milliseconds,
        "key": context.key,
        "texts": context.texts,
        "characters": context.characters,
        "configuration": ",".join(model.config for model in context.cost.weights) if context.cost else None,
        "model": ",".join(model.name for model in context.cost.weights) if context.cost else None,
    }
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    _log.info("%s", rest, extra={"fields": fields})
