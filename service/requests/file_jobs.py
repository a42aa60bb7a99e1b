"""File translation jobs: those that run, and those that are done and wait for their client."""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Literal

from service.accounts.keys import Keys, QuotaExceeded, RateExceeded
from service.files import ending_of
from service.files.child import Task
from service.files.room import room_needed
from service.live.registry import Registry
from service.requests import pipeline
from service.requests.call import Call, never
from service.requests.dispatch import Dispatcher
from service.requests.file_process import FileProcess, open_in_process
from service.requests.pipeline import AUTO, TranslationRequest
from service.requests.turns import Turns
from service.settings import Settings
from service.text.detection import UNKNOWN, detect
from service.translation.results import Options
from service.translation.scheduler import QueueFull

Status = Literal["queued", "translating", "done", "failed", "cancelled"]


class UnknownFile(Exception):
    """There is no file of that id, or it was forgotten."""

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__("There is no such file; finished ones are kept for a while only.")


class TooManyFiles(Exception):
    """As many files as the settings allow are being translated or stored."""

    retry_after_s = 5

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__(f"Too many files are being translated or stored; retry after {self.retry_after_s} s.")


@dataclass(eq=False, slots=True)
class FileJob:
    """A client's file. `characters` of its texts are known once it is open; the key of `call` is charged."""

    name: str
    options: Options
    call: Call
    columns: Sequence[str] = ()  # of a table, the headers of what is translated
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    secret: str = field(default_factory=lambda: secrets.token_hex(32))  # DeepL's clients hold one beside the id
    status: Status = "queued"
    characters: int = 0
    characters_done: int = 0
    stored_bytes: int = 0  # of the file, then of the result
    source: str | None = None  # the language; what was detected, where it was
    error: Exception | None = None
    result: IO[bytes] | None = None  # a file without a name: it goes with the process
    ended_at: float | None = None  # of time.monotonic
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Wake those who follow the job."""
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing changes any more."""
        return self.ended_at is not None


