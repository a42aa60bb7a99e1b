"""The translation of one shard, by the service's own way from text to text: a corpus gets what a request would get."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from kernels.engine import EngineError
from models.format.directory import open_model
from service.corpora.shards import Advance, CorpusError, Job, Receipt, Shard, replacing, write_receipt
from service.translation.results import Options, Translation
from service.translation.scheduler import Limits, Scheduler
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

TRANSLATION, SCORE = "translation", "score"  # fields that the output adds
# Half of a thread's rows are reserved for requests that have none running: here the first sentences of blocks.
_ROWS = 32
_TOKENS = 8192
_UNBOUNDED = 1 << 60
_BLOCK_LINES = 64
_BLOCKS_A_THREAD = 4


class Block(NamedTuple):
    """Lines as they are in the file, and their texts."""

    lines: list[bytes]
    texts: list[str]


class ShardTranslator:
    """A loaded model that translates one shard after the other."""

    def __init__(self, job: Job, threads: int) -> None:
        """Load the job's model, to translate on so many threads."""
        self._work, self._threads = job.work, threads
        directory = open_model(job.model)
        allocation = directory.allocation(job.work.config)
        self._translator = Translator(directory, Tokenizer(directory), job.work.config, allocation, _TOKENS)
        self._options = Options(job.work.source, job.work.target, job.work.beam_size)

    def __enter__(self) -> "ShardTranslator":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the engine."""
        self._translator.close()

    def translate(self, shard: Shard, advance: Advance) -> str | None:
        """Write a shard's output, then its receipt; return a sentence if the shard is refused, else None."""
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
        """Yield blocks with their translations, in order, while the next ones are being translated."""
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
    """Read the lines of a shard in blocks.

    Args:
        file: the shard.
        path: its path, for the sentences of errors.
        field: the field of a line that holds the text.

    Raises:
        CorpusError: a line is not a JSON object with a text, or has a field that the output would add.
    """
    block = Block([], [])
    for number, line in enumerate(file, start=1):
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise CorpusError(f"{path}: line {number} is not JSON ({error}).") from None
        if not isinstance(entry, dict) or not isinstance(entry.get(field), str):
            raise CorpusError(f"{path}: line {number} must be an object with a string {field!r}.")
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
    """Return the line unchanged but for two more fields before its closing brace."""
    added = orjson.dumps({TRANSLATION: translation.best.text, SCORE: translation.best.score})
    return line.rstrip()[:-1].rstrip() + b"," + added[1:] + b"\n"
