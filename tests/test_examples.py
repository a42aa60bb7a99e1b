"""Every file of examples/ does what its page says, with the default model and a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from tests.conftest import DEFAULT_MODEL, ROOT
from tests.service.running import PAIR, TOKEN, serve

EXAMPLES = ROOT / "examples"
TRANSLATED = {"Good morning.": "Guten Morgen.", "The house is small.": "Das Haus ist klein."}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve the default model, with an administrator."""
    with serve(Settings(model_directory=DEFAULT_MODEL, threads=1, admin_token=TOKEN)) as server:
        yield server.url


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example in a process of its own, as a reader would."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SUB3_ADMIN_TOKEN": TOKEN, "no_proxy": "127.0.0.1"}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def test_the_engine_translates_without_http():
    done = run("translate.py", *TRANSLATED)
    assert done.stdout.splitlines() == list(TRANSLATED.values()), done.stderr


def test_a_client_translates(url: str):
    done = run("client.py", url, *TRANSLATED)
    assert done.stdout.splitlines() == list(TRANSLATED.values()), done.stderr
    assert done.stderr.startswith("best-2: ")


def test_an_administrator_swaps(url: str):
    done = run("swap.py", url, "en-de", "flat-4")
    assert done.stdout.startswith("best-2 -> flat-4 in "), done.stderr
    reply = httpx.post(f"{url}/v1/translate", json={"text": "Good morning.", **PAIR})
    assert reply.json()["model"]["config"] == "flat-4"
    assert run("swap.py", url, "en-de", "best-2").stdout.startswith("flat-4 -> best-2 in ")


def test_a_refused_swap_ends_with_the_reason(url: str):
    done = run("swap.py", url, "en-de", "no-such")
    assert done.returncode == 1
    assert "no-such" in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_example_is_listed_and_tested():
    files = {path.name for path in EXAMPLES.glob("*.py")}
    listed, tested = (EXAMPLES / "README.md").read_text(encoding="utf-8"), Path(__file__).read_text(encoding="utf-8")
    for name in files:
        assert f"]({name})" in listed
        assert f'run("{name}"' in tested
