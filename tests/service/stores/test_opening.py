"""Which backend the settings get, and what a server loads for it."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

import service
from service.accounts.unavailable import StoreUnavailable
from service.live.state import FileStore, NoStore
from service.settings import Settings
from service.stores.opening import open_glossaries, open_keys, open_state
from service.stores.redis import RedisGlossaries, RedisKeys, RedisState
from service.stores.sqlite import SqliteGlossaries, SqliteKeys

ROOT = Path(service.__file__).parent.parent


def test_files_of_this_server_or_a_shared_redis(tmp_path: Path) -> None:
    files = Settings(
        keys_file=tmp_path / "keys", glossaries_file=tmp_path / "glossaries", state_file=tmp_path / "state"
    )
    shared = Settings(redis_url=SecretStr("redis://127.0.0.1:1"))  # which nothing connects to yet
    assert isinstance(open_keys(files), SqliteKeys)
    assert isinstance(open_glossaries(files), SqliteGlossaries)
    assert isinstance(open_state(files), FileStore)
    assert isinstance(open_state(Settings(state_file=None)), NoStore)
    assert isinstance(open_keys(shared), RedisKeys)
    assert isinstance(open_glossaries(shared), RedisGlossaries)
    assert isinstance(open_state(shared), RedisState)
    for name in ("keys", "glossaries"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("opening", [open_keys, open_glossaries, open_state])
def test_an_address_that_is_not_one_is_refused_at_once(opening: object) -> None:
    assert callable(opening)
    with pytest.raises(StoreUnavailable, match="must start with redis://"):
        opening(Settings(redis_url=SecretStr("http://somewhere")))


@pytest.mark.parametrize(("keys", "loaded"), [("False", "[]"), ("True", "['sqlite3']")])
def test_an_open_server_loads_no_backend(tiny_model: Path, tmp_path: Path, keys: str, loaded: str) -> None:
    code = (
        "import sys; from pathlib import Path; from service.app import create_app; "
        "from service.settings import Settings; "
        f"create_app(Settings(model_directory=Path({str(tiny_model)!r}), state_file=None, api_keys={keys}, "
        f"keys_file=Path({str(tmp_path / 'keys')!r}))); "
        "print([name for name in ('sqlite3', 'redis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == loaded
