"""Middleware that refuses large heads, and large or compressed bodies, before anything parses them."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.dialect import Dialect, dialect_of

_FORM_FIELDS_BYTES = 64 << 10  # of an upload, beside the file


class BodyLimit:
    """Refuse large bodies by Content-Length and by bytes received (413), encoded bodies (415), large headers (431)."""

    def __init__(
        self,
        app: ASGIApp,
        dialects: Sequence[Dialect],
        max_bytes: int,
        max_file_bytes: int,
        max_header_bytes: int,
    ) -> None:
        """Limit the requests of an app.

        Args:
            dialects: The paths that take uploads, and the form of errors.
            max_bytes: The largest body that passes.
            max_file_bytes: The largest file of an upload; the other fields of its form may have 64 KiB.
            max_header_bytes: The largest request line and headers together.
        """
        self._app, self._dialects = app, dialects
        self._max_bytes, self._max_header_bytes = max_bytes, max_header_bytes
        self._max_upload_bytes = max_file_bytes + _FORM_FIELDS_BYTES
        self._uploads = [dialect.uploads for dialect in dialects if dialect.uploads is not None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
            reply = dialect_of(scope["path"], self._dialects).refusal(status, sentence, headers)
            await reply(scope, receive, send)

        # the HTTP server's own limit is for heads that arrive in parts; one that comes whole passes it
        if _head_bytes(scope) > self._max_header_bytes:
            sentence = f"The headers are larger than {self._max_header_bytes:,} bytes."
            await refuse(431, sentence, {"Connection": "close"})
            return
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").lower() != "identity":
            # decompressing would need a limit of its own against bodies that inflate a thousandfold
            await refuse(415, "Send the body without Content-Encoding.")
            return
        is_upload = any(paths.fullmatch(scope["path"]) for paths in self._uploads)
        max_bytes = self._max_upload_bytes if is_upload else self._max_bytes
        too_large = f"The body is larger than {max_bytes:,} bytes; send less text in a request."
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > max_bytes:
            await refuse(413, too_large)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > max_bytes:
                    raise HTTPException(413, too_large)
            return message

        await self._app(scope, counted, send)


def _head_bytes(scope: Scope) -> int:
    target: int = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return target + sum(len(name) + len(value) + 4 for name, value in scope["headers"])  # ": " and the line's end
