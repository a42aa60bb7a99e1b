"""Where the desired state outlives the process: a JSON file here, Redis in `service.stores.redis_state`."""

import contextlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from models.format.typed_json import decode_json

MAX_BYTES = 1 << 20


class StateStoreDown(Exception):
    """The store can't be read or written; the sentence says why."""


class BadState(Exception):
    """What the store holds is no state; the sentence says why."""


@dataclass(frozen=True)
class Saved:
    """A model's desired state as JSON, and how many changes led to it; the higher generation wins.

    `desired` is None of a model that is not to be served.
    """

    generation: int
    desired: Any


class Store(Protocol):
    """Calls block; any thread may make them."""

    @property
    def shared(self) -> bool:
        """Whether other replicas write to it."""

    def read(self, model: str) -> Saved | None:
        """What was saved last; None if nothing was. Raises StateStoreDown, BadState."""

    def write(self, model: str, saved: Saved) -> bool:
        """Keep it, unless what is kept has this generation or a higher one: then False. Raises StateStoreDown."""


class NoStore:
    """Nothing outlives the process."""

    shared = False

    def read(self, model: str) -> Saved | None:
        """None."""
        return None

    def write(self, model: str, saved: Saved) -> bool:
        """True."""
        return True


class FileStore:
    """All models in one file, which is replaced as a whole; a bad file is refused as a whole."""

    shared = False

    def __init__(self, path: Path) -> None:
        """The file need not exist yet."""
        self._path = path
        self._lock = threading.Lock()

    def read(self, model: str) -> Saved | None:
        """What was saved last; None if nothing was. Raises StateStoreDown, BadState."""
        return self._all().get(model)

    def write(self, model: str, saved: Saved) -> bool:
        """Keep it: this process is the only writer, so it is always the newest. Raises StateStoreDown."""
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
                raise StateStoreDown(f"{self._path} can't be written: {error.strerror}.") from None
        return True

    def _all(self) -> dict[str, Saved]:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StateStoreDown(f"{self._path} can't be read: {error.strerror}.") from None
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
            raise BadState(f"{self._path} is no desired state: {error}.") from None


def parse(value: Any) -> Saved:
    """A saved state as a JSON reader made it. Raises ValueError."""
    if not isinstance(value, dict) or set(value) != {"generation", "desired"}:
        raise ValueError("a model must be an object with generation and desired")
    generation = decode_json(int, value["generation"], "generation")
    if generation < 0:
        raise ValueError("generation must not be negative")
    return Saved(generation, value["desired"])


def dump(value: Any) -> bytes:
    """JSON, of Saved in it too."""
    return json.dumps(value, default=asdict).encode()


def _replace(path: Path, content: bytes) -> None:
    """Write under another name, sync, rename, sync the directory: after a crash there is the old file or the new."""
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
