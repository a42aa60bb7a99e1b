"""Fixtures of the service's tests: the tiny models and servers over them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from tests.service.running import AUTHORIZED, TOKEN, Server, serve
from tests.service.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a progressive model: every configuration of it can be served."""
    return write_tiny_model(tmp_path_factory.mktemp("progressive") / "tiny")


@pytest.fixture(scope="session")
def specialised_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model specialised to `full`."""
    return write_tiny_model(tmp_path_factory.mktemp("specialised") / "tiny", "specialised")


@pytest.fixture(scope="session")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one server for the tests that leave it as they found it; without /admin."""
    glossaries = tmp_path_factory.mktemp("glossaries") / "glossaries.sqlite3"
    with serve(Settings(model_directory=tiny_model, threads=2, glossaries_file=glossaries)) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Open a client of `server`."""
    with httpx.Client(base_url=server.url, timeout=60) as connection:
        yield connection


@pytest.fixture
def admin(tiny_model: Path) -> Iterator[httpx.Client]:
    """Open a client with the token of a server of its own."""
    with (
        serve(Settings(model_directory=tiny_model, threads=2, admin_token=TOKEN)) as running,
        httpx.Client(base_url=running.url, headers=AUTHORIZED, timeout=60) as connection,
    ):
        yield connection
