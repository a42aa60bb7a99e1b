"""Records as JSON in a store that other versions of this program write, too."""

import json
import logging
from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from models.format.typed_json import decode_json
from service.accounts.glossaries import ENTRY_BYTES, Dictionary, Head

T = TypeVar("T")
_log = logging.getLogger("sub3.stores")


def read_record(kind: type[T], text: str | bytes | None) -> T | None:
    """Read a record; None, with a line in the log, for what is not one.

    Args:
        kind: a dataclass. Fields that it does not have are a newer version's and are left out; those with a default may
            be missing.
        text: None where the store has something else than text.
    """
    try:
        document = json.loads(text if text is not None else "null")
        if not isinstance(document, dict):
            raise ValueError("it must be an object")
        absent = {field.name: field.default for field in fields(kind) if field.default is not MISSING}  # type: ignore[arg-type]
        known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
        whole = absent | {name: value for name, value in document.items() if name in known}
        record: T = decode_json(kind, whole, "the document")
    except (ValueError, RecursionError) as error:
        _log.error("A record of the store is not a %s and is skipped: %s.", kind.__name__, error)
        return None
    return record


def read_records(kind: type[T], texts: Iterable[str | bytes | None]) -> list[T]:
    """Read records, without those that are not."""
    return [record for text in texts if (record := read_record(kind, text)) is not None]


def read_heads(texts: Iterable[str | bytes | None]) -> list[Head]:
    """Read heads of glossaries, without what is none. In version 0.1 a glossary was a dictionary, with the same id."""
    return read_records(Head, map(_renewed, texts))


def _renewed(text: str | bytes | None) -> str | bytes | None:
    try:
        match json.loads(text or "null"):
            case {"id": str(id), "source": str(source), "target": str(target), "entries": int(entries), **rest}:
                only = Dictionary(id, source, target, entries, entries * ENTRY_BYTES)
                return json.dumps({**rest, "id": id, "dictionaries": [asdict(only)]})
    except (ValueError, RecursionError):
        pass
    return text


def write_record(record: Any, replaced: str | bytes = "{}") -> str:
    """Write a record; fields of the replaced one that a newer version has written stay."""
    return json.dumps({**json.loads(replaced), **asdict(record)})
