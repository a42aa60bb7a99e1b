"""The program that takes one file apart and puts it together, within limits: `python -m service.files.child`.

It has the file and the place of the result as descriptors, and exchanges lines of JSON with the service: what the file
holds, then each part of its texts for the translations of it, at last that the result is written.
"""

import errno
import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.files import FileRefused, Limits, open_file, reader_of
from service.files.chunks import Collected, parts, sample
from service.files.room import NoRoom, room_needed
from service.text.alignment import Link

TOO_LARGE = "The file is too large or nested too deeply to be taken apart; send it in parts."


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is for.

    Attributes:
        ending: Of the file's name, which tells its format.
        target: The language.
        source_fd: The file.
        result_fd: Where the translated file goes.
        unpacked_bytes: What the file may unpack to, and the result may have.
        memory_bytes: Address space beside what the process has at its start.
        cpu_seconds: Of the process as a whole; then it is killed.
        longest: Characters of a text in a part.
        most: Texts in a part.
        columns: Of a table, the headers of what is translated.
    """

    ending: str
    target: str
    source_fd: int
    result_fd: int
    unpacked_bytes: int
    memory_bytes: int
    cpu_seconds: int
    longest: int
    most: int
    columns: Sequence[str] = ()

    def __str__(self) -> str:
        """Write it as the argument of the program."""
        return json.dumps(asdict(self))


def main() -> None:
    """Serve one file; what it is refused for is the last line."""
    task = Task(**json.loads(sys.argv[1]))
    reader_of(task.ending)  # its bytecode may be written yet
    _limit(task)
    try:
        _serve(task)
    except FileRefused as error:
        _say({"refused": str(error)})
    except NoRoom:
        _say({"has_no_room": True})
    except (MemoryError, RecursionError):
        _say({"refused": TOO_LARGE})


def _limit(task: Task) -> None:
    # Python below 3.13 would cut bytecode at the limit of a file's size and keep it: EOFError at each later import.
    sys.dont_write_bytecode = True
    own_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own_bytes + task.memory_bytes,) * 2)
    resource.setrlimit(
        resource.RLIMIT_CPU, (task.cpu_seconds, task.cpu_seconds + 1)
    )  # the signal tells which limit it was
    resource.setrlimit(resource.RLIMIT_FSIZE, (task.unpacked_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)  # requests go first


def _serve(task: Task) -> None:
    with os.fdopen(task.source_fd, "rb") as file:
        file.seek(0)
        opened = open_file(f"file{task.ending}", file.read(), Limits(task.unpacked_bytes), task.columns)
    _say({"characters": sum(map(len, opened.texts)), "sample": sample(opened.texts)})
    collected = Collected(opened.texts)
    for part in parts(opened.texts, task.longest, task.most):
        _say({"texts": [text for _, text in part]})
        for (index, text), (translation, places) in zip(part, json.loads(sys.stdin.readline()), strict=True):
            links = [Link((begin, end), (to_begin, to_end)) for begin, end, to_begin, to_end in places]
            collected.add(index, text, translation, links)
    _write(task, opened.render(collected, task.target))
    _say({"is_written": True})


def _write(task: Task, rendered: bytes) -> None:
    try:
        with room_needed(), os.fdopen(task.result_fd, "wb") as result:
            result.write(rendered)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise FileRefused(
            f"The translated file has more than {task.unpacked_bytes:,} bytes; send the file in parts."
        ) from None


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
