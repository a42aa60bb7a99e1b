"""The model that ships, served as a newcomer does."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import service
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL as DIRECTORY
from tests.service.running import AUTHORIZED, TOKEN, ServiceProcess, serve, texts_of, translate

ROOT = Path(service.__file__).parent.parent

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
        assert reply["warning"] is None  # what translates badly does not ship
        answer = translate(client, "The train leaves at eight.").json()
        assert answer["model"]["config"] == configuration["name"]
        assert answer["memory"]["model_bytes"] == configuration["bytes"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the resident memory from")
def test_a_ready_service_is_small() -> None:
    ours = {"SUB3_MODEL_DIRECTORY": str(DIRECTORY), "PORT": "0", "SUB3_THREADS": "2"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUB3_")} | ours
    with ServiceProcess(environment) as process:
        try:
            assert httpx.get(f"{process.address()}/health/ready", timeout=60).status_code == 200
            status = Path(f"/proc/{process.pid}/status").read_text()
            resident = 1024 * int(status.split("VmRSS:")[1].split()[0])
            loaded = Path(f"/proc/{process.pid}/maps").read_text()
        finally:
            process.kill()
    assert resident < 90e6
    assert "libsqlite3" not in loaded  # nor whatever else only some servers need
