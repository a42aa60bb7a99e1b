"""Adding a model to a running server of this machine: a directory in its folder, then its admin API."""

import http.client
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from models.format.atomic import replaced_directory
from models.format.directory import open_model
from models.format.faults import NAME
from models.format.package import SUFFIX, unpack
from models.format.schema import CONFIG_FILE
from models.format.store import SHIPPED

DEFAULT_SERVER = "http://127.0.0.1:8080"
_QUICK_S, _LOADING_S = 10.0, 600.0
_MOST_REPLY_BYTES = 64 << 20


class NotAdded(Exception):
    """A model was not added. One sentence, which says why."""


class Served(NamedTuple):
    """A model that was added, as the server names it; pairs are `en -> de`."""

    name: str
    config: str
    pairs: list[str]


def add(model: Path, server: str, *, name: str | None, config: str | None, to: Path | None) -> Served:
    """Put a model into the server's folder and have it served; whatever fails, all is as it was.

    Args:
        model: a package, or a model directory; one that is in the folder already stays where it is.
        server: its URL.
        name: to serve it by; None for that of the directory or the package.
        config: the configuration to serve; None for the model's default.
        to: the server's folder; None for that of SUB3_MODELS_DIRECTORY, or that of the shipped models.

    Raises:
        NotAdded: there is no such server, it refuses, or the name is taken.
        ModelError: the model is bad.
    """
    api = _Admin(server, os.environ.get("SUB3_ADMIN_TOKEN", ""))
    api.call("GET", "/admin/models", _QUICK_S)  # server and token are right, before anything is written
    if to is None and os.environ.get("SUB3_MODEL_DIRECTORY"):
        raise NotAdded("SUB3_MODEL_DIRECTORY names a single model; serve a folder, by SUB3_MODELS_DIRECTORY.")
    folder = to or Path(os.environ.get("SUB3_MODELS_DIRECTORY") or SHIPPED)
    if not folder.is_dir():
        raise NotAdded(f"{folder}: there is no such folder; --folder or SUB3_MODELS_DIRECTORY names the server's.")
    name = name or model.resolve().name.removesuffix(SUFFIX)
    if not NAME.fullmatch(name):
        raise NotAdded(f"{name!r} is not a name: letters, digits, '.', '_' and '-' make one; give another by --name.")
    place = folder / name
    path = f"/admin/models/{quote(name)}" + (f"?config={quote(config)}" if config else "")
    if place.exists() and model.resolve() == place.resolve():
        return _served(api.call("PUT", path, _LOADING_S))
    if place.exists():
        raise NotAdded(f"{place} exists already; give another name by --name, or remove that model first.")
    _copy(model, place)
    try:
        return _served(api.call("PUT", path, _LOADING_S))
    except BaseException as error:
        if not isinstance(error, NotAdded):  # no answer: it may have been loaded
            api.forget(f"/admin/models/{quote(name)}")
        shutil.rmtree(place)
        raise


def _copy(model: Path, place: Path) -> None:
    """Make the directory from a package or another directory, and verify it."""
    if model.is_file():
        unpack(model, place)
        return
    config = open_model(model).config
    with replaced_directory(place) as new:
        for file in (CONFIG_FILE, *config.checked_files, "README.md"):
            if (model / file).is_file():
                shutil.copyfile(model / file, new / file)
        open_model(new)


def _served(reply: Mapping[str, Any]) -> Served:
    pairs = [f"{pair['source']} -> {pair['target']}" for pair in reply["pairs"] if pair["models"] == [reply["name"]]]
    return Served(reply["name"], reply["active"] or "", pairs)


class _Admin:
    """The admin API of a server."""

    def __init__(self, server: str, token: str) -> None:
        self._server, self._token, url = server, token, urlsplit(server)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise NotAdded(f"{server!r} is not the URL of a server, such as {DEFAULT_SERVER}.")
        if not token:
            raise NotAdded("SUB3_ADMIN_TOKEN is not set here; it must be the server's own.")
        self._kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._prefix = url.hostname, url.port, url.path.rstrip("/")

    def call(self, method: str, path: str, timeout_s: float) -> dict[str, Any]:
        """Call a route; return its JSON.

        Raises:
            NotAdded: the server refuses, or nothing answers there.
            OSError: the connection broke before an answer.
        """
        connection = self._kind(self._host, self._port, timeout=timeout_s)
        try:
            connection.connect()
        except OSError as error:
            raise NotAdded(f"Nothing answers at {self._server}: {error.strerror or error}.") from None
        try:
            connection.request(method, self._prefix + path, headers={"Authorization": f"Bearer {self._token}"})
            reply = connection.getresponse()
            body = json.loads(reply.read(_MOST_REPLY_BYTES) or b"null")
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{self._server} gave no answer that can be read: {error!r}.") from None
        finally:
            connection.close()
        if reply.status == http.client.OK and isinstance(body, dict):
            return body
        if reply.status == http.client.NOT_FOUND and path == "/admin/models":
            raise NotAdded(f"{self._server} has no admin API; start it with SUB3_ADMIN_TOKEN.")
        told = body.get("error") if isinstance(body, dict) else None
        raise NotAdded(f"{self._server} refuses: {told or reply.status}")

    def forget(self, path: str) -> None:
        """Have the server stop serving what it may have loaded."""
        try:
            self.call("DELETE", path, _QUICK_S)
        except (NotAdded, OSError):
            return
