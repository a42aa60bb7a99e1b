"""Stores in SQLite files of this server: API keys and glossaries. A record is a line of JSON.

Several processes may have a file open: the server and the command line.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from service.accounts.glossaries import Change, Head, outdated
from service.accounts.keys import NameTaken, Record
from service.accounts.unavailable import StoreUnavailable
from service.stores.records import read_heads, read_record, read_records, write_record

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

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the block in one step; if it fails, nothing of it has happened."""
        with self._failures():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")


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
        with self._transaction():
            row = self._database.execute("SELECT record FROM keys WHERE name = ?", (name,)).fetchone()
            if row is None or (record := read_record(Record, row[0])) is None:
                return None
            record = change(record)
            changed = write_record(record, row[0])
            self._database.execute("UPDATE keys SET record = ? WHERE name = ?", (changed, name))
            return record


class SqliteGlossaries(_File):
    """Glossaries: a row for each head, and one for the entries of each dictionary; see `GlossaryStore`."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises StoreUnavailable."""
        super().__init__(
            path,
            "glossaries",
            "CREATE TABLE IF NOT EXISTS heads (number INTEGER PRIMARY KEY, owner TEXT NOT NULL, id TEXT NOT NULL, "
            "head TEXT NOT NULL, UNIQUE (owner, id))",
            "CREATE TABLE IF NOT EXISTS dictionaries "
            "(owner TEXT NOT NULL, id TEXT NOT NULL, entries TEXT NOT NULL, PRIMARY KEY (owner, id)) WITHOUT ROWID",
        )
        with self._failures():
            row = self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'glossaries'").fetchone()
        if row is not None:  # version 0.1 had all of a glossary in one row
            with self._transaction():
                self._database.execute("INSERT INTO heads SELECT number, owner, id, head FROM glossaries")
                self._database.execute("INSERT INTO dictionaries SELECT owner, id, entries FROM glossaries")
                self._database.execute("DROP TABLE glossaries")

    def heads(self, owner: str) -> list[Head]:
        """See GlossaryStore."""
        with self._failures():
            rows = self._database.execute("SELECT head FROM heads WHERE owner = ? ORDER BY number", (owner,))
            return read_heads(row[0] for row in rows)

    def entries(self, owner: str, dictionary_id: str) -> dict[str, str] | None:
        """See GlossaryStore."""
        with self._failures():
            query = "SELECT entries FROM dictionaries WHERE owner = ? AND id = ?"
            row = self._database.execute(query, (owner, dictionary_id)).fetchone()
            return None if row is None else orjson.loads(row[0])

    def update(self, owner: str, glossary_id: str, change: Callable[[list[Head]], Change]) -> None:
        """See GlossaryStore."""
        with self._transaction():
            heads = self.heads(owner)
            changed = change(heads)
            if changed.head is None:
                self._database.execute("DELETE FROM heads WHERE owner = ? AND id = ?", (owner, glossary_id))
            else:
                self._database.execute(
                    "INSERT INTO heads (owner, id, head) VALUES (?, ?, ?) "
                    "ON CONFLICT (owner, id) DO UPDATE SET head = excluded.head",
                    (owner, glossary_id, write_record(changed.head)),
                )
            self._database.executemany(
                "DELETE FROM dictionaries WHERE owner = ? AND id = ?",
                [(owner, gone) for gone in outdated(heads, glossary_id, changed)],
            )
            self._database.executemany(
                "INSERT INTO dictionaries VALUES (?, ?, ?)",
                [(owner, id, orjson.dumps(entries).decode()) for id, entries in changed.entries.items()],
            )
