"""Atomic replacement: a reader, also after a crash, finds the old file or directory, or all of the new one."""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux


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
    """Rename the directory `new` to `path`, and remove what was there.

    Where the system can't exchange two names, an old directory goes out of the way first, and back if that fails: a
    process that is killed in between leaves none, and the old one under a name that begins with a dot.
    """
    if not path.exists():
        new.rename(path)
    elif not _exchanged(new, path):
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
        path.replace(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
        new = old
    _sync(path.parent)
    if new.exists():
        shutil.rmtree(new)


def _exchanged(first: Path, second: Path) -> bool:
    """Let two names change places in one step; return False where the system or the file system has no such step."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(error, os.strerror(error), str(first))


def _sync(path: Path) -> None:
    """Wait until a file, or a directory's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
