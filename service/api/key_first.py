"""Middleware that asks for the API key before a large body is read, where the headers carry the key."""

import asyncio
import re
from collections.abc import Callable

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.accounts.keys import Keys
from service.api.native_key import native_key

_SMALL_BYTES = 64 << 10  # read at once in any case


class KeyFirst:
    """Refuse a body of a client without a valid key before its first byte is taken.

    LibreTranslate's clients, and old ones of DeepL, send the key in the body: those are checked once it is there.
    """

    def __init__(self, app: ASGIApp, keys: Keys, native: re.Pattern[str], deepl: re.Pattern[str]) -> None:
        """Guard the paths of two dialects.

        Args:
            app: What is guarded.
            keys: The API keys.
            native: Matches the paths of the native API.
            deepl: Matches those of DeepL's.
        """
        self._app, self._keys = app, keys
        self._readers: list[tuple[re.Pattern[str], Callable[[Request], str | None]]] = [
            (native, native_key),
            (deepl, _deepl_key),
        ]

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
        reader = next((reader for paths, reader in self._readers if paths.match(scope["path"])), None)
        if not is_large or reader is None or (reader is _deepl_key and reader(request) is None):
            await self._app(scope, receive, send)
            return
        key, checked = reader(request), False

        async def after_check() -> Message:
            nonlocal checked
            if not checked:
                await asyncio.to_thread(self._keys.usage, key)  # raises where there is no such key
                checked = True
            return await receive()

        await self._app(scope, after_check, send)


def _deepl_key(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "deepl-auth-key" else None
