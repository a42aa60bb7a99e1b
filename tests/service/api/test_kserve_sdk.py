"""KServe's SDK, in an environment of its own: `make test-clients`."""

import json
import subprocess

import pytest

from tests.service.api.conftest import HOUSE, TREE
from tests.service.environments import interpreter
from tests.service.npm_clients import CLIENTS
from tests.service.running import Server

pytestmark = pytest.mark.campaign


def test_kserve_s_sdk_translates(server: Server, german: dict[str, str]) -> None:
    python = interpreter("kserve", "kserve>=0.21,<0.22")
    done = subprocess.run(
        [python, CLIENTS / "kserve_sdk.py", server.url, "tiny", HOUSE, TREE], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    translated = ["7", "tiny", [german[HOUSE], german[TREE]]]
    assert "the models are tiny" in results.pop("refusal")
    assert results == {"live": True, "ready": True, "model": True, "json": translated, "binary": translated}
