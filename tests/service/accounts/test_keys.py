"""API keys: the rule against a plain token bucket, both stores by the same tests, and the server that asks for keys."""

import contextlib
import dataclasses
import functools
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import httpx
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

import service
from service.accounts.keys import (
    MAX_LIMIT,
    Keys,
    KeyUse,
    MissingKey,
    NameTaken,
    QuotaExceeded,
    RateExceeded,
    Record,
    WrongKey,
    charge,
    new_key,
)
from service.accounts.unavailable import StoreUnavailable
from service.settings import Settings
from service.stores.redis import RedisKeys
from service.stores.sqlite import SqliteKeys
from tests.service.redis_server import RedisServer
from tests.service.running import (
    assert_refused,
    held_worker,
    serve,
    texts_of,
    translate,
    translate_and_leave,
    until_metric,
)

ROOT = Path(service.__file__).parent.parent
NOVEMBER = 1_795_000_000.0  # 2026-11-18
DECEMBER = NOVEMBER + 20 * 86_400
DECEMBER_BEGINS = 1_796_083_200.0


@dataclass
class Shelf:
    """A store as a test sees it: open it as often as wanted, break it, mend it, read its raw bytes."""

    open: Callable[[], SqliteKeys | RedisKeys]
    settings: dict[str, str]
    fail: Callable[[], None]
    mend: Callable[[], None]
    raw: Callable[[], bytes]
    plant: Callable[[str, str], None]  # name of a key, and what stands for its record


