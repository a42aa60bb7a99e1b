"""Weights that are written to while a server has them mapped."""

import shutil
from pathlib import Path

import httpx

from service.settings import Settings
from tests.service.running import assert_refused, serve, texts_of, translate


def test_a_server_whose_weights_were_altered_is_not_ready(tiny_model: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(tiny_model, tmp_path / "tiny"))
    with serve(Settings(model_directory=path, threads=1)) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/health/ready").status_code == 200
        weights = path / "model.safetensors"
        with weights.open("r+b") as file:  # of the same length: nothing ends, but what it says is nonsense
            file.seek(-4, 2)
            file.write(b"\xff\xff\xff\xff")
        assert_refused(client.get("/health/ready"), 503, "The files of tiny were written to in place")
        assert client.get("/health").status_code == 503
        assert client.get("/health/live").status_code == 200


def test_a_server_with_its_weights_in_memory_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(tiny_model, tmp_path / "tiny"))
    settings = Settings(model_directory=path, threads=1, weights_in_memory=True)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        before = texts_of(translate(client, "The old house."))
        for file in path.iterdir():
            file.write_bytes(b"")  # of a mapped file, the next page that is touched would end the process
        assert texts_of(translate(client, "The old house.")) == before
        assert client.get("/health/ready").status_code == 200
