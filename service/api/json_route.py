"""Routes whose request body is JSON, read strictly: UTF-8, no NaN, no lone surrogates, bounded depth."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException


class JsonRequest(Request):
    """A request that parses its body with orjson, which is stricter and faster than the standard library."""

    async def json(self) -> Any:
        """The body.

        Raises:
            HTTPException: 400, it is no JSON.
        """
        try:
            return orjson.loads(await self.body())
        except orjson.JSONDecodeError as error:
            raise HTTPException(400, f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None


class JsonRoute(APIRoute):
    """FastAPI's route with JsonRequest for its request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that FastAPI calls."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if request.method in ("POST", "PUT"):
                kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
                if kind != "application/json" and not kind.endswith("+json"):
                    raise HTTPException(415, "Send JSON with the header Content-Type: application/json.")
            return await handler(JsonRequest(request.scope, request.receive))

        return strict
