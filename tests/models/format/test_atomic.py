"""Replacing files and directories: the new one wholly, or the old one as it was."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from models.format import atomic
from models.format.atomic import move_into_place, replace_file, replaced_directory


@pytest.fixture
def old(tmp_path):
    """Make a directory with one file."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    return path


@pytest.fixture(params=["in one step", "in two"])
def renaming(request, monkeypatch):
    """Rename as a system does that can exchange names, and as one that cannot."""
    if request.param == "in two":
        monkeypatch.setattr(atomic, "_exchanged", lambda first, second: False)


@pytest.mark.usefixtures("renaming")
def test_a_directory_takes_the_place_of_the_old_one(old):
    with (old / "old").open() as file:
        with replaced_directory(old) as new:
            (new / "new").write_text("new")
            assert [path.name for path in old.iterdir()] == ["old"]
        assert [path.name for path in old.iterdir()] == ["new"]
        assert file.read() == "old"
    assert list(old.parent.iterdir()) == [old]
    assert old.stat().st_mode & 0o777 == 0o755


def test_a_directory_may_be_the_first_of_its_parents(tmp_path):
    with replaced_directory(tmp_path / "some" / "model") as new:
        (new / "new").write_text("new")
    assert (tmp_path / "some" / "model" / "new").read_text() == "new"


def test_after_an_error_there_is_the_old_directory_alone(old):
    def interrupted():
        with replaced_directory(old) as new:
            (new / "new").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(old.parent.rglob("*")) == [old, old / "old"]


@pytest.mark.usefixtures("renaming")
def test_the_old_directory_comes_back_if_the_new_one_cannot_take_its_place(old):
    with pytest.raises(FileNotFoundError):
        move_into_place(old.parent / "nowhere", old)
    assert list(old.parent.rglob("*")) == [old, old / "old"]
    assert (old / "old").read_text() == "old"


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "config.json"
    for content in (b"one", b"two"):
        replace_file(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "config.json"
    path.mkdir()
    with pytest.raises(OSError, match=os.strerror(21)):
        replace_file(path, b"one")
    assert list(tmp_path.iterdir()) == [path]


def killed_at(step, write):
    """Write in a process that is killed at the step of that number which Python tells of; return whether it was."""
    left = step

    def count(event, arguments):
        nonlocal left
        if event.split(".")[0] in ("open", "os", "shutil", "tempfile", "ctypes"):
            left -= 1
            if left < 0:
                signal.raise_signal(signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            sys.addaudithook(count)
            write()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_process_that_is_killed_at_any_step_leaves_the_old_or_the_new(old, kind):
    file = old / "old"

    def write():
        if kind == "file":
            replace_file(file, b"new")
            return
        with replaced_directory(old) as new:
            (new / "old").write_text("new")

    step, found = 0, []
    while killed_at(step, write):
        found.append(file.read_text())
        step += 1
    assert {*found, file.read_text()} == {"old", "new"}
    assert found[0] == "old"
