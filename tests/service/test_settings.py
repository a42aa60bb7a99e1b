"""Settings: documented, read from the environment, and a short token refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import service
from service.settings import Settings, describe

ROOT = Path(service.__file__).parent.parent


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description is not None
    assert description.endswith(".")
    assert len(description) > 20
    assert f"SUB3_{name.upper()} " in describe()


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("PORT", "1234")
    monkeypatch.setenv("SUB3_THREADS", "3")
    settings = Settings()
    assert (settings.host, settings.port, settings.threads) == ("0.0.0.0", 1234, 3)
    monkeypatch.setenv("SUB3_PORT", "4321")
    assert Settings().port == 4321


@pytest.mark.parametrize("token", ["short", "fifteen-letters"])
def test_a_short_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValidationError, match="at least 16 characters") as caught:
        Settings(admin_token=token)
    assert token not in str(caught.value)
    assert token not in repr(caught.value)


def test_an_empty_token_turns_admin_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUB3_ADMIN_TOKEN", "")
    assert Settings().admin_token is None


def test_the_token_is_not_shown() -> None:
    assert "a-token-of-the-tests" not in repr(Settings(admin_token="a-token-of-the-tests"))


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SUB3_ADMIN_TOKEN": "tooshort"}, "at least 16 characters"),
        ({"SUB3_PORT": "99999"}, "less than or equal to 65535"),
        ({"SUB3_MODEL_DIRECTORY": "/nonexistent"}, "there is no such directory"),
    ],
)
def test_a_refused_start_says_why_and_ends_with_2(environment: dict[str, str], sentence: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 2
    assert sentence in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "tooshort" not in finished.stderr


def test_help_lists_the_settings() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "service", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0
    assert "SUB3_MAX_QUEUE_TOKENS (default 65536)" in finished.stdout