@pytest.fixture(params=["sqlite", "redis"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    opened: list[SqliteKeys | RedisKeys] = []

    def keep(store: SqliteKeys | RedisKeys) -> SqliteKeys | RedisKeys:
        opened.append(store)
        return store

    def raw() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())

    if request.param == "sqlite":
        path = tmp_path / "keys.sqlite3"
        blocker: list[sqlite3.Connection] = []

        def lock() -> None:
            blocker.append(sqlite3.connect(path, isolation_level=None))
            blocker[0].execute("BEGIN IMMEDIATE")

        def unlock() -> None:
            blocker.pop().close()

        def plant(name: str, text: str) -> None:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
                database.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", (name, text))

        yield Shelf(lambda: keep(SqliteKeys(path)), {"SUB3_KEYS_FILE": str(path)}, lock, unlock, raw, plant)
    else:
        server = RedisServer(tmp_path)
        server.start()
        client = redis.Redis.from_url(server.url)

        def plant(name: str, text: str) -> None:
            client.set(f"sub3:key:{name}", text)

        client.hset("sub3:key:hash", "a", "b")  # not a string at all
        client.close()
        yield Shelf(
            lambda: keep(RedisKeys(server.url)), {"REDIS_URL": server.url}, server.stop, server.start, raw, plant
        )
        server.stop()
    for store in opened:
        store.close()


class Clock:
    """Unix time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = NOVEMBER

    def __call__(self) -> float:
        return self.now


def add(shelf: Shelf, name: str, pace: int | None = None, quota: int | None = None) -> str:
    key, record = new_key(name, pace, quota)
    shelf.open().add(record)
    return key


# The rule


@given(
    st.integers(1, 200),
    st.lists(st.integers(0, 90_000), min_size=1, max_size=60),  # milliseconds between two requests
)
def test_the_pace_is_that_of_a_token_bucket(limit: int, gaps: list[int]) -> None:
    record, tokens, now_ms = Record("a", ""), Fraction(limit), 0
    pace = dataclasses.replace(record, requests_per_minute=limit)
    for gap in gaps:
        now_ms += gap
        tokens = min(Fraction(limit), tokens + Fraction(gap * limit, 60_000))
        near = abs(tokens - 1) * Fraction(60, limit) < Fraction(2, 1000)  # within the rule's millisecond
        try:
            charged = charge(pace, 1, NOVEMBER + now_ms / 1000)
        except RateExceeded as refused:
            assert tokens < 1 or near
            late_s = refused.retry_after_s - (1 - tokens) * Fraction(60, limit)
            assert -Fraction(2, 1000) <= late_s <= 1 + Fraction(2, 1000)
        else:
            assert tokens >= 1 or near
            pace, tokens = charged, max(Fraction(0), tokens - 1)


def test_a_clock_that_goes_back_shuts_nobody_out() -> None:
    record = charge(Record("a", "", requests_per_minute=1), 1, NOVEMBER)
    with pytest.raises(RateExceeded):
        charge(record, 1, NOVEMBER - 30)  # nor does it let anybody in before time
    record = charge(record, 1, NOVEMBER - 86_400)
    with pytest.raises(RateExceeded):
        charge(record, 1, NOVEMBER - 86_399)


def test_characters_are_counted_by_the_month() -> None:
    record = charge(Record("a", "", characters_per_month=100), 60, NOVEMBER)
    with pytest.raises(QuotaExceeded, match=r"100 characters a month and has 40 left\."):
        charge(record, 41, NOVEMBER)
    record = charge(record, 40, NOVEMBER)
    assert (record.month, record.requests, record.characters) == ("2026-11", 2, 100)
    record = charge(record, 70, DECEMBER)
    assert (record.month, record.requests, record.characters) == ("2026-12", 1, 70)


def test_a_clock_that_is_behind_gives_no_quota_anew() -> None:
    begun = charge(Record("a", "", characters_per_month=100), 60, DECEMBER_BEGINS)
    late = charge(begun, 40, DECEMBER_BEGINS - 60)  # another replica, whose clock is a minute behind
    assert (late.month, late.characters) == ("2026-12", 100)
    with pytest.raises(QuotaExceeded):
        charge(late, 1, DECEMBER_BEGINS - 60)
    with pytest.raises(QuotaExceeded):
        charge(late, 1, DECEMBER_BEGINS)


def test_a_month_of_a_clock_that_was_wrong_ends() -> None:
    wrong = charge(Record("a", "", characters_per_month=100), 60, NOVEMBER + 86_400 * 365 * 50)
    mended = charge(wrong, 100, NOVEMBER)
    assert (mended.month, mended.characters) == ("2026-11", 100)


@given(st.lists(st.tuples(st.integers(-43_000, 43_000), st.integers(1, 30)), max_size=40))
def test_replicas_whose_clocks_differ_by_hours_pass_the_quota_of_each_month_once(uses: list[tuple[int, int]]) -> None:
    record, passed = Record("a", "", characters_per_month=100), 0
    for offset, characters in uses:
        with contextlib.suppress(QuotaExceeded):
            record = charge(record, characters, DECEMBER_BEGINS + offset)
            passed += characters
    assert passed <= 2 * 100  # of the old month and of the new one


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1, 1 << 63, 10**400])
def test_a_limit_that_no_reader_of_json_would_take(limit: int) -> None:
    for limits in ((limit, None), (None, limit)):
        with pytest.raises(ValueError, match="whole number from 1 to 9,007,199,254,740,992"):
            new_key("a", *limits)
    assert new_key("a", MAX_LIMIT, MAX_LIMIT)[1].characters_per_month == MAX_LIMIT


@pytest.mark.parametrize("name", ["", "a b", "a.b", "-a", "a" * 65, "ä", "a\n"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="begins with a letter or digit"):
        new_key(name, None, None)


# The stores


def test_a_name_is_given_once(shelf: Shelf) -> None:
    for name in ("b", "a"):
        add(shelf, name)
    with pytest.raises(NameTaken, match="named a"):
        add(shelf, "a")
    assert [record.name for record in shelf.open().all()] == ["a", "b"]


def test_an_update_is_a_transaction(shelf: Shelf) -> None:
    add(shelf, "a")
    store = shelf.open()
    assert store.update("nobody", lambda record: record) is None

    def refuse(_: Record) -> Record:
        raise WrongKey

    with pytest.raises(WrongKey):
        store.update("a", refuse)
    changed = store.update("a", lambda record: dataclasses.replace(record, characters=5))
    assert changed == shelf.open().all()[0]
    assert changed is not None
    assert changed.characters == 5


def test_replicas_lose_no_count(shelf: Shelf) -> None:
    key = add(shelf, "a", quota=1000)
    replicas = [Keys(shelf.open()) for _ in range(4)]

    def use(keys: Keys) -> int:
        accepted = 0
        for _ in range(30):
            try:
                keys.authorise(key, 10)
                accepted += 1
            except QuotaExceeded:
                pass
        return accepted

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(use, replicas * 2))
    assert not any(keys.down for keys in replicas)
    assert accepted == 100  # of 240
    (record,) = shelf.open().all()
    assert (record.requests, record.characters) == (100, 1000)


def test_the_secret_is_not_stored(shelf: Shelf) -> None:
    key, other = add(shelf, "a"), add(shelf, "b")
    assert key != other
    Keys(shelf.open()).authorise(key, 10)
    assert b'"name": "a"' in shelf.raw()
    assert key.partition(".")[2].encode() not in shelf.raw()


NO_RECORDS = [
    "",
    "null",
    "{}",
    "[]",
    '"a"',
    "{",
    '{"name": "b"}',
    '{"name": "b", "digest": 1}',
    '{"name": "b", "digest": "", "requests_per_minute": 0}',
    '{"name": "b", "digest": "", "characters_per_month": 1e999}',
    '{"name": "b", "digest": "", "characters_per_month": 9223372036854775808}',
    '{"name": "b", "digest": "", "paid_until": NaN}',
    '{"name": "b", "digest": "", "month": 3}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", NO_RECORDS, ids=range(len(NO_RECORDS)))
def test_what_is_no_record_shuts_nobody_else_out(shelf: Shelf, text: str, caplog: pytest.LogCaptureFixture) -> None:
    key = add(shelf, "a")
    shelf.plant("b", text)
    keys = Keys(shelf.open())
    assert keys.authorise(key, 10).characters == 10
    for wrong in ("b.secret", "b.", "hash.secret"):
        with pytest.raises(WrongKey):
            keys.authorise(wrong, 1)
    assert not keys.down
    assert [record.name for record in shelf.open().all()] == ["a"]
    assert "is not a Record and is skipped" in caplog.text


def test_what_a_newer_version_has_written_is_read_and_stays(shelf: Shelf) -> None:
    key, record = new_key("a", None, 100)
    newer = {**dataclasses.asdict(record), "team": {"name": "blue"}, "labels": ["x"]}
    shelf.open()
    shelf.plant("a", json.dumps(newer))
    assert Keys(shelf.open()).authorise(key, 10).characters == 10
    assert b'"team": {"name": "blue"}' in shelf.raw()


def test_a_record_without_the_fields_that_came_later_is_read(shelf: Shelf) -> None:
    key, record = new_key("a", None, None)
    shelf.open()
    shelf.plant("a", json.dumps({"name": "a", "digest": record.digest}))
    assert Keys(shelf.open()).authorise(key, 10).characters == 10


# The keys


def test_an_open_server_asks_for_nothing() -> None:
    keys = Keys(None)
    assert not keys.required
    assert keys.authorise(None, 10) == keys.usage("whatever") == KeyUse()
    keys.refund(KeyUse())


def test_only_a_valid_key_passes(shelf: Shelf) -> None:
    key, other = add(shelf, "a"), add(shelf, "b")
    keys = Keys(shelf.open())
    for missing in (None, ""):
        with pytest.raises(MissingKey):
            keys.authorise(missing, 1)
    secret, other_secret = key.partition(".")[2], other.partition(".")[2]
    for wrong in (
        "a",
        "a.",
        secret,
        f"a.{other_secret}",
        f"c.{secret}",
        key + "x",
        key[:-1],
        f"*.{secret}",
        "a.\udc80",
    ):
        with pytest.raises(WrongKey):
            keys.authorise(wrong, 1)
    assert keys.authorise(key, 7) == KeyUse("a", 7, 1, 7, None)
    shelf.open().update("a", lambda record: dataclasses.replace(record, revoked=True))
    with pytest.raises(WrongKey):
        keys.authorise(key, 1)
    assert keys.authorise(other, 1).name == "b"


def test_limits_usage_and_refunds(shelf: Shelf) -> None:
    key, clock = add(shelf, "a", pace=2, quota=100), Clock()
    keys = Keys(shelf.open(), clock)
    first = keys.authorise(key, 60)
    keys.refund(first)
    assert keys.usage(key) == KeyUse("a", 0, 0, 0, 100)
    keys.authorise(key, 60)
    with pytest.raises(RateExceeded) as refused:
        keys.authorise(key, 1)
    assert refused.value.retry_after_s == 30
    clock.now += 30
    with pytest.raises(QuotaExceeded):
        keys.authorise(key, 41)
    assert keys.authorise(key, 40) == KeyUse("a", 40, 2, 100, 100)
    clock.now = DECEMBER
    assert keys.usage(key) == KeyUse("a", 0, 0, 0, 100)


def test_with_the_store_down_the_last_known_state_decides(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    key, clock = add(shelf, "a", quota=100), Clock()
    keys = Keys(shelf.open(), clock, ask_again_s=0.01)
    keys.authorise(key, 10)
    later, revoked = add(shelf, "later"), add(shelf, "revoked")
    keys.authorise(revoked, 1)
    shelf.open().update("revoked", lambda record: dataclasses.replace(record, revoked=True))
    shelf.fail()
    assert keys.authorise(key, 20).characters == 30
    assert keys.down
    assert "last known state" in caplog.text
    with pytest.raises(QuotaExceeded):
        keys.authorise(key, 71)
    with pytest.raises(WrongKey):
        keys.authorise("a.guess", 1)
    with pytest.raises(StoreUnavailable, match="can't be checked"):
        keys.authorise(later, 1)
    assert keys.authorise(revoked, 1).name == "revoked"  # the last known state
    keys.refund(keys.authorise(key, 5))
    shelf.mend()
    while keys.down:
        keys.usage(key)
    assert keys.authorise(later, 1).name == "later"
    with pytest.raises(WrongKey):
        keys.authorise(revoked, 1)
    assert not keys.down
    assert keys.authorise(key, 40).characters == 70
    records = {record.name: record for record in shelf.open().all()}
    assert (records["a"].requests, records["a"].characters) == (3, 70)
    assert caplog.text.count("last known state") == 1


def test_what_was_counted_without_the_store_still_counts_when_it_fails_again(shelf: Shelf) -> None:
    key = add(shelf, "a", quota=100)
    keys = Keys(shelf.open(), ask_again_s=0.01)
    keys.authorise(key, 10)
    shelf.fail()
    assert keys.authorise(key, 50).characters == 60
    shelf.mend()
    deadline = time.monotonic() + 60
    while keys.down:  # no request comes meanwhile, so the 50 are not in the store
        assert time.monotonic() < deadline
        time.sleep(0.001)
    shelf.fail()
    with pytest.raises(QuotaExceeded, match="has 40 left"):
        keys.authorise(key, 41)
    assert keys.authorise(key, 40).characters == 100
    shelf.mend()


# The server


@pytest.fixture
def asking(shelf: Shelf, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """Open a client of a server that asks for keys."""
    for variable, value in shelf.settings.items():
        monkeypatch.setenv(variable, value)
    settings = Settings(model_directory=tiny_model, threads=1, api_keys=True)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_a_server_that_asks_for_keys(shelf: Shelf, asking: httpx.Client) -> None:
    # made while the server runs
    key, slow, small = add(shelf, "a"), add(shelf, "slow", pace=1), add(shelf, "small", quota=5)
    refused = translate(asking, "The old house.")
    assert_refused(refused, 401, "X-Api-Key")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-Api-Key": key}):
        asking.headers = httpx.Headers(headers)
        assert texts_of(translate(asking, ["The old house.", "Hello."]))
    asking.headers = httpx.Headers({"X-Api-Key": "a.guess"})
    assert_refused(translate(asking, "The old house."), 403, "wrong or revoked")
    asking.headers = httpx.Headers({"X-Api-Key": slow})
    texts_of(translate(asking, "The old house."))
    refused = translate(asking, "The old house.")
    assert_refused(refused, 429, "1 requests a minute")
    assert 55 <= int(refused.headers["Retry-After"]) <= 60
    asking.headers = httpx.Headers({"X-Api-Key": small})
    refused = translate(asking, "The old house.")
    assert_refused(refused, 429, "5 characters a month")
    assert "Retry-After" not in refused.headers
    records = {record.name: record for record in shelf.open().all()}
    assert (records["a"].requests, records["a"].characters) == (2, 40)
    assert (records["small"].requests, records["small"].characters) == (0, 0)
    assert asking.get("/health/ready").status_code == 200
    assert asking.get("/v1/models").status_code == 200


def test_what_the_server_did_not_translate_is_not_counted(shelf: Shelf, asking: httpx.Client) -> None:
    asking.headers = httpx.Headers({"X-Api-Key": add(shelf, "a")})
    assert_refused(asking.post("/v1/translate", json={"text": "Hi.", "source": "en", "target": "xx"}), 422, "pair")
    (record,) = shelf.open().all()
    assert (record.requests, record.characters) == (0, 0)


def test_who_leaves_before_the_reply_has_paid(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    key, record = new_key("a", None, None)
    SqliteKeys(path).add(record)
    with (
        serve(Settings(model_directory=tiny_model, threads=1, api_keys=True, keys_file=path)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        held_worker(server),
    ):
        waits = functools.partial(until_metric, client, "sub3_queue_sentences 1.0")
        translate_and_leave(server, waits, "The old house.", key=key)
        until_metric(client, 'sub3_failures_total{reason="ClientClosed"} 1.0')
        (record,) = SqliteKeys(path).all()
        assert (record.requests, record.characters) == (1, len("The old house."))


def test_a_server_serves_on_without_its_store(shelf: Shelf, asking: httpx.Client) -> None:
    asking.headers = httpx.Headers({"X-Api-Key": add(shelf, "a")})
    texts_of(translate(asking, "The old house."))
    assert "sub3_key_store_up 1.0" in asking.get("/metrics").text
    shelf.fail()
    texts_of(translate(asking, "The old house."))
    assert "sub3_key_store_up 0.0" in asking.get("/metrics").text
    asking.headers = httpx.Headers({"X-Api-Key": "b.unknown"})
    refused = translate(asking, "The old house.")
    assert_refused(refused, 503, "can't be checked")
    assert refused.headers["Retry-After"] == "1"
    shelf.mend()


def test_the_command_line(shelf: Shelf) -> None:
    def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service", "keys", *arguments],
            env=shelf.settings,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    added = keys("add", "acme", "--requests-per-minute", "60", "--characters", "500000")
    assert added.returncode == 0
    key = added.stdout.strip()
    live = Keys(shelf.open())
    assert live.authorise(key, 12).characters_per_month == 500_000
    listed = keys("list").stdout
    assert "acme\tvalid\t60 requests/minute" in listed
    assert "1 requests, 12 characters (of 500000)" in listed
    assert key.partition(".")[2] not in listed
    assert keys("revoke", "acme").returncode == 0
    with pytest.raises(WrongKey):
        live.authorise(key, 1)
    assert "acme\trevoked" in keys("list").stdout
    for refused, sentence in ((keys("add", "acme"), "another name"), (keys("revoke", "nobody"), "no key of that name")):
        assert refused.returncode == 1
        assert sentence in refused.stderr


def test_a_store_that_cannot_be_opened_never_gets_a_port(tmp_path: Path) -> None:
    for variable, value in (("SUB3_KEYS_FILE", str(tmp_path)), ("REDIS_URL", "http://somewhere")):
        finished = subprocess.run(
            [sys.executable, "-m", "service"],
            env={**os.environ, variable: value, "SUB3_API_KEYS": "true", "PORT": "0"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.returncode == 2
        assert "Traceback" not in finished.stderr
