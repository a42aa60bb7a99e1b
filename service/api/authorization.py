"""The Authorization header of a request."""

from fastapi import Request


def credentials(request: Request, scheme: str) -> str | None:
    """Return what the header has behind a scheme; None without it. `scheme` is in lower case, such as `bearer`."""
    given, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if given.lower() == scheme else None
