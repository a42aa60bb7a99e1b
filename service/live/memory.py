"""The memory that a configuration will take, and whether it fits."""

import contextlib
from pathlib import Path

from kernels.engine import position_table_bytes
from models.format.directory import ModelDirectory
from service.process import CGROUPS, PROC, memory_limits, trim_heap


class InsufficientMemory(Exception):
    """The models to load do not fit the limit; the sentence gives the figures and the way out."""


def own_bytes(directory: ModelDirectory) -> int:
    """Return what a loaded configuration allocates beside its mapped weights: the engine's table of positions."""
    architecture = directory.config.architecture
    return position_table_bytes(architecture.max_positions, architecture.d_model)


def resident_weight_bytes(directory: ModelDirectory, smaps: Path = PROC / "self/smaps") -> int:
    """Return the resident bytes of the mapped weight files; 0 where there is no /proc.

    Line by line: the whole list of a process with 2,000 mappings is 6 MB, which would count as resident afterwards.
    """
    files = {
        str((directory.path / mapped.file).resolve()) for mapped in (directory.main, *directory.specialised.values())
    }
    total, ours = 0, False
    with contextlib.suppress(OSError), smaps.open() as lines:
        for words in (line.split(maxsplit=5) for line in lines):
            if not words[0].endswith(":"):  # the head of a mapping: addresses, rights, offset, device, inode, path
                ours = words[5:] != [] and words[5].rstrip("\n") in files
            elif ours and words[0] == "Rss:":
                total += 1024 * int(words[1])
    return total


def limit_bytes(setting: int | None, cgroups: Path = CGROUPS, proc: Path = PROC) -> int | None:
    """Return the smallest of the setting and the limits of the control groups; None if nothing limits this process."""
    return min([*([] if setting is None else [setting]), *memory_limits(cgroups, proc)], default=None)


def give_back(directory: ModelDirectory) -> None:
    """Return pages that nothing live needs to the system.

    Weight pages: all of the mapping, as those in use come back from the page cache at their next touch (0.3 ms a swap;
    without it a swap from eight planes to two of the default model kept 10 of 69 MB). The heap: 1 MB a swap.
    """
    directory.release_pages()
    trim_heap()
