"""Translates corpora of any size: shards of JSON lines in, shards of JSON lines out, each exactly once.

It is the service's own way from text to text, so a corpus gets what a request would get. A run that was killed goes on
with the shards that have no receipt; nothing of a half-written one is ever seen under its name.
"""

import asyncio
import hashlib
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from kernels.engine import EngineError
from models.format.directory import ModelDirectory, open_model
from service.corpora.shards import (
    CorpusError,
    Receipt,
    Shard,
    Work,
    find_shards,
    replacing,
    sole_writer,
    state,
    write_receipt,
)
from service.translation.results import Options, Translation
from service.translation.scheduler import Limits, Scheduler
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

TEXT, TRANSLATION, SCORE = "text", "translation", "score"
# Half of a thread's rows are kept for requests that run nothing, which here are the first sentences of blocks.
_ROWS = 32
_TOKENS = 8192
_UNBOUNDED = 1 << 60
_BLOCK_LINES = 64
_BLOCKS_A_THREAD = 4

Advance = Callable[[int], object]  # gets bytes of input that are done


@dataclass(frozen=True)
class Job:
    """A corpus to translate; it goes to other processes and machines, which see the same files."""

    shards: tuple[Shard, ...]
    model: Path
    work: Work


# Of each shard, as it ends, the reason why it was refused, or None.
Results = Callable[[Job, Sequence[Shard], int | None, Advance], Iterator[tuple[Shard, str | None]]]


class Block(NamedTuple):
    """Lines as they are in the file, and their texts."""

    lines: list[bytes]
    texts: list[str]


def plan(
    patterns: Sequence[str],
    output: Path,
    model: Path,
    *,
    config: str | None = None,
    source: str | None = None,
    target: str | None = None,
    beam_size: int = 1,
    field: str = TEXT,
) -> Job:
    """What is to be done; without configuration or languages the model's default ones.

    Raises:
        CorpusError: no such input, or a pair that the model does not translate.
        ModelError, UnavailableConfiguration: as the directory says.
    """
    directory = open_model(model)
    facts = directory.config
    name = config or facts.default_configuration
    allocation = directory.allocation(name)
    source, target = source or facts.source_languages[0], target or facts.target_languages[0]
    if source not in facts.source_languages or target not in facts.target_languages:
        pairs = f"{', '.join(facts.source_languages)} to {', '.join(facts.target_languages)}"
        raise CorpusError(f"{model} translates {pairs}, not {source} to {target}.")
    if field in (TRANSLATION, SCORE):
        raise CorpusError(f"--field can't be {field}: the output has that of its own.")
    work = Work(
        model=facts.name,
        version=facts.checksums["model.safetensors"][:12],
        config=name,
        bits_per_weight=round(directory.bits_per_weight(allocation), 4),
        source=source,
        target=target,
        beam_size=beam_size,
        field=field,
    )
    return Job(tuple(find_shards(patterns, output.absolute())), model.absolute(), work)


def translate(
    job: Job, output: Path, *, engine: str = "process", workers: int | None = None, overwrite: bool = False
) -> None:
    """Translate what is not done yet, with a progress bar.

    Args:
        engine: `process` is this one with `workers` threads; `ray` is Ray Data with as many workers of one thread.
        workers: all processors if None.
        overwrite: do everything again.

    Raises:
        CorpusError: some shards were refused; their reasons have been printed and the others are done.
    """
    tqdm, results = _parts(engine)
    with sole_writer(output):
        states = {shard: "new" if overwrite else state(shard, job.work) for shard in job.shards}
        todo = [shard for shard in job.shards if states[shard] != "done"]
        for shard in todo:
            if states[shard] == "changed":
                print(f"{shard.source.name} has changed since it was translated; it is done again.", file=sys.stderr)
        total = sum(shard.source.stat().st_size for shard in job.shards)
        done = total - sum(shard.source.stat().st_size for shard in todo)
        refused = 0
        with tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=job.work.config) as bar:
            for shard, fault in results(job, todo, workers, bar.update):
                if fault is not None:
                    refused += 1
                    bar.write(f"{shard.target.name} is refused: {fault}", file=sys.stderr)
        if refused:
            raise CorpusError(f"{refused} of {len(job.shards)} shards were refused, for the reasons above.")


def _parts(engine: str) -> tuple[Any, Results]:
    """The progress bar and what translates; neither comes with the server."""
    try:
        from tqdm import tqdm

        if engine == "ray":
            from service.corpora.on_ray import on_ray

            return tqdm, on_ray
    except ImportError as error:
        extra = "ray" if engine == "ray" else "corpus"
        raise CorpusError(f"{error.name} is not installed: pip install -e '.[{extra}]'.") from None
    return tqdm, in_process


