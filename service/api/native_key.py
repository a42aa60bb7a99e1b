"""The API key of native requests."""

from typing import Any

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer

from service.api.authorization import credentials

# Arguments of a route's declaration that describe in the OpenAPI where the key goes.
SECURITY: dict[str, Any] = {
    "dependencies": [
        Depends(HTTPBearer(scheme_name="ApiKeyBearer", description="The API key.", auto_error=False)),
        Depends(APIKeyHeader(name="X-Api-Key", scheme_name="ApiKey", description="The API key.", auto_error=False)),
    ]
}
DEEPL_SECURITY = Depends(
    APIKeyHeader(
        name="Authorization", scheme_name="DeepLKey", description="`DeepL-Auth-Key` and the API key.", auto_error=False
    )
)


def native_key(request: Request) -> str | None:
    """Return the API key of `Authorization: Bearer KEY` or `X-Api-Key: KEY`; the former if both are sent."""
    bearer = credentials(request, "bearer")
    return request.headers.get("x-api-key") if bearer is None else bearer
