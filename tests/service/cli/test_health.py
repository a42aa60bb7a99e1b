"""The health check of a container: a process of its own that asks the server."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

from tests.service.running import Server


def check(port: int) -> subprocess.CompletedProcess[str]:
    """Run the check as the image does."""
    environment = {**os.environ, "SUB3_PORT": str(port)}
    command = [sys.executable, "-S", "-m", "service.cli.health"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_server_that_is_ready_and_then_is_not(server: Server) -> None:
    port = urlsplit(server.url).port
    assert port
    ready = check(port)
    assert (ready.returncode, ready.stdout) == (0, '{"status":"ready"}\n')
    registry = server.app.state.registry
    registry.drain()
    try:
        draining = check(port)
    finally:
        registry._draining = False
    assert draining.returncode == 1
    assert "shutting down" in draining.stderr


def test_no_server() -> None:
    nobody = check(1)
    assert nobody.returncode == 1
    assert "Nothing answers on port 1" in nobody.stderr
