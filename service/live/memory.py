"""The memory that this process may have, and giving back what it no longer needs."""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

from kernels.engine import position_table_bytes
from models.format.directory import ModelDirectory
from service.process import CGROUPS, PROC, memory_limits

_M_ARENA_MAX = -8  # of malloc.h


class InsufficientMemory(Exception):
    """What is to be loaded does not fit the limit; the sentence says the figures and the way out."""


def own_bytes(directory: ModelDirectory) -> int:
    """What a loaded configuration allocates beside its mapped weights: the engine's table of positions."""
    architecture = directory.config.architecture
    return position_table_bytes(architecture.max_positions, architecture.d_model)


def resident_weight_bytes(directory: ModelDirectory, smaps: Path = Path("/proc/self/smaps")) -> int:
    """What of the mapped weight files is resident in this process; 0 where there is no /proc."""
    files = {
        str((directory.path / mapped.file).resolve()) for mapped in (directory.main, *directory.specialised.values())
    }
    try:
        lines = smaps.read_text().splitlines()
    except OSError:
        return 0
    total, ours = 0, False
    for words in (line.split(maxsplit=5) for line in lines):
        if not words[0].endswith(":"):  # the head of a mapping: addresses, rights, offset, device, inode, path
            ours = words[5:] != [] and words[5] in files
        elif ours and words[0] == "Rss:":
            total += 1024 * int(words[1])
    return total


def limit_bytes(setting: int | None, cgroups: Path = CGROUPS, proc: Path = PROC) -> int | None:
    """The smallest of the setting and the limits of this process's control groups; None if nothing limits it."""
    return min([*([] if setting is None else [setting]), *memory_limits(cgroups, proc)], default=None)


def give_back(directory: ModelDirectory) -> None:
    """Return pages that nothing live needs to the system.

    Weight pages: all of the mapping, as those in use come back from the page cache at their next touch (0.3 ms a swap;
    a swap from eight planes to two of the default model kept 10 of 69 MB without it). The heap: 1 MB a swap.
    """
    directory.release_pages()
    trim_heap()


def trim_heap() -> None:
    """Return what was freed to the system, which glibc's malloc keeps until it is told; 0.1 ms."""
    if trim := _malloc_trim():
        trim(0)


def share_one_heap() -> None:
    """Have glibc's malloc serve all threads from one heap; to be called before they start.

    By default each gets one of its own, and keeps what the engines that it has loaded left in it: under a swap a second
    the resident memory rose for minutes (2.2 % in 300 swaps), now it doesn't, and it is 2 MB less. The threads seldom
    allocate, so they don't wait for each other.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 1)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Glibc's malloc_trim; None with another C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
