"""Stores in SQLite files of this server: API keys and glossaries. A record is a line of JSON.

Several processes may have a file open: the server and the command line.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from service.accounts.glossaries import Head
from service.accounts.keys import NameTaken, Record
from service.accounts.unavailable import StoreUnavailable
from service.stores.records import read_record, read_records, write_record

_BUSY_S = 0.5  # how long a statement waits for another process's transaction


class _File:
    """One SQLite file, and how it fails."""

    def __init__(self, path: Path, content: str, *statements: str) -> None:
        """Open or create the file, readable by its owner only, and run the statements.

        Args:
            path: the file.
            content: what it holds, for the sentences of errors.
            statements: SQL.

        Raises:
            StoreUnavailable: the file cannot be opened.
        """
        self._content = content
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise StoreUnavailable(f"The file of {content} can't be opened: {error.strerror}.") from None
        with self._failures():
            self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")  # a reader doesn't wait for a writer
            for statement in statements:
                self._database.execute(statement)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"The file of {self._content} fails: {error}.") from None


class SqliteKeys(_File):
    """API keys, one row each; see `KeyStore`."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises StoreUnavailable."""
        super().__init__(
            path,
            "API keys",
            "PRAGMA synchronous = NORMAL",  # no fsync a request; a power cut may lose counts
            "CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, record TEXT NOT NULL)",
        )

    def add(self, record: Record) -> None:
        """See KeyStore."""
        with self._failures():
            try:
                self._database.execute("INSERT INTO keys VALUES (?, ?)", (record.name, write_record(record)))
            except sqlite3.IntegrityError:
                raise NameTaken(record.name) from None

    def all(self) -> list[Record]:
        """See KeyStore."""
        with self._failures():
            rows = self._database.execute("SELECT record FROM keys ORDER BY name")
            return read_records(Record, (row[0] for row in rows))

    def update(self, name: str, change: Callable[[Record], Record]) -> Record | None:
        """See KeyStore."""
        with self._failures():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                row = self._database.execute("SELECT record FROM keys WHERE name = ?", (name,)).fetchone()
                if row is None or (record := read_record(Record, row[0])) is None:
                    return None
                record = change(record)
                changed = write_record(record, row[0])
                self._database.execute("UPDATE keys SET record = ? WHERE name = ?", (changed, name))
                self._database.execute("COMMIT")
                return record
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")


class SqliteGlossaries(_File):
    """Glossaries, one row each; see `GlossaryStore`."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises StoreUnavailable."""
        super().__init__(
            path,
            "glossaries",
            "CREATE TABLE IF NOT EXISTS glossaries "
            "(number INTEGER PRIMARY KEY, owner TEXT NOT NULL, id TEXT NOT NULL, head TEXT NOT NULL, "
            "entries TEXT NOT NULL, UNIQUE (owner, id))",
        )

    def add(self, owner: str, head: Head, entries: Mapping[str, str], most: int) -> bool:
        """Store a new glossary, unless the owner has `most` already; return whether it was stored.

        Args:
            owner: the name of an API key, or NOBODY.
            head: with an id that is new.
            entries: terms and their translations.
            most: glossaries that an owner may have.
        """
        with self._failures():
            added = self._database.execute(
                "INSERT INTO glossaries (owner, id, head, entries) "
                "SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) FROM glossaries WHERE owner = ?1) < ?5",
                (owner, head.id, write_record(head), json.dumps(entries), most),
            )
            return added.rowcount == 1

    def heads(self, owner: str) -> list[Head]:
        """See GlossaryStore."""
        with self._failures():
            rows = self._database.execute("SELECT head FROM glossaries WHERE owner = ? ORDER BY number", (owner,))
            return read_records(Head, (row[0] for row in rows))

    def entries(self, owner: str, glossary_id: str) -> dict[str, str] | None:
        """See GlossaryStore."""
        with self._failures():
            query = "SELECT entries FROM glossaries WHERE owner = ? AND id = ?"
            row = self._database.execute(query, (owner, glossary_id)).fetchone()
            return None if row is None else json.loads(row[0])

    def remove(self, owner: str, glossary_id: str) -> bool:
        """See GlossaryStore."""
        with self._failures():
            query = "DELETE FROM glossaries WHERE owner = ? AND id = ?"
            return self._database.execute(query, (owner, glossary_id)).rowcount == 1
