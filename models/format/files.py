"""Files of a model directory, read whole: whatever is wrong with one is a `ModelError`."""

import hashlib
from pathlib import Path
from typing import Any

from models.format.schema import ModelError
from models.format.typed_json import MAX_JSON_BYTES, parse_json


def sentence(error: Exception) -> str:
    """Say what an error says; of the system's, what was refused, without its number."""
    if not isinstance(error, OSError):
        return str(error)
    what = f"{error.strerror or error}."
    return what if error.filename is None else f"{error.filename}: {what[0].lower()}{what[1:]}"


def require_file(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path}: the file is missing.")
    if not path.is_file():
        raise ModelError(f"{path}: this is not a regular file.")


def sha256(path: Path) -> str:
    require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    data = read_bytes(path)
    try:
        return parse_json(data)
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None


def read_bytes(path: Path) -> bytes:
    """Read a file that must be small."""
    require_file(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{path}: the file is larger than {MAX_JSON_BYTES} bytes.")
    return path.read_bytes()
