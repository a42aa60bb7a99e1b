"""A real Redis of the tests' own, which may be stopped and started again with what it knew."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest


class RedisServer:
    """`redis-server` on a free port; every write is on disk before its reply."""

    def __init__(self, directory: Path) -> None:
        """Choose a free port; skip the test where the program is absent."""
        if shutil.which("redis-server") is None:
            pytest.skip("there is no redis-server; apt-get install redis-server")
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return when it answers."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._directory), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(["redis-server", *options, *durable], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        log = []
        for line in self._process.stdout:
            if "Ready to accept connections" in line:
                return
            log.append(line)
        raise AssertionError(f"redis-server ended: {''.join(log)}")

    def stop(self) -> None:
        """Kill it."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
