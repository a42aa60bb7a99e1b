"""A small model for the load tests."""

from pathlib import Path

import pytest

from tests.service.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model whose every configuration can be served."""
    return write_tiny_model(tmp_path_factory.mktemp("load") / "tiny")
