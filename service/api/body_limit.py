"""Middleware that refuses large heads, and large or compressed bodies, before anything parses them."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import refusal

_UPLOADS = frozenset({"/v1/files", "/translate_file", "/v2/document"})


class BodyLimit:
    """413 above `max_bytes`, by Content-Length and by what really arrives; 415 for an encoded body; 431 for headers."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_file_bytes: int, max_header_bytes: int) -> None:
        """`max_bytes`: the largest body that passes; `max_header_bytes`: the largest request line and headers.

        `max_file_bytes`: the largest file; the other fields of its form may have 64 KiB.
        """
        self._app, self._max_bytes, self._max_header_bytes = app, max_bytes, max_header_bytes
        self._max_upload_bytes = max_file_bytes + (64 << 10)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # the HTTP server's own limit is for heads that arrive in parts; one that comes whole passes it
        if _head_bytes(scope) > self._max_header_bytes:
            sentence = f"The headers are larger than {self._max_header_bytes:,} bytes."
            await refusal(scope["path"], 431, sentence, {"Connection": "close"})(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").lower() != "identity":
            # decompressing would need a limit of its own against bodies that inflate a thousandfold
            await refusal(scope["path"], 415, "Send the body without Content-Encoding.")(scope, receive, send)
            return
        max_bytes = self._max_upload_bytes if scope["path"] in _UPLOADS else self._max_bytes
        too_large = f"The body is larger than {max_bytes:,} bytes; send less text in a request."
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > max_bytes:
            await refusal(scope["path"], 413, too_large)(scope, receive, send)
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
