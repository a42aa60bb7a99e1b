"""`make file-costs`: processor time and memory of each format against size, of friendly files and of hostile ones.

The process of a file is run as the service runs it, under the limits that it has in a container of 256 MB, and without
an engine: a translation is the text itself, with a link for each word. A friendly file has sentences and bold words, a
dense one has texts of one letter, the hostile ones are those of tests/service/files/test_hostile.py. Then a server
within such a container translates a file of five pages of every format: what it holds itself, and that it lives.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from service.files import ENDINGS
from service.files.child import Task
from service.settings import Settings, room_for_files
from tests.bench.bench import MODEL, ROOT, machine
from tests.bench.file_kinds import files
from tests.bench.file_memory import sentences
from tests.load.processes import Server, ours, placements
from tests.service.files.test_hostile import FILES as HOSTILE

CONTAINER_BYTES = 256_000_000
UNLIMITED = 4 << 30
LINES = 8_000  # of the largest file, half a million characters of HTML; a page has about 40 lines
HOSTILE_BYTES = 500_000
LIMITS = Settings(model_directory=MODEL)
# The process tells, after its own last line, the most address space that it had above the start, and resident memory.
_PROGRAM = """
import resource, sys
from pathlib import Path
from service.files import child
child.main()
fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
limit = resource.getrlimit(resource.RLIMIT_AS)[0] - int(sys.argv[2])
print(1024 * int(fields["VmPeak"].split()[0]) - limit, 1024 * int(fields["VmHWM"].split()[0]))
"""


@dataclass(frozen=True)
class Cost:
    """What a file took. `ended` is "done", or the sentence that it was refused with."""

    file_bytes: int
    characters: int
    ended: str
    seconds: float
    peak_bytes: int  # of address space above the start, which is what the limit is of
    resident_bytes: int


def cost(name: str, data: bytes, memory_bytes: int) -> Cost:
    """Take a file apart and put it together with itself as translation, in a process with limits."""
    characters, ended, said = 0, "killed", b""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as result:
        source.write(data)
        source.flush()
        task = Task(
            Path(name).suffix,
            "de",
            source.fileno(),
            result.fileno(),
            LIMITS.max_unpacked_bytes,
            memory_bytes,
            LIMITS.file_cpu_seconds,
            LIMITS.max_text_characters,
            LIMITS.max_texts,
        )
        with subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(task), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(task.source_fd, task.result_fd),
            env={"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path])), "PYTHONUTF8": "1"},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for said in process.stdout:
                if not said.startswith(b"{"):
                    break
                told = json.loads(said)
                characters = told.get("characters", characters)
                ended = told.get("refused", "done" if "is_written" in told else ended)
                if "texts" in told:
                    process.stdin.write(json.dumps([(text, _links(text)) for text in told["texts"]]).encode() + b"\n")
                    process.stdin.flush()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    peaks = said.split() if not said.startswith(b"{") else []
    peak, resident = map(int, peaks) if len(peaks) == 2 else (memory_bytes, 0)
    return Cost(len(data), characters, ended, round(seconds, 3), peak, resident)


def _links(text: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return [(word.span(), word.span()) for word in re.finditer(r"\w+", text)]


def friendly(ending: str, count: int) -> tuple[str, bytes]:
    """Make a file of sentences, 40 to a page."""
    return _made(ending, [line for n in range(0, count, 80) for line in sentences(n)][:count])


def dense(ending: str, count: int) -> tuple[str, bytes]:
    """Make a file of texts of one letter."""
    return _made(ending, ["a"] * count)


def _made(ending: str, lines: list[str]) -> tuple[str, bytes]:
    return next((name, data) for name, data in files(lines) if name.endswith(ending))


def of_sizes(ending: str, memory_bytes: int) -> dict[str, Any]:
    """Measure friendly and dense files of one format: two sizes without the limit of memory, the largest under it."""
    figures: dict[str, Any] = {}
    for kind, make in (("friendly", friendly), ("dense", dense)):
        costs = [cost(*make(ending, LINES >> 2), UNLIMITED), cost(*make(ending, LINES >> 1), UNLIMITED)]
        costs.append(cost(*make(ending, LINES), memory_bytes))
        figures[kind] = [asdict(each) for each in costs]
    return figures


def of_attack(kind: str, memory_bytes: int) -> dict[str, Any]:
    """Measure a hostile file."""
    (name, make), count = HOSTILE[kind], 1000
    while len(make(2 * count)) <= HOSTILE_BYTES and count < 1 << 17:
        count *= 2
    return {"file": name, **asdict(cost(name, make(count), memory_bytes))}


@contextmanager
def container(limit_bytes: int) -> Iterator[bool]:
    """Put this process and its children into a control group with a limit of memory; False where that may not be."""
    groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    version_1 = "memory" in groups
    own = Path("/sys/fs/cgroup", *(["memory"] if version_1 else [])) / groups["memory" if version_1 else ""].lstrip("/")
    group = own / f"sub3-file-costs-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit_bytes))
    except OSError:
        yield False
        return
    try:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield True
    finally:
        (own / "cgroup.procs").write_text(str(os.getpid()))
        with suppress(OSError):
            group.rmdir()


def of_the_service(made: Mapping[str, tuple[str, bytes]]) -> dict[str, Any]:
    """Send a server files: its own memory above what it has when it is ready, and how each ended."""
    with container(CONTAINER_BYTES) as is_within:
        settings = (
            {}
            if is_within
            else {
                "SUB3_FILE_PROCESSES": "1",
                "SUB3_FILE_MEMORY_BYTES": str(room_for_files([CONTAINER_BYTES])[1]),
            }
        )
        settings |= {"SUB3_SHUTDOWN_SECONDS": "1"}
        with (
            ours("best-1", placements()["shared"], settings) as server,
            httpx.Client(base_url=server.url, timeout=600) as client,
        ):
            _sent(client, "a.txt", b"The old house.")
            _forget_peak(server)
            ready = server.memory()["resident_bytes"]
            found = {}
            for ending, (name, data) in made.items():
                ended = _sent(client, name, data)
                found[ending] = {
                    "file_bytes": len(data),
                    "ended": ended,
                    "above_ready_bytes": server.memory()["resident_peak_bytes"] - ready,
                }
                _forget_peak(server)
            return {
                "in_a_control_group": is_within,
                "container_bytes": CONTAINER_BYTES,
                "ready_bytes": ready,
                "files": found,
            }


def _forget_peak(server: Server) -> None:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def _sent(client: httpx.Client, name: str, data: bytes) -> str:
    """Send a file, wait for its end, forget it; return how it ended."""
    sent = client.post("/v1/files", files={"file": (name, data)}, data={"source": "en", "target": "de"})
    if sent.status_code != 202:
        return str(sent.json()["error"])
    job = sent.json()["id"]
    with client.stream("GET", f"/v1/files/{job}/events") as events:
        last = json.loads([line for line in events.iter_lines() if line.startswith("data: ")][-1][6:])
    client.delete(f"/v1/files/{job}").raise_for_status()
    return str(last.get("error") or last["status"])


def tables(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables of docs/files.md."""

    def kilobytes(found: Mapping[str, Any]) -> str:
        return f"{found['file_bytes'] / 1000:.0f}"

    def cells(costs: Sequence[Mapping[str, Any]]) -> str:
        """Write what the file and one of half its size took."""
        seconds = ", ".join(f"{each['seconds']:.1f}" for each in costs[-2:])
        megabytes = ", ".join(f"{each['peak_bytes'] / 1e6:.0f}" for each in costs[-2:])
        return f"{kilobytes(costs[-1])} | {seconds} | {megabytes}"

    yield "| format | friendly: kB | s | MB | dense: kB | s | MB | server: MB |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for ending, kinds in report["formats"].items():
        own = report["service"]["files"][ending]["above_ready_bytes"]
        yield f"| {ending[1:]} | {' | '.join(map(cells, kinds.values()))} | {own / 1e6:.0f} |"
    yield ""
    yield "| hostile file | kB | s | MB | ended |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for kind, found in report["hostile"].items():
        figures = f"{kilobytes(found)} | {found['seconds']:.1f} | {found['peak_bytes'] / 1e6:.0f}"
        yield f"| {kind} ({Path(found['file']).suffix[1:]}) | {figures} | {found['ended']} |"


def main() -> None:
    """Measure and write docs/results/file-costs.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="ENDING", help="formats, as .docx")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/results/file-costs.json")
    arguments = parser.parse_args()
    _, memory_bytes = room_for_files([CONTAINER_BYTES])
    kinds = {Path(name).suffix for name, _ in files(["a"])}
    endings = arguments.only or [ending for ending in ENDINGS if ending in kinds]
    formats = {ending: of_sizes(ending, memory_bytes) for ending in endings}
    attacks = {kind: of_attack(kind, memory_bytes) for kind in HOSTILE}
    report = {
        "command": "make file-costs",
        "machine": machine(),
        "limit_bytes": memory_bytes,
        "formats": formats,
        "hostile": attacks,
        "service": of_the_service({ending: friendly(ending, LINES // 40) for ending in formats}),
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n".join(tables(report)))


if __name__ == "__main__":
    main()
