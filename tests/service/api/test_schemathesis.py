"""Schemathesis, with every check and phase, finds nothing: `make schemathesis`. test_bad_input has a part of it.

The server with keys knows none of those that are sent.
"""

import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from models.format.store import SHIPPED
from service.settings import Settings
from tests.service.running import TOKEN, serve

ROOT = Path(__file__).resolve().parents[3]
RESULT = ROOT / "docs" / "results" / "schemathesis.json"
RUN = "from schemathesis.cli import schemathesis; schemathesis()"
# What the protocols say to who has no key, or a wrong one: 403 at DeepL, 400 at Google; test_dialect_keys has it.
LOCKED = """
[[operations]]
include-path-regex = "^/language/|^/translate_a/"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "429", "431"]
"""
ENDLESS = "/admin/models/{name}/events"  # a stream that ends when the server does

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("kind", ["open", "locked"])
def test_schemathesis_finds_nothing(kind: str, tmp_path: Path) -> None:
    settings = Settings(
        models_directory=SHIPPED,
        threads=1,
        api_keys=kind == "locked",
        keys_file=tmp_path / "keys.sqlite3",
        admin_token=TOKEN if kind == "locked" else None,
        state_file=None,
        glossaries_file=tmp_path / "glossaries.sqlite3",
        max_glossaries=100_000,
    )
    config = tmp_path / "schemathesis.toml"
    config.write_text((LOCKED if kind == "locked" else "") + (ROOT / "schemathesis.toml").read_text())
    examples = os.environ.get("EXAMPLES", "50")
    with serve(settings) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-c", RUN, "--config-file", str(config), "run"),
                *("--checks", "all", "--max-examples", examples, "--seed", "1"),
                *(
                    ("--exclude-path", ENDLESS, "--exclude-checks", "missing_required_header")
                    if kind == "locked"
                    else ()
                ),
                f"{server.url}/openapi.json",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    tested, cases = (re.search(rf"{name} *([\d,]+)", done.stdout) for name in ("Tested:", "Test cases:\n"))
    assert tested is not None, done.stdout
    assert cases is not None, done.stdout
    figures = {
        "examples": int(examples),
        "operations": int(tested[1]),
        "cases": int(cases[1].replace(",", "")),
        "findings": 0,
    }
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"servers": {}}
    result = {
        "command": "make schemathesis EXAMPLES=...",  # each server's own, since one may be tried alone
        "date": time.strftime("%Y-%m-%d"),
        "schemathesis": version("schemathesis"),
        "servers": {**kept["servers"], kind: figures},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
