"""Limits of control groups, as both of their versions write them."""

import os
from pathlib import Path

import pytest

from service.process import usable_cores


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path / "proc"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("outer", "inner", "cores"),
    [
        ("max 100000", "max 100000", 8),
        ("max 100000", "250000 100000", 2),
        ("300000 100000", "max 100000", 3),
        ("300000 100000", "1200000 100000", 3),
        ("50000 100000", "max 100000", 1),
        ("what is this?", "400000 100000", 4),
    ],
)
def test_the_smallest_quota_on_the_way_to_the_root_counts_in_whole_cores(
    tmp_path: Path, proc: Path, outer: str, inner: str, cores: int
) -> None:
    folder = tmp_path / "cgroups/outer/inner"
    folder.mkdir(parents=True)
    (proc / "self/cgroup").write_text("0::/outer/inner\n")
    (folder / "cpu.max").write_text(f"{inner}\n")
    (folder.parent / "cpu.max").write_text(f"{outer}\n")
    assert usable_cores(tmp_path / "cgroups", proc) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("200000", 2)])
def test_the_first_version_has_two_files(tmp_path: Path, proc: Path, quota: str, cores: int) -> None:
    folder = tmp_path / "cgroups/cpu/docker"
    folder.mkdir(parents=True)
    (proc / "self/cgroup").write_text("4:memory:/docker\n3:cpu,cpuacct:/docker\n")
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path / "cgroups", proc) == cores


def test_without_control_groups_it_is_what_the_process_is_bound_to(
    tmp_path: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert usable_cores(tmp_path, proc) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert usable_cores(tmp_path, proc) == 1
