"""Storage of the desired state beyond the process: the protocol, and a JSON file. Redis is in `service.stores`."""

import contextlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from models.format.typed_json import decode_json
from service.accounts.unavailable import StoreUnavailable

MAX_BYTES = 1 << 20


class BadState(Exception):
    """The store holds something that is not a state; the sentence says why."""


@dataclass(frozen=True)
class Saved:
    """A model's desired state as JSON, and its generation, the number of changes so far; the higher one wins.

    `desired` is None if the model is not to be served.
    """

    generation: int
    desired: Any


class StateStore(Protocol):
    """Storage of desired states. Calls block; any thread may make them."""

    @property
    def shared(self) -> bool:
        """Whether other replicas write to it."""

    def read(self, model: str) -> Saved | None:
        """Return the last saved state; None if there is none. Raises StoreUnavailable, BadState."""

    def write(self, model: str, saved: Saved) -> bool:
        """Store a state, unless the stored generation is as high; return whether. Raises StoreUnavailable."""


class NoStore:
    """A store that stores nothing; see `StateStore`."""

    shared = False

    def read(self, model: str) -> Saved | None:
        """Return None."""
        return None

    def write(self, model: str, saved: Saved) -> bool:
        """Return True."""
        return True


class FileStore:
    """One JSON file for all models, replaced as a whole; a malformed file is refused as a whole."""

    shared = False

    def __init__(self, path: Path) -> None:
        """Open nothing yet; the file need not exist."""
        self._path = path
        self._lock = threading.Lock()

    def read(self, model: str) -> Saved | None:
        """See StateStore."""
        return self._all().get(model)

    def write(self, model: str, saved: Saved) -> bool:
        """Store a state: this process is the only writer, so it is always the newest. Raises StoreUnavailable."""
        with self._lock:
            try:
                known = self._all()
            except BadState:  # it was refused at start, with a line in the log
                known = {}
            models = {**known, model: saved}
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                _replace(self._path, dump({"models": models}))
            except OSError as error:
                raise StoreUnavailable(f"{self._path} can't be written: {error.strerror}.") from None
        return True

    def _all(self) -> dict[str, Saved]:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreUnavailable(f"{self._path} can't be read: {error.strerror}.") from None
        try:
            if len(content) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
            document = orjson.loads(content)
            if not isinstance(document, dict) or set(document) != {"models"}:
                raise ValueError("it must be an object with the one field models")
            if not isinstance(document["models"], dict):
                raise ValueError("models must be an object")
            return {name: parse(value) for name, value in document["models"].items()}
        except ValueError as error:
            raise BadState(f"{self._path} is not a desired state: {error}.") from None


def parse(value: Any) -> Saved:
    """Check a saved state that a JSON reader returned. Raises ValueError."""
    if not isinstance(value, dict) or set(value) != {"generation", "desired"}:
        raise ValueError("a model must be an object with generation and desired")
    generation = decode_json(int, value["generation"], "generation")
    if generation < 0:
        raise ValueError("generation must not be negative")
    return Saved(generation, value["desired"])


def dump(value: Any) -> bytes:
    """Encode as JSON; the value may contain Saved."""
    return json.dumps(value, default=asdict).encode()


def _replace(path: Path, content: bytes) -> None:
    """Write under another name, sync, rename, sync the directory: a crash leaves the old file or the new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
