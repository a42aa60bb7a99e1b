"""What the tests of dialects compare their replies with."""

import httpx
import pytest

from tests.service.running import Server, texts_of, translate

HOUSE, TREE = "The old house.", "A big tree sees the river."


@pytest.fixture(scope="session")
def german(server: Server) -> dict[str, str]:
    """Translate sentences through the native dialect."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return {text: texts_of(translate(client, text))[0] for text in (HOUSE, TREE)}
