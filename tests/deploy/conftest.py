"""Images for all tests of the deployment. They need a Docker engine, so only `make test-deploy` collects them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DEFAULT_MODEL
from tests.deploy.docker import Stack, composed, settings
from tests.deploy.images import server_image, stack_images
from tests.load.sentences import sentences
from tests.load.swapping import offline_answers

collect_ignore_glob = [] if "SUB3_TEST_DEPLOY" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session", name="server_image")
def _server_image() -> str:
    """Build the server's image from these sources."""
    return server_image()


@pytest.fixture(scope="session")
def images(server_image: str) -> dict[str, str]:
    """Make sure of every image of the stack; return the variables that name third-party ones."""
    return stack_images()


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Return the texts that the load translates."""
    return sentences(64)


@pytest.fixture(scope="session")
def answers(texts: list[str]) -> dict[str, list[str]]:
    """Translate them with each configuration of the default model, by an engine of our own."""
    return offline_answers(DEFAULT_MODEL, texts)


@pytest.fixture(scope="module")
def stack(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run nginx, two replicas that ask for keys, and Redis."""
    directory: Path = tmp_path_factory.mktemp("secrets")
    with composed(settings(directory, images, SUB3_API_KEYS="true", REPLICAS="2")) as running:
        yield running


@pytest.fixture(scope="module")
def key(stack: Stack) -> dict[str, str]:
    """Add a key to Redis and return its header."""
    made = stack.compose("exec", "-T", "translate", "python", "-m", "service", "keys", "add", "load")
    return {"X-Api-Key": made.strip()}
