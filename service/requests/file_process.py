"""A file that is open in a process of its own, with limits, so that no file takes memory or time of the service."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson

from service.files import FileRefused
from service.files.child import TOO_LARGE, Task
from service.files.room import NoRoom
from service.text.alignment import Link

_LONGEST_LINE = 1 << 20  # a part of a file has 4000 characters
# Of a library that does not look whether it was given memory.
_CRASHES = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT)
_WALL_FACTOR = 5  # seconds for a second of processor time: the machine has other work


class FileProcess:
    """A running `service.files.child`."""

    def __init__(self, process: asyncio.subprocess.Process, task: Task) -> None:
        """Wrap a process that has just been started for a task."""
        self._process, self._task = process, task
        self.characters = 0
        self.sample = ""  # the beginning, to detect the language by

    async def parts(self) -> AsyncIterator[list[str]]:
        """Yield the texts of each part; `translated` must be called before the next. At the end the result is there.

        Raises:
            FileRefused: the file cannot be read, or passes a limit.
            NoRoom: the disk is full.
        """
        while not (said := await self._said()).get("is_written"):
            yield said["texts"]

    def translated(self, translations: Sequence[tuple[str, Sequence[Link]]]) -> None:
        """Pass the translations of a part on."""
        assert self._process.stdin is not None
        places = [(text, [(*link.source, *link.target) for link in links]) for text, links in translations]
        self._process.stdin.write(orjson.dumps(places) + b"\n")  # 0.5 ms for 2000 links, where json takes 3.5

    async def open(self) -> None:
        """Wait until the file is taken apart.

        Raises:
            FileRefused: the file cannot be read, or passes a limit.
        """
        said = await self._said()
        self.characters, self.sample = said["characters"], said["sample"]

    async def _said(self) -> dict[str, Any]:
        """Return what the process says next."""
        assert self._process.stdout is not None
        seconds = self._task.cpu_seconds
        try:
            async with asyncio.timeout(_WALL_FACTOR * seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise FileRefused(f"The file takes longer than {_WALL_FACTOR * seconds} s; send it in parts.") from None
        if not line:
            status = await self._process.wait()
            if status == -signal.SIGKILL:
                raise FileRefused("The file needs more memory than the server has; send it in parts.")
            if status == -signal.SIGXCPU:
                raise FileRefused(f"The file takes more than {seconds} s of processor time; send it in parts.")
            if status in _CRASHES:
                logging.getLogger("sub3").warning("the process of a file ended with signal %d", -status)
                raise FileRefused(TOO_LARGE)
            raise RuntimeError(f"The process of a file ended with {status}.")
        said: dict[str, Any] = json.loads(line)
        if "refused" in said:
            raise FileRefused(said["refused"])
        if "has_no_room" in said:
            raise NoRoom
        return said


@asynccontextmanager
async def open_in_process(task: Task) -> AsyncIterator[FileProcess]:
    """Start a process for a task; it is killed when the block ends, however that is.

    It inherits the two files of the task and nothing else: no variable of the environment, which may hold tokens.

    Raises:
        FileRefused: the file cannot be read, or passes a limit.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", Task.__module__, str(task)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
        pass_fds=(task.source_fd, task.result_fd),
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"},
    )
    try:
        opened = FileProcess(process, task)
        await opened.open()
        yield opened
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate(b"")  # closes the pipes, too
