"""Where glossaries are kept: a SQLite file, or Redis where several replicas share them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.accounts.glossaries import Head, Store
from service.accounts.keys import StoreDown
from service.settings import Settings
from service.stores.redis_client import RedisClient
from service.stores.sqlite_file import failures, open_file

_HELD = "glossaries"
_HEADS, _ENTRIES = "sub3:glossary-heads:", "sub3:glossary-entries:"


def open_store(settings: Settings) -> Store:
    """The settings' store: Redis if they name one, else the SQLite file.

    Raises:
        StoreDown: the file can't be opened. (Redis may be down; it is asked again.)
    """
    if settings.redis_url is not None:
        return RedisStore(settings.redis_url.get_secret_value(), settings.redis_password)
    return SqliteStore(settings.glossaries_file)


class SqliteStore:
    """One file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it, readable for its owner only.

        Raises:
            StoreDown: it can't be.
        """
        self._database = open_file(
            path,
            _HELD,
            "CREATE TABLE IF NOT EXISTS glossaries "
            "(number INTEGER PRIMARY KEY, owner TEXT NOT NULL, id TEXT NOT NULL, head TEXT NOT NULL, "
            "entries TEXT NOT NULL, UNIQUE (owner, id))",
        )

    def add(self, owner: str, head: Head, entries: Mapping[str, str], most: int) -> bool:
        """See Store."""
        with failures(_HELD):
            added = self._database.execute(
                "INSERT INTO glossaries (owner, id, head, entries) "
                "SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) FROM glossaries WHERE owner = ?1) < ?5",
                (owner, head.id, _dump(head), json.dumps(entries), most),
            )
            return added.rowcount == 1

    def heads(self, owner: str) -> list[Head]:
        """See Store."""
        with failures(_HELD):
            rows = self._database.execute("SELECT head FROM glossaries WHERE owner = ? ORDER BY number", (owner,))
            return [_load(row[0]) for row in rows]

    def entries(self, owner: str, glossary_id: str) -> dict[str, str] | None:
        """See Store."""
        with failures(_HELD):
            query = "SELECT entries FROM glossaries WHERE owner = ? AND id = ?"
            row = self._database.execute(query, (owner, glossary_id)).fetchone()
            return None if row is None else json.loads(row[0])

    def remove(self, owner: str, glossary_id: str) -> bool:
        """See Store."""
        with failures(_HELD):
            query = "DELETE FROM glossaries WHERE owner = ? AND id = ?"
            return self._database.execute(query, (owner, glossary_id)).rowcount == 1

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class RedisStore(RedisClient):
    """Two hashes for each owner, heads and entries by id, changed in one transaction."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """`password` where the address holds none. Raises StoreDown as RedisClient says."""
        super().__init__(url, StoreDown, password=password, decode_responses=True)

    def add(self, owner: str, head: Head, entries: Mapping[str, str], most: int) -> bool:
        """See Store."""

        def write(pipe: Any) -> bool:
            if pipe.hlen(_HEADS + owner) >= most:
                return False
            pipe.multi()
            pipe.hset(_HEADS + owner, head.id, _dump(head))
            pipe.hset(_ENTRIES + owner, head.id, json.dumps(entries))
            return True

        with self._failures():
            return bool(self._redis.transaction(write, _HEADS + owner, value_from_callable=True))

    def heads(self, owner: str) -> list[Head]:
        """See Store."""
        with self._failures():
            return sorted(map(_load, self._redis.hvals(_HEADS + owner)), key=lambda head: (head.created, head.id))

    def entries(self, owner: str, glossary_id: str) -> dict[str, str] | None:
        """See Store."""
        with self._failures():
            text = self._redis.hget(_ENTRIES + owner, glossary_id)
            return None if text is None else json.loads(text)

    def remove(self, owner: str, glossary_id: str) -> bool:
        """See Store."""
        with self._failures(), self._redis.pipeline() as pipe:
            pipe.hdel(_HEADS + owner, glossary_id)
            pipe.hdel(_ENTRIES + owner, glossary_id)
            return bool(pipe.execute()[0])


def _dump(head: Head) -> str:
    return json.dumps(asdict(head))


def _load(text: str) -> Head:
    return Head(**json.loads(text))