def in_process(
    job: Job, shards: Sequence[Shard], workers: int | None, advance: Advance
) -> Iterator[tuple[Shard, str | None]]:
    """Translate shard by shard on the threads of this process; of each the reason why it was refused, or None."""
    with Shards(job, workers or os.cpu_count() or 1) as translator:
        for shard in shards:
            yield shard, translator.translate(shard, advance)


class Shards:
    """A loaded model that translates one shard after the other."""

    def __init__(self, job: Job, threads: int) -> None:
        """Load the model; `threads` of it translate."""
        self._work, self._threads = job.work, threads
        directory: ModelDirectory = open_model(job.model)
        allocation = directory.allocation(job.work.config)
        self._translator = Translator(directory, Tokenizer(directory), job.work.config, allocation, _TOKENS)
        self._options = Options(job.work.source, job.work.target, job.work.beam_size)

    def __enter__(self) -> "Shards":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the engine."""
        self._translator.close()

    def translate(self, shard: Shard, advance: Advance) -> str | None:
        """Write a shard's output, then its receipt; the sentence why not where the input is at fault."""
        try:
            write_receipt(shard, asyncio.run(self._translate(shard, advance)))
        except (CorpusError, EngineError, OSError) as error:
            return str(error)
        return None

    async def _translate(self, shard: Shard, advance: Advance) -> Receipt:
        before = shard.source.stat()
        digest, lines, characters = hashlib.sha256(), 0, 0
        with self._scheduler() as scheduler, shard.source.open("rb") as file, replacing(shard.target) as out:
            blocks = read_blocks(file, shard.source, self._work.field)
            async with aclosing(self._in_order(blocks, scheduler)) as translated:
                async for block, translations in translated:
                    for line, translation in zip(block.lines, translations, strict=True):
                        digest.update(line)
                        out.write(with_translation(line, translation))
                    lines += len(block.lines)
                    characters += sum(map(len, block.texts))
                    advance(sum(map(len, block.lines)))
            size = out.tell()
            after = shard.source.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise CorpusError(f"{shard.source} changed while it was read; run this again.")
        return Receipt(self._work, before.st_size, before.st_mtime_ns, digest.hexdigest(), lines, characters, size)

    async def _in_order(
        self, blocks: Iterator[Block], scheduler: Scheduler
    ) -> AsyncGenerator[tuple[Block, list[Translation]], None]:
        """Blocks with their translations, in order, while the next ones are being translated."""
        running: deque[tuple[Block, asyncio.Task[list[Translation]]]] = deque()

        async def one(block: Block) -> list[Translation]:
            return (await self._translator.serve(block.texts, self._options, scheduler)).translations

        try:
            for block in blocks:
                running.append((block, asyncio.create_task(one(block))))
                if len(running) > _BLOCKS_A_THREAD * self._threads:
                    first, task = running.popleft()
                    yield first, await task
            while running:
                first, task = running.popleft()
                yield first, await task
        finally:
            for _, task in running:
                task.cancel()
            await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    @contextmanager
    def _scheduler(self) -> Iterator[Scheduler]:
        scheduler = Scheduler(Limits(self._threads, _ROWS, _TOKENS, queue_tokens=_UNBOUNDED))
        scheduler.start()
        try:
            yield scheduler
        finally:
            scheduler.close()


def read_blocks(file: BinaryIO, path: Path, field: str) -> Iterator[Block]:
    """The lines of a shard in blocks.

    Raises:
        CorpusError: a line is no JSON object with a text, or has what the output would add.
    """
    block = Block([], [])
    for number, line in enumerate(file, start=1):
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise CorpusError(f"{path}: line {number} is not JSON ({error}).") from None
        if not isinstance(entry, dict) or not isinstance(entry.get(field), str):
            raise CorpusError(f"{path}: line {number} is no object with a string {field!r}.")
        if TRANSLATION in entry or SCORE in entry:
            raise CorpusError(f"{path}: line {number} has a {TRANSLATION!r} or a {SCORE!r} already.")
        block.lines.append(line)
        block.texts.append(entry[field])
        if len(block.lines) == _BLOCK_LINES:
            yield block
            block = Block([], [])
    if block.lines:
        yield block


def with_translation(line: bytes, translation: Translation) -> bytes:
    """The line to the letter, with two fields more before its closing brace."""
    added = orjson.dumps({TRANSLATION: translation.best.text, SCORE: translation.best.score})
    return line.rstrip()[:-1].rstrip() + b"," + added[1:] + b"\n"
