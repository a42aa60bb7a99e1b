"""The npm clients, run by node against a server."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.service.running import Server

CLIENTS = Path(__file__).parent / "clients"


def run_npm_clients(server: Server, *what: str) -> dict[str, Any]:
    """Drive the clients and return what they return; skip the test where node or they are not installed.

    Args:
        server: what they talk to.
        what: the part of clients/drive.js that runs; all but its glossaries by default.
    """
    node = shutil.which("node")
    if node is None or not (CLIENTS / "node_modules" / "installed").is_file():
        pytest.skip("the npm clients are not installed: `make test` installs them where node and npm are")
    done = subprocess.run(
        [node, "drive.js", server.url, *what], cwd=CLIENTS, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results
