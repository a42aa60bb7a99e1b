"""Several servers that share their desired state by a real Redis."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from service.accounts.unavailable import StoreUnavailable
from service.live.state import BadState, Saved
from service.settings import Settings
from service.stores.opening import open_keys
from service.stores.redis import RedisState
from tests.service.live.test_swaps import MODEL, config_of, roles, shown, swap
from tests.service.redis_server import RedisServer
from tests.service.running import AUTHORIZED, TOKEN, assert_refused, serve, texts_of, translate, until_metric

REACHES_ALL_S = 2.0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@contextmanager
def replica(model: Path, redis: RedisServer) -> Iterator[httpx.Client]:
    settings = Settings(model_directory=model, threads=1, admin_token=TOKEN, redis_url=SecretStr(redis.url))
    with (
        serve(settings) as server,
        httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client,
    ):
        yield client


def until_active(client: httpx.Client, name: str) -> float:
    """Measure the seconds until a configuration answers unpinned requests."""
    started = time.perf_counter()
    for _ in range(100_000):
        if config_of(client) == name:
            return time.perf_counter() - started
    raise AssertionError(f"{name} never answered")


def test_a_swap_reaches_all_replicas_and_survives_them(tiny_model: Path, redis: RedisServer) -> None:
    with replica(tiny_model, redis) as first, replica(tiny_model, redis) as second:
        custom = swap(first, planes={"embedding": 2}).after.config
        assert until_active(second, custom) < REACHES_ALL_S
        assert texts_of(translate(first, "The old house.")) == texts_of(translate(second, "The old house."))
        event = shown(second).history[-1]
        assert (event.who, event.what, event.result, event.after) == ("replica", "follow", "ok", custom)
        second.put(f"{MODEL}/configs/narrow")
        swap(second, config="half")
        assert until_active(first, "half") < REACHES_ALL_S
        assert roles(shown(first)) == {"half": "active", "narrow": "loaded"}
    with replica(tiny_model, redis) as third:
        assert roles(shown(third)) == {"half": "active", "narrow": "loaded"}


def test_without_redis_all_serve_on_and_catch_up_later(tiny_model: Path, redis: RedisServer) -> None:
    with replica(tiny_model, redis) as first, replica(tiny_model, redis) as second:
        swap(first, config="half")
        until_active(second, "half")
        redis.stop()
        until_metric(second, "sub3_state_store_up 0.0")
        complaints = ["The store of the desired state does not answer; what was known last holds."]
        assert second.get("/health/ready").json() == {"status": "ready", "complaints": complaints}
        assert config_of(second) == "half"
        assert not swap(first, config="narrow").saved
        assert config_of(first) == "narrow"
        assert config_of(second) == "half"
        redis.start()
        until_active(second, "narrow")
        until_metric(first, "sub3_state_store_up 1.0")
        assert shown(first).saved
        assert first.get("/health/ready").json() == {"status": "ready"}


def test_a_server_starts_without_redis(tiny_model: Path, redis: RedisServer) -> None:
    redis.stop()
    with replica(tiny_model, redis) as client:
        assert config_of(client) == "full"
        until_metric(client, "sub3_state_store_up 0.0")
        redis.start()
        until_metric(client, "sub3_state_store_up 1.0")


def test_of_two_swaps_at_once_one_wins(tiny_model: Path, redis: RedisServer) -> None:
    with replica(tiny_model, redis) as client:
        swap(client, config="half")
        state = RedisState(redis.url)
        rival = state.read("tiny")
        assert rival is not None
        # another replica's swap to `full`, written while this one has not looked yet
        written = {"config": "full", "allocation": None}
        assert state.write("tiny", Saved(rival.generation + 1, rival.desired | {"active": written}))
        reply = client.put(f"{MODEL}/config", json={"config": "narrow"})
        if reply.status_code == 409:
            assert_refused(reply, 409, "Another replica swapped")
            assert config_of(client) == "full"
        else:  # it had looked: then its swap is the later one
            assert reply.json()["before"]["config"] == "full"
        history = [(event.who, event.what, event.after) for event in shown(client).history]
        assert ("replica", "follow", "full") in history


def test_the_store_takes_only_a_higher_generation(redis: RedisServer) -> None:
    state = RedisState(redis.url)
    assert state.read("tiny") is None
    assert state.write("tiny", Saved(3, {"a": 1}))
    assert not state.write("tiny", Saved(3, {"a": 2}))
    assert not state.write("tiny", Saved(2, {"a": 2}))
    assert state.read("tiny") == Saved(3, {"a": 1})
    assert state.write("tiny", Saved(4, {"a": 2}))
    assert state.read("other") is None
    state._redis.set("sub3:desired:tiny", b"{")
    with pytest.raises(BadState, match="sub3:desired:tiny"):
        state.read("tiny")
    assert state.write("tiny", Saved(1, {}))  # what is bad is replaced
    redis.stop()
    with pytest.raises(StoreUnavailable):
        state.read("tiny")
    redis.start()
    with pytest.raises(StoreUnavailable, match="must start with redis://"):
        RedisState("ftp://localhost")


def test_a_password_from_a_file(tiny_model: Path, redis: RedisServer, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("of the tests\n")
    RedisState(redis.url)._redis.config_set("requirepass", "of the tests")
    with pytest.raises(StoreUnavailable, match="authenticate"):
        RedisState(redis.url).read("tiny")
    settings = Settings(
        model_directory=tiny_model,
        threads=1,
        admin_token=TOKEN,
        redis_url=SecretStr(redis.url),
        redis_password_file=secret,
        api_keys=True,
    )
    assert open_keys(settings).all() == []
    with serve(settings) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        assert swap(client, config="half").saved
