"""The API key as the native dialect carries it."""

from typing import Any

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer

# What a route is declared with, so that the OpenAPI says where the key goes.
SECURITY: dict[str, Any] = {
    "dependencies": [Depends(HTTPBearer(auto_error=False)), Depends(APIKeyHeader(name="X-Api-Key", auto_error=False))]
}


def native_key(request: Request) -> str | None:
    """The API key of `Authorization: Bearer KEY` or `X-Api-Key: KEY`, the first if both are there."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")
