"""A JSON response of plain values."""

from typing import Any

import orjson
from fastapi import Response


class JsonReply(Response):
    """Serialise the content with orjson, without validating it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Serialise the content."""
        return orjson.dumps(content)
