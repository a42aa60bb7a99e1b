"""uvicorn's HTTP/1.1 connection with limits on slow clients, on what they send, and on what they hold.

The head of a request must arrive within `header_seconds` of the connection's start (of the head's own first byte on a
connection that was kept alive), its body within `body_seconds` of the end of the head. Further bytes extend neither.
What is written must be read within `write_seconds`.

The parts of uvicorn used here are private, so pyproject.toml has one version of it, and
tests/service/http/test_uvicorn_contract.py names each of them. The callbacks on_message_begin to on_message_complete
are those of httptools. docs/decisions/0015-httptools.md tells why it is this one.
"""

import asyncio
import http
import re
import socket
import sys
from functools import partial
from typing import Any, Literal, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.paired_writes import PairedWrites
from service.http.shares import Refusal, Shares
from service.observability.middleware import CONTEXT, REFUSED, REQUEST_ID, log_access, new_id
from service.observability.request_context import RequestContext
from service.settings import Settings

# After a refusal, bytes of the client are read and dropped for this long: closing at once would reset the connection,
# and a client that is still sending would never see the reply.
_LINGER_S = 1.0
# A body that the app has refused is read to its end and dropped, up to so many bytes and until its time is over.
_DROPPED_BYTES = 64 << 20
_MAX_PIPELINED = 8  # requests that wait for the one before
_PIECES, _PIECE_BYTES = (
    1000,
    16,
)  # of a body: so many pieces may be of any size, the others have so many bytes on average
_FRAME_BYTES = 64 << 10  # of a body on the wire, beside as much again as the body has: sizes of chunks, trailers
_READ_BYTES = 64 << 10  # that a client must have read in `write_seconds`
# The parser drops the body of a request that offers another protocol, as those of Java's client do; no offer is taken.
# One in a head that comes in parts is refused.
_UPGRADE = re.compile(rb"(?<=\n)upgrade(?=:)", re.IGNORECASE)
_PROBE = b"HTTP/1.1 102 Processing\r\n\r\n"
_PROBED_S = (0.05, 0.5)  # after which a client that has closed, not only ended what it sends, must have said so

_MALFORMED = Refusal(400, "Malformed HTTP/1.1 request.")

# What the client sends: a head (or nothing yet), a body, or nothing, for it waits for the reply.
_Sends = Literal["head", "body", "nothing"]


class _Refused(Exception):
    """Raised in a callback of the parser, which ends it."""

    def __init__(self, refusal: Refusal) -> None:
        """Take what the client reads."""
        super().__init__(refusal.sentence)
        self.refusal = refusal


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """Return the connection class for uvicorn's `http` option."""

    class Connection(LimitedConnection):
        limits = settings
        shares = Shares(settings)

    return Connection