class FileJobs:
    """The file jobs of one server, in memory and in files without names: none survives the process."""

    def __init__(self, settings: Settings, dispatcher: Dispatcher, registry: Registry, keys: Keys) -> None:
        """Wire up the parts of one app; nothing runs yet.

        Args:
            settings: the limits: files at once, their bytes and their time.
            dispatcher: checks and serves the requests that a file is made of.
            registry: the live models.
            keys: which clients may send files.
        """
        self._settings, self._dispatcher, self._registry, self._keys = settings, dispatcher, registry, keys
        self._jobs: dict[str, FileJob] = {}
        self._turns = Turns(settings.file_processes)

    async def admit(self, key: str | None) -> None:
        """Refuse a client that could not submit a file, before its file is read.

        Raises:
            TooManyFiles: as many of the key as the settings allow are being translated.
            QuotaExceeded: the key has no characters left.
            MissingKey, WrongKey, StoreUnavailable: the call has no valid key, or the keys' store does not answer.
        """
        if self._keys.required:
            use = await asyncio.to_thread(self._keys.usage, key)
            if use.characters_per_month is not None and use.characters >= use.characters_per_month:
                raise QuotaExceeded(use.characters_per_month, 0)
        self._surplus(key)

    async def submit(
        self, call: Call, name: str, file: IO[bytes], options: Options, columns: Sequence[str] = ()
    ) -> FileJob:
        """Begin to translate a file, which goes on after its upload has ended, whether or not the client stays.

        Args:
            call: who asks, and which model and configuration must answer.
            name: of the file; its ending tells the type.
            file: one with a descriptor; is closed once the job has ended.
            options: `source` may be "auto".
            columns: of a table, the headers of what is translated; by default columns of text are.

        Raises:
            UnknownFormat: files of that ending are not translated.
            UnsupportedPair: no model translates the language pair.
            UnknownModel: the named one does not.
            TooManyFiles: as many of the key as the settings allow are being translated.
            QuotaExceeded: the key has no characters left.
            MissingKey, WrongKey, StoreUnavailable: the call has no valid key, or the keys' store does not answer.
        """
        ending_of(name)
        is_same = options.source == options.target and options.target in self._registry.languages
        if not is_same and (options.source != AUTO or not self._registry.sources(options.target, call.model)):
            self._registry.way(options.source, options.target, call.model)
        await self.admit(call.key)
        for ended in self._surplus(call.key):
            self._forget(ended)
        patient = replace(call, timeout_ms=self._settings.max_request_timeout_ms, disconnected=never)
        job = FileJob(name, options, patient, columns, stored_bytes=file.seek(0, os.SEEK_END))
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job, file))
        return job

    def find(self, job_id: str, key: str | None, secret: str | None = None) -> FileJob:
        """Return a client's own file.

        Raises:
            UnknownFile: there is no such file, or it is another client's.
        """
        self._forget_the_old()
        job = self._jobs.get(job_id)
        if job is None or (self._keys.required and job.call.key != key):
            raise UnknownFile
        if secret is not None and not secrets.compare_digest(job.secret.encode(), secret.encode()):
            raise UnknownFile
        return job

    def by_address(self, job_id: str) -> FileJob:
        """Return the file of an id, which nobody can guess.

        Raises:
            UnknownFile: there is no such file.
        """
        self._forget_the_old()
        if job_id not in self._jobs:
            raise UnknownFile
        return self._jobs[job_id]

    async def remove(self, job: FileJob) -> None:
        """Cancel a file if it is being translated, and forget it."""
        if job.task is not None:
            job.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await job.task
        self._forget(job)

    async def follow(self, job: FileJob) -> AsyncIterator[FileJob]:
        """Yield the job each time that it has changed, until it has ended."""
        while True:
            changed = job.changed
            yield job
            if job.has_ended:
                return
            await changed.wait()

    async def close(self) -> None:
        """Cancel and forget all jobs."""
        for job in list(self._jobs.values()):
            await self.remove(job)

    async def _run(self, job: FileJob, file: IO[bytes]) -> None:
        """Run a job to its end; an error is kept for its client."""
        try:
            async with self._turns.place(job.call.key if self._keys.required else None):
                job.status = "translating"
                job.tell()
                await self._translate(job, file)
                job.status = "done"
        except asyncio.CancelledError:
            job.status = "cancelled"
            raise
        except Exception as error:
            job.status, job.error = "failed", error
        finally:
            with contextlib.suppress(OSError):  # what could not be written to a full disk
                file.close()
            job.stored_bytes = 0 if job.result is None else os.fstat(job.result.fileno()).st_size
            job.ended_at = time.monotonic()
            job.tell()

    async def _translate(self, job: FileJob, file: IO[bytes]) -> None:
        settings = self._settings
        with room_needed():
            file_fd = file.fileno()  # which writes a small one to the disk
            file.flush()
            job.result = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as its job
        task = Task(
            ending_of(job.name),
            job.options.target,
            file_fd,
            job.result.fileno(),
            settings.max_unpacked_bytes,
            settings.file_memory_bytes,
            settings.file_cpu_seconds,
            settings.max_text_characters,
            settings.max_texts,
            job.columns,
        )
        async with open_in_process(task) as opened:
            job.characters = opened.characters
            source = job.source = await self._source(job, opened.sample)
            if source == job.options.target:
                file.seek(0)
                with room_needed():
                    await asyncio.to_thread(shutil.copyfileobj, file, job.result)
                    job.result.flush()
                job.characters_done = job.characters
            else:
                self._registry.way(source, job.options.target, job.call.model)
                await self._translate_parts(job, opened, source)

    async def _source(self, job: FileJob, sample: str) -> str:
        """Return the language of a file, which may be its target, or one that no model reads."""
        source, target = job.options.source, job.options.target
        if source != AUTO:
            return source
        found = await asyncio.to_thread(detect, sample, self._registry.languages)
        if found == UNKNOWN:  # not a letter
            return self._registry.sources(target, job.call.model)[0]
        return found.language

    async def _translate_parts(self, job: FileJob, opened: FileProcess, source: str) -> None:
        options = replace(job.options, source=source, alignment=True)
        async for texts in opened.parts():
            outcome = await self._patiently(job.call, TranslationRequest(texts, options, keeps_empty=True))
            opened.translated([(found.best.text, found.best.alignment) for found in outcome.translations])
            job.characters_done += sum(map(len, texts))
            job.tell()

    async def _patiently(self, call: Call, request: TranslationRequest) -> pipeline.Outcome:
        """Translate a part of a file; it waits where a text would be refused, so that texts go first."""
        while True:
            try:
                return await pipeline.translate(self._dispatcher, self._registry, call, request)
            except (QueueFull, RateExceeded) as error:
                await asyncio.sleep(error.retry_after_s)

    def _surplus(self, key: str | None) -> list[FileJob]:
        """Return the files of a key that must go for another one: its oldest that have ended.

        Raises:
            TooManyFiles: those that have not ended, or those of all, are too many.
        """
        self._forget_the_old()
        own = [job for job in self._jobs.values() if job.call.key == key or not self._keys.required]
        count, size = len(own), sum(job.stored_bytes for job in own)
        most = self._settings.max_stored_bytes
        surplus = []
        for job in own:
            if count < self._settings.max_files and size <= most // 2:
                break
            if job.has_ended:
                surplus.append(job)
                count, size = count - 1, size - job.stored_bytes
        stored = sum(job.stored_bytes for job in self._jobs.values() if job not in surplus)
        if count >= self._settings.max_files or size > most // 2 or stored > most:
            raise TooManyFiles
        return surplus

    def _forget_the_old(self) -> None:
        now, kept_s = time.monotonic(), 60 * self._settings.file_minutes
        for job in list(self._jobs.values()):
            if job.ended_at is not None and now - job.ended_at > kept_s:
                self._forget(job)

    def _forget(self, job: FileJob) -> None:
        self._jobs.pop(job.id, None)
        if job.result is not None:
            with contextlib.suppress(OSError):  # a full disk
                job.result.close()
