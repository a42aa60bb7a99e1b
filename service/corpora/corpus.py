"""Translation of corpora of any size: shards of JSON lines in, shards of JSON lines out, each exactly once.

A run that was killed resumes with the shards that have no receipt. A half-written shard never has its final name.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from models.format.directory import open_model
from service.corpora.shard_translator import SCORE, TRANSLATION, ShardTranslator
from service.corpora.shards import Advance, CorpusError, Job, Shard, Work, find_shards, sole_writer, state

# Translates shards with so many workers; yields each as it ends, with the reason if it was refused.
Run = Callable[[Job, Sequence[Shard], int | None, Advance], Iterator[tuple[Shard, str | None]]]


def plan(
    patterns: Sequence[str],
    output: Path,
    model: Path,
    *,
    config: str | None = None,
    source: str | None = None,
    target: str | None = None,
    beam_size: int | None = None,
    field: str = "text",
) -> Job:
    """Find the shards, and check that the model can translate them.

    Args:
        patterns: globs of input files.
        output: the directory of the outputs.
        model: a model directory.
        config: a configuration; the model's default one if None.
        source: language of the texts; the model's first one if None.
        target: language of the translations; the model's first one if None.
        beam_size: at least 1; the model's own if None.
        field: the field of a line that holds the text.

    Raises:
        CorpusError: there is no such input, or the model does not translate the pair.
        ModelError: the directory is bad.
        UnavailableConfiguration: it has no such configuration.
    """
    directory = open_model(model)
    manifest = directory.config
    name = config or manifest.default_configuration
    allocation = directory.allocation(name)
    source, target = source or manifest.source_languages[0], target or manifest.target_languages[0]
    if source not in manifest.source_languages or target not in manifest.target_languages:
        pairs = f"{', '.join(manifest.source_languages)} to {', '.join(manifest.target_languages)}"
        raise CorpusError(f"{model} translates {pairs}, not {source} to {target}.")
    if field in (TRANSLATION, SCORE):
        raise CorpusError(f"--field can't be {field}: the output has that of its own.")
    work = Work(
        model=manifest.name,
        version=manifest.checksums["model.safetensors"][:12],
        config=name,
        bits_per_weight=round(directory.bits_per_weight(allocation), 4),
        source=source,
        target=target,
        beam_size=beam_size or manifest.beam_size,
        field=field,
    )
    return Job(tuple(find_shards(patterns, output.absolute())), model.absolute(), work)


def translate(
    job: Job, output: Path, *, engine: str = "process", workers: int | None = None, overwrite: bool = False
) -> None:
    """Translate the shards that are not done, with a progress bar.

    Args:
        job: what `plan` has found.
        output: the directory of the outputs.
        engine: `process` translates on `workers` threads of this process, `ray` on as many workers of Ray Data.
        workers: at least 1; every core if None.
        overwrite: translate finished shards again, too.

    Raises:
        CorpusError: some shards were refused; their reasons have been printed, and the others are done.
    """
    tqdm, run = _extras(engine)
    with sole_writer(output):
        states = {shard: "new" if overwrite else state(shard, job.work) for shard in job.shards}
        unfinished = [shard for shard in job.shards if states[shard] != "done"]
        for shard in unfinished:
            if states[shard] == "changed":
                print(f"{shard.source.name} has changed since it was translated; it is done again.", file=sys.stderr)
        total = sum(shard.source.stat().st_size for shard in job.shards)
        done = total - sum(shard.source.stat().st_size for shard in unfinished)
        refused = 0
        with tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=job.work.config) as bar:
            for shard, fault in run(job, unfinished, workers, bar.update):
                if fault is not None:
                    refused += 1
                    bar.write(f"{shard.target.name} is refused: {fault}", file=sys.stderr)
        if refused:
            raise CorpusError(f"{refused} of {len(job.shards)} shards were refused, for the reasons above.")


def _extras(engine: str) -> tuple[Any, Run]:
    """Import the progress bar and the engine, which are extras: a server needs neither."""
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
    """Translate shard by shard on the threads of this process.

    Args:
        job: has the model.
        shards: of the job.
        workers: threads; every core if None.
        advance: gets the bytes of input that are done.

    Yields:
        Each shard as it ends, with the reason if it was refused, else None.
    """
    with ShardTranslator(job, workers or os.cpu_count() or 1) as translator:
        for shard in shards:
            yield shard, translator.translate(shard, advance)
