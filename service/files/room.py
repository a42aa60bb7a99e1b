"""The disk that uploads and results are written to, when it is full."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class NoRoom(Exception):
    """The temporary directory is full."""

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__("The server has no room for files at the moment; retry later.")


@contextmanager
def room_needed() -> Iterator[None]:
    """Write to the disk in the block.

    Raises:
        NoRoom: it is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom from None
        raise
