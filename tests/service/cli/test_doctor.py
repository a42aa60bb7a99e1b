"""`sub3 doctor` finds what would keep a server from working, and says it in sentences."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.doctor import _clock
from tests.conftest import ROOT
from tests.service.redis_server import RedisServer


def doctor(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUB3_", "REDIS"))}
    return subprocess.run(
        [sys.executable, "-m", "service", "doctor"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**kept, "PORT": "0", "PYTHONPATH": str(ROOT), **environment},
    )


def test_a_good_set_up(tiny_model: Path, tmp_path: Path) -> None:
    told = doctor(tmp_path, SUB3_MODEL_DIRECTORY=str(tiny_model))
    assert (told.returncode, told.stderr) == (0, "")
    for words in ("The engine uses", "translates en -> de", "The clock says", "is free", "glossaries.sqlite3 can be"):
        assert re.search(rf"^(ok|warn) .*{words}", told.stdout, re.MULTILINE), words
    assert told.stdout.endswith("The server would work.\n")
    assert list(tmp_path.iterdir()) == []  # it changes nothing


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SUB3_MODELS_DIRECTORY": "/nowhere"}, "the models can't be listed: No such file or directory"),
        ({"SUB3_FORCE_ISA": "z80"}, "z80"),
        ({"SUB3_PORT": "99999"}, "less than or equal to 65535"),
        ({"SUB3_HOST": "192.0.2.1"}, "can't be listened on"),
        ({"SUB3_STATE_FILE": "/proc/1/desired.json"}, "/proc/1 can't be written"),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, "Redis does not answer"),
        ({"REDIS_URL": "http://127.0.0.1:1"}, "must start with redis://"),
    ],
)
def test_faults(environment: dict[str, str], sentence: str, tiny_model: Path, tmp_path: Path) -> None:
    if "STATE_FILE" in str(environment) and os.access("/proc/1", os.W_OK):
        environment = {"SUB3_STATE_FILE": "/nowhere/desired.json"}
        sentence = "/nowhere can't be written"
    told = doctor(tmp_path, **{"SUB3_MODEL_DIRECTORY": str(tiny_model)} | _one_folder(environment) | environment)
    assert told.returncode == 1
    assert re.search(rf"^FAULT .*{re.escape(sentence)}", told.stdout, re.MULTILINE), told.stdout
    assert "must be mended" in told.stdout
    assert "Traceback" not in told.stderr


def _one_folder(environment: dict[str, str]) -> dict[str, str]:
    return {"SUB3_MODEL_DIRECTORY": ""} if "SUB3_MODELS_DIRECTORY" in environment else {}


def test_a_taken_port(tiny_model: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        told = doctor(tmp_path, SUB3_MODEL_DIRECTORY=str(tiny_model), PORT=port)
    assert told.returncode == 1
    assert f"FAULT Port {port} of 127.0.0.1 is taken" in told.stdout


def test_warnings_are_no_faults(tiny_model: Path, tmp_path: Path) -> None:
    told = doctor(
        tmp_path,
        SUB3_MODEL_DIRECTORY=str(tiny_model),
        SUB3_FORCE_ISA="scalar",
        SUB3_THREADS="256",
        SUB3_MEMORY_LIMIT_BYTES="1000000",
        HOST="0.0.0.0",
    )
    assert told.returncode == 0
    warned = re.findall(r"^warn +(.*)$", told.stdout, re.MULTILINE)
    assert len(warned) == 4
    for words in ("instruction sets", "SUB3_THREADS is 256", "The memory limit is 1 MB", "SUB3_API_KEYS=true"):
        assert any(words in line for line in warned), words


def test_a_redis_that_answers(tiny_model: Path, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        told = doctor(tmp_path, SUB3_MODEL_DIRECTORY=str(tiny_model), REDIS_URL=redis.url)
    finally:
        redis.stop()
    assert told.returncode == 0, told.stdout
    assert "Redis answers" in told.stdout


def test_a_clock_that_was_never_set() -> None:
    (finding,) = _clock(86_400.0)
    assert finding.level == "FAULT"
    assert "1970-01-02" in finding.sentence