class LimitedConnection(HttpToolsProtocol):
    """One connection. It overrides hooks of asyncio, httptools and uvicorn, and adds timers."""

    limits: Settings
    shares: Shares

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        """Take the arguments that uvicorn passes."""
        super().__init__(*arguments, **keywords)
        self._sends: _Sends = "head"
        self._timed: _Sends = "nothing"  # what the timer limits
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._share: str | None = None
        # of the message that is received: on the wire before the body, in headers, on the wire with the body, in it
        self._before_bytes = self._header_bytes = self._wire_bytes = self._body_bytes = 0
        self._pieces = 0
        self._held_bytes = 0  # of all messages that are not answered
        self._dropped_bytes = 0  # of a message that is answered before its end
        self._closes = False  # at the end of the message
        self._writing: asyncio.TimerHandle | None = None
        self._read_bytes = 0  # that the client had read when that timer was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if there are too many; otherwise wait for a head."""
        paired = PairedWrites(transport, self.loop, self._watch_reader, self._lingers)
        super().connection_made(cast(asyncio.Transport, paired))
        peer = transport.get_extra_info("peername")
        self._share = self.shares.share_of(peer[0]) if isinstance(peer, tuple) else None
        refusal = self.shares.connect(self._share)
        if refusal is not None and self.shares.is_flooded:
            transport.abort()
        elif refusal is not None:
            self._refuse(refusal)
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle bytes of the client."""
        if self._refused:
            return
        if self._sends == "body":
            self._wire_bytes += len(data)
        else:
            self._before_bytes += len(data)
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"X-Upgrade", head) + end + rest
        super().data_received(data)
        if self._sends != "body" and self._before_bytes > self.limits.max_header_bytes:
            self._refuse(self._large_head())
        elif self._sends == "body" and self._wire_bytes > _FRAME_BYTES + 2 * self._body_bytes:
            self._refuse(Refusal(400, "The body has more bytes around its chunks than in them."))
        self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays open: a client may end what it sends and still read the reply.

        One that has gone looks the same until it is sent something, so an interim reply is.
        """
        if self._refused or self._sends == "body" or not self._is_answering:
            return False
        self.cycle.keep_alive = False
        if not self.cycle.response_started and self.scope["http_version"] == "1.1":
            self.transport.write(_PROBE)
            for seconds in _PROBED_S:
                self.loop.call_later(seconds, self._drop_if_reset)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and give back what was held."""
        self._set_timer(None)
        self._stop_watching_reader()
        self._release()
        self.shares.leave(self._share)
        super().connection_lost(exc)

    # callbacks of httptools

    def on_message_begin(self) -> None:
        """Begin a head, unless too many requests wait for their turn."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise _Refused(Refusal(400, f"More than {_MAX_PIPELINED} requests were sent before the first one's reply."))
        self._sends = "head"
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take the address, or a part of it, while it is not too large."""
        self._header_bytes += len(url)
        if self._header_bytes > 2 * self.limits.max_header_bytes:
            raise _Refused(self._large_head())
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a field of the trailers, while they are not too large."""
        self._header_bytes += len(name) + len(value) + 4  # ": " and the line's end
        if self._header_bytes > 2 * self.limits.max_header_bytes:  # below, the app refuses in its dialect's form
            raise _Refused(self._large_head())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request."""
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            raise _Refused(_MALFORMED)
        if self.parser.should_upgrade():
            raise _Refused(Refusal(400, "This server speaks HTTP/1.1 only; send the request without Upgrade."))
        super().on_headers_complete()
        self._sends = "body"
        self._wire_bytes = self._body_bytes = self._pieces = 0

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, while the pieces are large enough and not too much is held."""
        self._pieces, self._body_bytes = self._pieces + 1, self._body_bytes + len(body)
        if self._pieces > _PIECES + self._body_bytes // _PIECE_BYTES:
            raise _Refused(
                Refusal(400, f"The body comes in pieces of less than {_PIECE_BYTES} bytes; send larger ones.")
            )
        if self.cycle.response_complete:
            self._dropped_bytes += len(body)
            if self._dropped_bytes > _DROPPED_BYTES:
                self.transport.abort()
            return
        self._held_bytes += len(body)
        if (refusal := self.shares.hold(self._share, len(body))) is not None:
            raise _Refused(refusal)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait: it is the server's turn."""
        self._sends = "nothing"
        self._before_bytes = self._header_bytes = self._dropped_bytes = 0
        super().on_message_complete()
        if self._closes:
            self.transport.close()

    # hooks of uvicorn

    def on_response_complete(self) -> None:
        """Wait for the next request: the app has sent its reply."""
        self._release()
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be parsed; uvicorn calls this while it handles the exception."""
        error = sys.exception()
        cause = None if error is None else error.__context__
        self._refuse(cause.refusal if isinstance(cause, _Refused) else _MALFORMED)

    # limits

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _large_head(self) -> Refusal:
        return Refusal(431, f"The headers are larger than {self.limits.max_header_bytes:,} bytes.")

    def _release(self) -> None:
        self.shares.release(self._share, self._held_bytes)
        self._held_bytes = 0

    def _watch(self) -> None:
        """Set the timer for what the client must send next; within a phase it runs on."""
        awaited: _Sends = self._sends
        if awaited != "body" and (self._is_answering or self.timeout_keep_alive_task is not None):
            awaited = "nothing"  # it is the server's turn, or uvicorn's own timer runs between two requests
        elif awaited == "nothing":
            awaited = "head"
        if self._refused or awaited == self._timed:
            return
        self._timed = awaited
        if awaited == "nothing":
            self._set_timer(None)
        else:
            seconds = self.limits.header_seconds if awaited == "head" else self.limits.body_seconds
            what = "headers" if awaited == "head" else "body"
            late = partial(self._refuse, Refusal(408, f"The request's {what} took too long."))
            self._set_timer(self.loop.call_later(seconds, late))

    def _lingers(self) -> bool:
        """Return whether the connection must not be closed yet: the client is still sending a body that is refused.

        Closing would reset it, and the client would see that instead of the refusal. The timer of the body goes on.
        """
        self._closes = self._sends == "body" and not self._refused and not self.transport.is_closing()
        return self._closes

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _watch_reader(self) -> None:
        """Set the timer of reading while something waits to be read; called after each write."""
        if self._writing is None and self.transport.get_write_buffer_size() > 0:
            self._read_bytes = self._read()
            self._writing = self.loop.call_later(self.limits.write_seconds, self._drop_if_slow)

    def _read(self) -> int:
        """Return the bytes that have been handed to the client's system so far."""
        return cast(PairedWrites, self.transport).written_bytes - self.transport.get_write_buffer_size()

    def _drop_if_slow(self) -> None:
        self._writing = None
        waiting = self.transport.get_write_buffer_size()
        if waiting > 0 and self._read() - self._read_bytes < _READ_BYTES:
            self.transport.abort()
        else:
            self._watch_reader()

    def _stop_watching_reader(self) -> None:
        if self._writing is not None:
            self._writing.cancel()

    def _drop_if_reset(self) -> None:
        """Drop the connection if its client has answered the probe with a reset."""
        opened: socket.socket | None = self.transport.get_extra_info("socket")
        if opened is not None and opened.fileno() >= 0 and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Send an error unless a reply has begun, and close. A running app sees that the client disconnected."""
        if self._refused:
            return
        self._refused = True
        context = RequestContext(new_id())
        if self._is_answering:
            unanswered = not self.cycle.response_started
            scope: Any = self.cycle.scope
            context = scope.get(CONTEXT, context)
            if unanswered:
                scope[REFUSED] = refusal.status  # the app may still send a reply of its own, which is dropped
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif unanswered := self._sends != "body":
            log_access("-", "none", refusal.status, None, context)  # the request never reached the app
        if self.transport.is_closing():
            return
        if unanswered:
            self.transport.write(_reply(refusal, context.id))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_timer(self.loop.call_later(_LINGER_S, self.transport.abort))


_CODES = {
    400: "malformed_request",
    408: "too_slow",
    429: "too_many_connections",
    431: "headers_too_large",
    503: "too_many_connections",
}


def _reply(refusal: Refusal, request_id: str) -> bytes:
    body = orjson.dumps({"error": refusal.sentence, "code": _CODES[refusal.status]})
    head = [
        f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        f"{REQUEST_ID}: {request_id}",
        *(["Retry-After: 1"] if refusal.status in (429, 503) else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
