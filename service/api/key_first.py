"""Middleware that asks for the API key before a large body is read, where the head of the request carries the key."""

import asyncio
from collections.abc import Sequence

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.accounts.keys import Keys
from service.api.dialect import Dialect, dialect_of

_SMALL_BYTES = 64 << 10  # read at once in any case


class KeyFirst:
    """Refuse a body of a client without a valid key before its first byte is taken.

    A key that is in the body, as LibreTranslate's clients and old ones of DeepL send it, is checked once it is there.
    """

    def __init__(self, app: ASGIApp, keys: Keys, dialects: Sequence[Dialect]) -> None:
        """Guard the paths of the dialects whose keys are in heads.

        Args:
            app: What is guarded.
            keys: The API keys.
            dialects: They tell where a request has its key.
        """
        self._app, self._keys, self._dialects = app, keys, dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the check comes with the first part of the body."""
        if scope["type"] != "http" or not self._keys.required:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        declared = request.headers.get("content-length", "")
        is_large = "transfer-encoding" in request.headers or (
            declared.isdecimal() and int(declared[:20]) > _SMALL_BYTES
        )
        dialect = dialect_of(scope["path"], self._dialects)
        key = None if dialect.head_key is None else dialect.head_key(request)
        if not is_large or dialect.head_key is None or (dialect.body_key and key is None):
            await self._app(scope, receive, send)
            return
        checked = False

        async def after_check() -> Message:
            nonlocal checked
            if not checked:
                await asyncio.to_thread(self._keys.usage, key)  # raises where there is no such key
                checked = True
            return await receive()

        await self._app(scope, after_check, send)
