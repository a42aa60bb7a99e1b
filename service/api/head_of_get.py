"""Middleware that answers HEAD wherever GET is answered: monitors and load balancers probe with it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadOfGet:
    """Run GET for a HEAD request, and send the head of its reply only."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request; the reply is over with its head, so that a stream behind it sees a disconnect."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # a copy: the server and the access log still see HEAD
        inner = {**scope, "method": "GET"}
        is_over = False

        async def head_only(message: Message) -> None:
            nonlocal is_over
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                is_over = True
            else:
                await asyncio.sleep(0)  # the body is dropped; a cancelled stream ends here

        async def until_head() -> Message:
            return {"type": "http.disconnect"} if is_over else await receive()

        try:
            await self._app(inner, until_head, head_only)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]
