"""`sub3 models` and `sub3 compress`: models are verified, handed on, and added to a running server or not at all."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.__main__ import main
from service.settings import Settings
from tests.conftest import ROOT
from tests.service.running import AUTHORIZED, TOKEN, Server, serve, texts_of, translate
from tests.service.tiny_model import write_tiny_model

TEXT = "The old house."


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("german") / "en-de")


@pytest.fixture(scope="module")
def french(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("french") / "en-fr", targets=("fr",), seed=1)


@pytest.fixture
def folder(german: Path, tmp_path: Path) -> Path:
    shutil.copytree(german, tmp_path / "served/en-de")
    return tmp_path / "served"


@pytest.fixture
def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SUB3_ADMIN_TOKEN", TOKEN)
    with serve(Settings(models_directory=folder, threads=1, admin_token=TOKEN)) as server:
        yield server


def add(server: str, folder: Path, *arguments: object) -> int:
    return main(["models", "add", *map(str, arguments), "--server", server, "--folder", str(folder)])


def test_models_are_verified(german: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", str(german)]) == 0
    assert "good" in capsys.readouterr().out
    shutil.copytree(german, tmp_path / "bad")
    content = bytearray((tmp_path / "bad/model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "bad/model.safetensors").write_bytes(content)
    assert main(["models", "verify", str(tmp_path / "bad"), str(german)]) == 2
    told = capsys.readouterr()
    assert "sha256 differs" in told.err
    assert "good" in told.out


def test_a_packed_model_is_added_live(
    running: Server, folder: Path, french: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "mine.sub3.zip"
    assert main(["models", "pack", str(french), str(package)]) == 0
    with httpx.Client(base_url=running.url, timeout=60) as client:
        assert translate(client, TEXT, target="fr").status_code == 422
        assert add(running.url, folder, package) == 0
        assert "mine is served" in capsys.readouterr().out
        assert texts_of(translate(client, TEXT, target="fr"))
        assert add(running.url, folder, french, "--name", "mine") == 2
        assert "exists already" in capsys.readouterr().err
        assert texts_of(translate(client, TEXT, target="fr"))
        client.delete("/admin/models/mine", headers=AUTHORIZED)
        assert add(running.url, folder, folder / "mine") == 0  # it is there already, and stays there
        assert texts_of(translate(client, TEXT, target="fr"))


def test_a_failed_add_leaves_all_as_it_was(
    running: Server,
    folder: Path,
    french: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(french, bad)
    (bad / "source.spm").write_bytes(b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with httpx.Client(base_url=running.url, headers=AUTHORIZED, timeout=60) as client:
        before = client.get("/admin/models").json()["models"]
        for arguments, told in (
            ((folder, bad), "sha256 differs"),
            ((folder, french, "--config", "no-such"), "refuses: "),
            ((folder, french, "--name", "../evil"), "is not a name"),
            ((elsewhere, french), "refuses: "),  # that is not the folder of the server
            ((tmp_path / "none", french), "no such folder"),
        ):
            assert add(running.url, *arguments) == 2
            assert told in capsys.readouterr().err
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            assert add(f"http://127.0.0.1:{nobody.getsockname()[1]}", folder, french) == 2
        assert "Nothing answers" in capsys.readouterr().err
        monkeypatch.setenv("SUB3_ADMIN_TOKEN", "another")
        assert add(running.url, folder, french) == 2
        assert "refuses" in capsys.readouterr().err
        assert client.get("/admin/models").json()["models"] == before
    assert [path.name for path in folder.iterdir()] == ["en-de"]
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("verb", [["compress"], ["models", "compress"]])
def test_compress_is_the_offline_half(verb: list[str], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("raise SystemExit('the wrong package')")
    code = f"import sys; from service.__main__ import main; sys.exit(main({verb!r} + sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", code]
    told = subprocess.run(
        [*command, "--bits", "9", "a", "b", "--text", "c"], capture_output=True, text=True, cwd=tmp_path
    )
    assert told.returncode == 2
    assert "must be from 1 to 8" in told.stderr


def test_compress_says_what_is_missing() -> None:
    code = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
from service.__main__ import main
status = main(["compress", "a", "b", "--text", "c"])
assert "torch" not in sys.modules
sys.exit(status)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 2
    assert "extra `train`" in told.stderr
