"""The model that ships, served as a newcomer does."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import service
from service.settings import Settings
from tests.service.running import AUTHORIZED, TOKEN, serve, texts_of, translate

DIRECTORY = Path(service.__file__).parent.parent / Settings.model_fields["model_directory"].default

pytestmark = pytest.mark.skipif(not DIRECTORY.is_dir(), reason=f"{DIRECTORY.name} is not in models/store")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    settings = Settings(model_directory=DIRECTORY, threads=1, admin_token=TOKEN)
    with serve(settings) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as connection:
        yield connection


def test_it_translates(client: httpx.Client) -> None:
    assert texts_of(translate(client, "Good morning! 😀")) == ["Guten Morgen! 😀"]


def test_each_configuration_is_served_and_measured(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert model["active"] == model["default"]
    for configuration in model["configurations"]:
        assert configuration["available"]
        assert configuration["quality"]
        reply = client.put("/admin/models/en-de/config", json={"config": configuration["name"]}).json()
        assert reply["bytes_after"] == configuration["bytes"]
        assert reply["quality"] == configuration["quality"]
        answer = translate(client, "The train leaves at eight.").json()
        assert answer["model"]["config"] == configuration["name"]
        assert answer["memory"]["model_bytes"] == configuration["bytes"]


def test_a_broken_configuration_warns(client: httpx.Client) -> None:
    reply = client.put("/admin/models/en-de/config", json={"config": "flat-1"}).json()
    assert "translates badly" in reply["warning"]
