"""The process of a file, by itself."""

import marshal
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.files import child


@pytest.mark.parametrize("ending", [".po", ".xlsx", ".yaml"])
def test_limits_leave_whole_bytecode_behind(tmp_path: Path, ending: str) -> None:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as result:
        fds = (source.fileno(), result.fileno())
        task = child.Task(ending, "de", *fds, 100, 128 << 20, 10, 4000, 1)
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONPYCACHEPREFIX": str(tmp_path)}
        command = [sys.executable, "-P", "-m", child.__name__, str(task)]
        ended = subprocess.run(command, env=environment, pass_fds=fds, input=b"", capture_output=True, check=True)
    assert b"refused" in ended.stdout or b"characters" in ended.stdout
    written = list(tmp_path.rglob("*.pyc"))
    assert any("service/files" in str(path) for path in written)
    for path in written:
        marshal.loads(path.read_bytes()[16:])  # raises where it is cut
