"""Where API keys are kept: a SQLite file, or Redis where several replicas share them. A record is a line of JSON."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.accounts.keys import NameTaken, Record, Store, StoreDown
from service.settings import Settings
from service.stores.redis_client import RedisClient
from service.stores.sqlite_file import failures, open_file

_HELD = "API keys"
_PREFIX = "sub3:key:"


def open_store(settings: Settings) -> Store:
    """The settings' store: Redis if they name one, else the SQLite file.

    Raises:
        StoreDown: the file can't be opened. (Redis may be down at start; it is asked again.)
    """
    if settings.redis_url is not None:
        return RedisStore(settings.redis_url.get_secret_value(), settings.redis_password)
    return SqliteStore(settings.keys_file)


class SqliteStore:
    """One file, which the server and the command line may have open at the same time."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it, readable for its owner only.

        Raises:
            StoreDown: it can't be.
        """
        self._database = open_file(
            path,
            _HELD,
            "PRAGMA synchronous = NORMAL",  # no fsync a request; a power cut may lose counts
            "CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, record TEXT NOT NULL)",
        )

    def add(self, record: Record) -> None:
        """See Store."""
        with failures(_HELD):
            try:
                self._database.execute("INSERT INTO keys VALUES (?, ?)", (record.name, _dump(record)))
            except sqlite3.IntegrityError:
                raise _taken(record) from None

    def all(self) -> list[Record]:
        """See Store."""
        with failures(_HELD):
            return [_load(row[0]) for row in self._database.execute("SELECT record FROM keys ORDER BY name")]

    def update(self, name: str, change: Callable[[Record], Record]) -> Record | None:
        """See Store."""
        with failures(_HELD):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                row = self._database.execute("SELECT record FROM keys WHERE name = ?", (name,)).fetchone()
                if row is None:
                    return None
                record = change(_load(row[0]))
                self._database.execute("UPDATE keys SET record = ? WHERE name = ?", (_dump(record), name))
                self._database.execute("COMMIT")
                return record
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class RedisStore(RedisClient):
    """A Redis key for each record, changed under WATCH, so that replicas never overwrite each other's counts."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """`password` where the address holds none. Raises StoreDown as RedisClient says."""
        super().__init__(url, StoreDown, password=password, decode_responses=True)

    def add(self, record: Record) -> None:
        """See Store."""
        with self._failures():
            if not self._redis.set(_PREFIX + record.name, _dump(record), nx=True):
                raise _taken(record)

    def all(self) -> list[Record]:
        """See Store."""
        with self._failures():
            names = sorted(self._redis.scan_iter(f"{_PREFIX}*", count=1000))
            texts: list[Any] = self._redis.mget(names) if names else []
            return [_load(text) for text in texts if text is not None]

    def update(self, name: str, change: Callable[[Record], Record]) -> Record | None:
        """See Store."""

        def write(pipe: Any) -> Any:
            text = pipe.get(_PREFIX + name)
            if text is None:
                return None
            record = change(_load(text))
            pipe.multi()
            pipe.set(_PREFIX + name, _dump(record))
            return record

        with self._failures():
            changed: Any = self._redis.transaction(write, _PREFIX + name, value_from_callable=True)
            return changed if isinstance(changed, Record) else None


def _taken(record: Record) -> NameTaken:
    return NameTaken(f"There is or was a key named {record.name}; choose another name.")


def _dump(record: Record) -> str:
    return json.dumps(asdict(record))


def _load(text: str) -> Record:
    return Record(**json.loads(text))
