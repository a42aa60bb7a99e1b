"""Atomic replacement: a reader, also after a crash, finds the old file or directory, or all of the new one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside `path`, through to the disk, and rename it to `path`."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.new-", dir=path.parent)
    os.close(descriptor)
    new = Path(name)
    try:
        new.write_bytes(content)
        new.chmod(0o644)
        _sync(new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextlib.contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """Give an empty directory beside `path` to fill; it takes the place of `path` when the block ends without an error.

    It must hold files only. Whoever has files of the old directory open or mapped keeps them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    try:
        new.chmod(0o755)
        yield new
        for file in new.iterdir():
            _sync(file)
        _sync(new)
        move_into_place(new, path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def move_into_place(new: Path, path: Path) -> None:
    """Rename the directory `new` to `path`; an old one goes out of the way first, and back if that fails."""
    old = None
    if path.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
        path.replace(old)
    try:
        new.rename(path)
    except OSError:
        if old is not None:
            old.rename(path)
        raise
    _sync(path.parent)
    if old is not None:
        shutil.rmtree(old)


def _sync(path: Path) -> None:
    """Wait until a file, or a directory's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
