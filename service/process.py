"""What this process may use of the machine: the limits of its control groups, which containers are made of."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
_UNLIMITED = 1 << 62  # the first version of control groups says "no limit" by a number of about 2^63


def memory_limits(cgroups: Path = CGROUPS, proc: Path = PROC) -> list[int]:
    """Bytes that the groups of this process let it have; none where nothing limits it."""
    limits = []
    for group, version in _groups("memory", cgroups, proc):
        with contextlib.suppress(OSError, ValueError):  # no such file here, or "max"
            limits.append(int((group / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text()))
    return [limit for limit in limits if limit < _UNLIMITED]


def usable_cores(cgroups: Path = CGROUPS, proc: Path = PROC) -> int:
    """Cores that this process can keep busy, at least 1: those it is bound to, fewer if its groups' quota is smaller.

    A part of a core does not count: a thread that uses up the quota holds up what waits for it.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    for group, version in _groups("cpu", cgroups, proc):
        with contextlib.suppress(OSError, ValueError):
            if version == 2:
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota, period = ((group / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
            if int(quota) > 0:  # the first version says "no limit" by -1
                quotas.append(int(quota) // int(period))
    return max(1, min([bound, *quotas]))


def _groups(controller: str, cgroups: Path, proc: Path) -> Iterator[tuple[Path, int]]:
    """Folders of the groups up to the root, and the version of each; within a container its own group is the root."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers != "" and controller not in controllers.split(","):
            continue
        root, version = (cgroups, 2) if controllers == "" else (cgroups / controller, 1)
        group = root / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(root))):
            yield folder, version
