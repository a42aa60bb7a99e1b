"""The process and its container: limits of control groups, resident memory, glibc's heap."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
_UNLIMITED = 1 << 62  # cgroup v1 writes "no limit" as a number of about 2^63
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_M_ARENA_MAX = -8  # of malloc.h


def memory_limits(cgroups: Path = CGROUPS, proc: Path = PROC) -> list[int]:
    """Return the memory limits of this process's control groups, in bytes; empty if nothing limits it."""
    limits = []
    for group, version in _groups("memory", cgroups, proc):
        with contextlib.suppress(OSError, ValueError):  # no such file here, or "max"
            limits.append(int((group / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text()))
    return [limit for limit in limits if limit < _UNLIMITED]


def usable_cores(cgroups: Path = CGROUPS, proc: Path = PROC) -> int:
    """Return the cores that this process can keep busy, at least 1: its affinity, or the CPU quota if that is smaller.

    A fraction of a core does not count: a thread that uses up the quota delays everything that waits for it.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    for group, version in _groups("cpu", cgroups, proc):
        with contextlib.suppress(OSError, ValueError):
            if version == 2:
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota, period = ((group / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
            if int(quota) > 0:  # cgroup v1 writes "no limit" as -1
                quotas.append(int(quota) // int(period))
    return max(1, min([bound, *quotas]))


def process_rss_bytes() -> int:
    """Return the resident bytes of this process (the peak where there is no /proc)."""
    if (statm := _statm()) is not None:
        return int(os.pread(statm, 64, 0).split()[1]) * _PAGE_BYTES
    return process_peak_rss_bytes()


def process_peak_rss_bytes() -> int:
    """Return the most bytes that were resident in this process at a time."""
    with contextlib.suppress(OSError):  # where there is no /proc
        fields = dict(line.split(":", 1) for line in (PROC / "self/status").read_text(encoding="ascii").splitlines())
        return 1024 * int(fields["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def trim_heap() -> None:
    """Return freed memory to the system, which glibc's malloc keeps until it is told; 0.1 ms."""
    if trim := _malloc_trim():
        trim(0)


def share_one_heap() -> None:
    """Have glibc's malloc serve all threads from one heap; to be called before they start.

    By default each thread gets a heap, which keeps what the engines that it loaded have left: with a swap a second the
    resident memory rose for minutes (2.2 % in 300 swaps). With one heap it does not, and it is 2 MB less. The threads
    seldom allocate, so they do not wait for each other.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 1)


@cache
def _statm() -> int | None:
    """Open /proc/self/statm, once: opening it takes twenty times as long as reading it."""
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Find glibc's malloc_trim; None with another C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def _groups(controller: str, cgroups: Path, proc: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folder and the version of each group up to the root, which in a container is its own group."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers != "" and controller not in controllers.split(","):
            continue
        root, version = (cgroups, 2) if controllers == "" else (cgroups / controller, 1)
        group = root / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(root))):
            yield folder, version
