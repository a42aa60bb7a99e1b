"""Corpora on Ray Data: the same bytes as one process, whoever dies meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.__main__ import main
from tests.conftest import ROOT
from tests.load.sentences import OURS

SHARDS = 6


@pytest.fixture
def folder(tmp_path):
    """Write shards of some seconds' work, and `single`, what one process makes of them."""
    for number in range(SHARDS):
        entries = [{"n": n, "text": OURS[(n + number) % len(OURS)]} for n in range(300)]
        (tmp_path / f"part-{number}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert main(["corpus", "--input", f"{tmp_path}/part-*.jsonl", "--output", str(tmp_path / "single")]) == 0
    return tmp_path


def on_ray(folder):
    command = [sys.executable, "-m", "service", "corpus", "--engine", "ray", "--workers", "2"]
    command += ["--input", f"{folder}/part-*.jsonl", "--output", str(folder / "out")]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def outputs(folder, output):
    return {path.name: path.read_bytes() for path in (folder / output).glob("*.jsonl")}


def wait_for_some(folder, process):
    deadline = time.monotonic() + 240
    while not outputs(folder, "out"):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)  # between looks


def workers(driver):
    """List the processes under the driver that hold an engine."""
    parents, found = {}, []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, rest = entry.read_text().split("(", 1)[1].rsplit(")", 1)
            parents[int(entry.parent.name)] = int(rest.split()[1])
            if "MapWorker" in (entry.parent / "cmdline").read_text():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return [pid for pid in found if driver in _ancestors(pid, parents)]


def _ancestors(pid, parents):
    while pid in parents:
        pid = parents[pid]
        yield pid


def test_a_worker_is_killed(folder):
    with on_ray(folder) as process:
        wait_for_some(folder, process)
        victims = workers(process.pid)
        assert victims
        os.kill(victims[0], signal.SIGKILL)
        errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors
    assert outputs(folder, "out") == outputs(folder, "single")
    assert not list((folder / "out").glob("*.partial"))


def test_the_driver_is_killed_and_runs_again(folder):
    with on_ray(folder) as process:
        wait_for_some(folder, process)
        process.kill()
    reference = outputs(folder, "single")
    done = outputs(folder, "out")
    assert all(reference[name] == content for name, content in done.items())
    with on_ray(folder) as process:
        errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors
    assert outputs(folder, "out") == reference
