"""Guard of administration routes: a named bearer token, compared in constant time, and a log line for each call."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import SecretStr
from starlette.exceptions import HTTPException

from service.api.authorization import credentials
from service.api.errors import status_of
from service.api.json_route import JsonRoute

TRITON_HEADER = "admin-key"  # the name in the documentation of Triton's --http-restricted-api
WRONG_TOKEN_S = 0.5  # before the refusal: on one connection a day has 172,800 guesses
_log = logging.getLogger("sub3.admin")
# Dependencies that describe the token in the OpenAPI; the route class checks it before any body is read.
SCHEMES = {"AdminToken", "TritonAdminKey"}
BEARER = Depends(HTTPBearer(scheme_name="AdminToken", description="An administrator's token.", auto_error=False))
TRITON_KEY = Depends(
    APIKeyHeader(
        name=TRITON_HEADER, scheme_name="TritonAdminKey", description="An administrator's token.", auto_error=False
    )
)


def guarded(tokens: Mapping[str, SecretStr], route_class: type[JsonRoute] = JsonRoute) -> type[JsonRoute]:
    """Return a route class that answers 401 without one of the tokens, before any body is read, and logs each call."""
    expected = {name: token.get_secret_value().encode() for name, token in tokens.items()}

    class AdminRoute(route_class):  # type: ignore[valid-type, misc]
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                who, status = "nobody", 499  # the status if the request is cancelled: the client has disconnected
                try:
                    named = _named(request, expected)
                    if named is None:
                        await asyncio.sleep(WRONG_TOKEN_S)
                        raise _wrong_token()
                    who = request.state.admin = named
                    response: Response = await handler(request)
                    status = response.status_code
                    return response
                except Exception as error:
                    status = status_of(error)
                    raise
                finally:
                    client = request.client.host if request.client else "unknown"
                    _log.info("admin %s %r by %s from %s: %d", request.method, request.url.path, who, client, status)

            return guarded

    return AdminRoute


def _named(request: Request, expected: Mapping[str, bytes]) -> str | None:
    """Return the name of the token that the request carries; None if it carries none of them."""
    given = credentials(request, "bearer")
    if given is None:
        given = request.headers.get(TRITON_HEADER, "").strip()
    # all are compared, so that the time does not depend on which one matches
    names = [name for name, token in expected.items() if hmac.compare_digest(given.encode(), token)]
    return names[0] if names else None


def _wrong_token() -> HTTPException:
    sentence = "Send the header Authorization: Bearer with the value of SUB3_ADMIN_TOKEN."
    return HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"})
