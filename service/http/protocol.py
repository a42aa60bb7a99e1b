"""uvicorn's HTTP/1.1 connection with limits on slow clients, header bytes and the number of connections.

The head of a request must arrive within `header_seconds` of the connection's start (of the head's own first byte on a
connection that was kept alive), its body within `body_seconds` of the end of the head. Further bytes extend neither.

The parts of uvicorn used here are private; tests/service/http/test_uvicorn_contract.py names each of them.
"""

import asyncio
import http
import sys
from functools import partial
from typing import Any, cast

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.http.paired_writes import PairedWrites
from service.observability.middleware import CONTEXT, REFUSED, REQUEST_ID, log_access, new_id
from service.observability.request_context import RequestContext
from service.settings import Settings

# After a refusal, bytes of the client are read and dropped for this long: closing at once would reset the connection,
# and a client that is still sending would never see the reply.
_LINGER_S = 1.0


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """Return the connection class for uvicorn's `http` option."""

    class Connection(LimitedConnection):
        limits = settings

    return Connection


class LimitedConnection(H11Protocol):
    """One connection. It overrides hooks of asyncio and uvicorn, and adds one timer."""

    limits: Settings

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        """Take the arguments that uvicorn passes."""
        super().__init__(*arguments, **keywords)
        self._phase: object = None  # state of the client, of h11's, that the timer limits
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if there are too many; otherwise wait for a head."""
        super().connection_made(cast(asyncio.Transport, PairedWrites(transport, self.loop)))
        if len(self.connections) > 2 * self.limits.max_connections:
            transport.abort()  # beyond twice the limit not even a refusal is sent
        elif len(self.connections) > self.limits.max_connections:
            self._refuse(503, f"The server has its {self.limits.max_connections} connections; retry in a moment.")
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle bytes of the client."""
        if not self._refused:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request: the app has sent its reply."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._set_timer(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 could not parse; uvicorn calls this while it handles the exception."""
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._refuse(431, f"The headers are larger than {self.limits.max_header_bytes:,} bytes.")
        else:
            self._refuse(400, "Malformed HTTP/1.1 request.")

    def _watch(self) -> None:
        """Set the timer for what the client must send next; within a phase it runs on."""
        phase: object = self.conn.their_state
        if self._refused or (phase is h11.IDLE and self.timeout_keep_alive_task is not None):
            phase = None  # between two requests uvicorn's own timer runs
        if phase is self._phase:
            return
        if phase is h11.IDLE:
            self._set_timer(self.limits.header_seconds, "The request's headers took too long.")
        elif phase is h11.SEND_BODY:
            self._set_timer(self.limits.body_seconds, "The request's body took too long.")
        elif not self._refused:
            self._set_timer(None)
        self._phase = phase

    def _set_timer(self, seconds: float | None, sentence: str = "") -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, partial(self._refuse, 408, sentence))

    def _refuse(self, status: int, sentence: str) -> None:
        """Send an error unless a reply has begun, and close. A running app sees that the client disconnected."""
        self._refused = True
        unanswered = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        context = RequestContext(new_id())
        if self.cycle is not None and not self.cycle.response_complete:
            scope: Any = self.scope
            context = scope.get(CONTEXT, context)
            if unanswered:
                scope[REFUSED] = status  # the app may still send a reply of its own, which is dropped
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif unanswered:
            log_access("-", "none", status, None, context)  # the request never reached the app
        if self.transport.is_closing():
            return
        if unanswered:
            self.transport.write(_reply(status, sentence, context.id))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_timer(None)
        self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)


_CODES = {400: "malformed_request", 408: "too_slow", 431: "headers_too_large", 503: "too_many_connections"}


def _reply(status: int, sentence: str, request_id: str) -> bytes:
    body = orjson.dumps({"error": sentence, "code": _CODES[status]})
    head = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        f"{REQUEST_ID}: {request_id}",
        *(["Retry-After: 1"] if status == 503 else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
