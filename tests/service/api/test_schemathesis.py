"""Schemathesis, with every check and phase, finds nothing: `make schemathesis`. test_bad_input has a part of it.

Streams have no end. The schemas of DeepL's, Google's and Azure's dialects are still looser than the server.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.format.store import SHIPPED
from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.service.running import TOKEN, serve

ROOT = Path(__file__).resolve().parents[3]
RUN = "from schemathesis.cli import schemathesis; schemathesis()"
LEFT_OUT = r"events$|^/v2/(translate|usage|document|glossar|languages)|^/v3/|^/language/|^/translat(or|e_a)/|^/sts/"

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("is_locked", [False, True], ids=["open", "locked"])
def test_schemathesis_finds_nothing(is_locked: bool, tmp_path: Path) -> None:
    key, record = new_key("all", None, None)
    keys = tmp_path / "keys.sqlite3"
    SqliteKeys(keys).add(record)
    settings = Settings(
        models_directory=SHIPPED,
        threads=1,
        api_keys=is_locked,
        keys_file=keys,
        admin_token=TOKEN if is_locked else None,
        state_file=None,
        glossaries_file=tmp_path / "glossaries.sqlite3",
        max_glossaries=100_000,
    )
    with serve(settings) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-c", RUN, "--config-file", str(ROOT / "schemathesis.toml"), "run"),
                *("--checks", "all", "--max-examples", os.environ.get("EXAMPLES", "50"), "--seed", "1"),
                *("--exclude-path-regex", LEFT_OUT, f"{server.url}/openapi.json"),
            ],
            cwd=tmp_path,
            env={**os.environ, "API_KEY": key, "ADMIN_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
