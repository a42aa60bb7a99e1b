"""A corpus on a Ray cluster: Ray Data hands each shard to a worker, which translates it as one process would.

Workers and driver see the same files at the same paths; several machines need a shared file system. A worker that dies
has given nothing its final name, so Ray may start its shard again elsewhere.
"""

import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

# Ray reads these as it is imported. By default it sends usage statistics, and its ports are open to the network: one
# that is started here asks for a token.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
LOCAL = not os.environ.get("RAY_ADDRESS")
if LOCAL:
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

import ray
import ray.data

from service.corpora.shard_translator import ShardTranslator
from service.corpora.shards import Advance, Job, Shard


class _Worker:
    """A process of the cluster with one engine thread."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._shards = ShardTranslator(job, threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Translate the shards of these numbers; each gets the reason why it was refused, or an empty string."""
        numbers = [int(number) for number in batch["number"]]
        faults = [self._shards.translate(self._job.shards[number], lambda _: None) or "" for number in numbers]
        return {"number": numbers, "fault": faults}


def on_ray(
    job: Job, shards: Sequence[Shard], workers: int | None, advance: Advance
) -> Iterator[tuple[Shard, str | None]]:
    """Translate shards on the cluster of RAY_ADDRESS, or on a local one that ends with this process.

    Args:
        job: has the model and all shards.
        shards: those to translate.
        workers: processes of one thread; every core of the cluster if None.
        advance: gets the bytes of input that are done.

    Yields:
        Each shard as it ends, with the reason if it was refused, else None.
    """
    if not shards:
        return
    _connect(workers)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # ours counts what is done in all runs
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        cores = workers or int(ray.cluster_resources().get("CPU", 1))
        number = {shard: n for n, shard in enumerate(job.shards)}
        rows = [{"number": number[shard]} for shard in shards]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(job,),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=min(cores, len(rows))),
        )
        for row in done.iter_rows():
            shard = job.shards[row["number"]]
            if not row["fault"]:
                advance(shard.source.stat().st_size)
            yield shard, row["fault"] or None
    finally:
        ray.shutdown()


def _connect(workers: int | None) -> None:
    """Join the cluster of RAY_ADDRESS, or start one here."""
    here: dict[str, Any] = {"address": "local", "include_dashboard": False, "num_cpus": workers} if LOCAL else {}
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
