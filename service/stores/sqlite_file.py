"""A SQLite file in which a store of the server keeps its records."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.accounts.keys import StoreDown


def open_file(path: Path, what: str, *statements: str) -> sqlite3.Connection:
    """Open the file, or make it, readable for its owner only, and carry out the statements.

    Args:
        path: the file; several processes may have it open.
        what: what it holds, for the sentences of errors.

    Raises:
        StoreDown: it can't be.
    """
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise StoreDown(f"The file of {what} can't be opened: {error.strerror}.") from None
    with failures(what):
        database = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")  # a reader doesn't wait for a writer
        for statement in statements:
            database.execute(statement)
    return database


@contextmanager
def failures(what: str) -> Iterator[None]:
    """SQLite's errors as a sentence. Raises StoreDown."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreDown(f"The file of {what} fails: {error}.") from None
