"""Servers as processes of their own: where they run, when they are ready, what memory they hold."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.load.sentences import ROOT

LOGS = ROOT / "build" / "load"
MODEL = ROOT / "models" / "store" / "en-de"
READY_S = 60


@dataclass(frozen=True)
class Placement:
    """Which cores the server and the generator of the load run on."""

    name: str
    server: tuple[int, ...]
    generator: tuple[int, ...]

    def report(self) -> dict[str, object]:
        """Return what the JSON shows; the server has as many threads as cores."""
        return asdict(self) | {"pinned_by": "taskset" if shutil.which("taskset") else "nothing"}


def placements() -> dict[str, Placement]:
    """Choose cores: `split` gives the generator the last core and the server the others; `shared` gives both all."""
    cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0,)
    return {"split": Placement("split", cores[:-1] or cores, cores[-1:]), "shared": Placement("shared", cores, cores)}


def pin_generator(placement: Placement) -> None:
    """Bind this process, from its next thread on."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, placement.generator)


def pinned(cores: Sequence[int], command: Sequence[str]) -> list[str]:
    """Bind the command to these cores, where there is a taskset."""
    binding = ["taskset", "-c", ",".join(map(str, cores))] if shutil.which("taskset") else []
    return [*binding, *command]


def cores_of_others(seconds: float = 2.0) -> float:
    """Measure how many cores all processes keep busy while this one sleeps; 0 without /proc."""

    def busy_s() -> float:
        try:
            ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        except OSError:
            return 0.0
        idle = ticks[3] + ticks[4]  # and waiting for a disk
        return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK")

    before = busy_s()
    time.sleep(seconds)
    return round((busy_s() - before) / seconds, 2)


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    name: str
    url: str
    pid: int

    def memory(self) -> dict[str, int]:
        """Return resident bytes now, private and mapped, their parts, and the peak; empty without /proc."""
        try:
            rollup = _kilobytes(Path(f"/proc/{self.pid}/smaps_rollup"))
            status = _kilobytes(Path(f"/proc/{self.pid}/status"))
        except OSError:
            return {}
        private = rollup["Private_Clean"] + rollup["Private_Dirty"]
        return {
            "resident_bytes": 1024 * rollup["Rss"],
            "private_bytes": 1024 * private,
            "mapped_file_bytes": 1024 * status["RssFile"],
            "anonymous_bytes": 1024 * status["RssAnon"],
            "resident_peak_bytes": 1024 * status["VmHWM"],
        }


def _kilobytes(path: Path) -> dict[str, int]:
    fields = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in fields if len(words) == 3 and words[2] == "kB"}


@contextmanager
def ours(
    configuration: str, placement: Placement, environment: Mapping[str, str] | None = None, model: Path = MODEL
) -> Iterator[Server]:
    """Run `python -m service` with one engine thread a core; `environment` holds more settings."""
    settings = {
        **_engine_settings(configuration, placement, model),
        "SUB3_STATE_FILE": "",
        "SUB3_DRAIN_SECONDS": "0",
        **(environment or {}),
    }
    with _running(configuration, ["-m", "service"], placement, settings) as server:
        yield server


@contextmanager
def peer(model: Path, tokenizer: Path, placement: Placement) -> Iterator[Server]:
    """Run tests/bench/ct2_server.py with one translator a core."""
    command = ["-m", "tests.bench.ct2_server", str(model), str(tokenizer), "--threads", str(len(placement.server))]
    with _running("CTranslate2 int8", command, placement, {}) as server:
        yield server


@contextmanager
def bare(placement: Placement) -> Iterator[Server]:
    """Run tests/bench/bare_server.py."""
    with _running("bare FastAPI", ["-m", "tests.bench.bare_server"], placement, {}) as server:
        yield server


@contextmanager
def inline(configuration: str, placement: Placement) -> Iterator[Server]:
    """Run tests/bench/inline_server.py: FastAPI with the engine in its route."""
    settings = _engine_settings(configuration, placement, MODEL)
    with _running("engine in FastAPI", ["-m", "tests.bench.inline_server"], placement, settings) as server:
        yield server


def _engine_settings(configuration: str, placement: Placement, model: Path) -> dict[str, str]:
    """Return the environment of an engine: one thread a core."""
    return {
        "SUB3_MODEL_DIRECTORY": str(model),
        "SUB3_CONFIGURATION": configuration,
        "SUB3_THREADS": str(len(placement.server)),
    }


@contextmanager
def _running(
    name: str, arguments: Sequence[str], placement: Placement, settings: Mapping[str, str]
) -> Iterator[Server]:
    """Yield the process once it is ready; SIGTERM ends it with the block.

    Raises:
        RuntimeError: it ended or was not ready in time; its log is named.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = pinned(placement.server, [sys.executable, *arguments])
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name.replace(' ', '-').lower()}.log"
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port), **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        _until_ready(process, url, log)
        yield Server(name, url, process.pid)
    finally:
        process.terminate()
        process.wait(READY_S)


def _until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    ends = time.monotonic() + READY_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise RuntimeError(f"The server ended with {process.returncode}; read {log}.")
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise RuntimeError(f"The server was not ready within {READY_S} s; read {log}.")
