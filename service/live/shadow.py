"""Shadow traffic: some canary requests are run again on the active configuration, for the canary's report."""

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from kernels.engine import CancelFlag, Cancelled
from service.live.canary import Canary
from service.live.model import NotLive, NotReady, SwapTookTooLong, UnknownModel
from service.live.registry import Registry
from service.live.routing import UnsupportedPair
from service.translation.cost import Cost
from service.translation.results import Options, Translation

MAX_WAITING = 8  # requests that wait to be compared; beyond that, requests are not compared
MAX_CHARACTERS = 4000  # of a request; longer ones are not compared


class ShadowTraffic:
    """Shadow comparisons: run after the reply, one at a time, in a thread of the lowest priority."""

    def __init__(self, registry: Registry) -> None:
        """Prepare; no thread runs before the first comparison."""
        self._registry = registry
        self._thread = ThreadPoolExecutor(1, "compare", _yield_to_others)
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancel = CancelFlag()

    def answered(
        self, texts: Sequence[str], options: Options, translations: Sequence[Translation], costs: Sequence[Cost]
    ) -> None:
        """Count an unpinned request for the canaries of its models, and compare it if one asks for it.

        A translation by several models is counted for each, and not compared. To be called on the event loop.

        Args:
            texts: in one language.
            options: with that language as the source.
            translations: of the texts.
            costs: of each model, in order.
        """
        for cost in costs:
            model = self._registry.models.get(cost.model.name)
            if model is None or model.canary is None:  # it may have been removed meanwhile
                continue
            peak_bytes = cost.memory.workspace_peak_bytes + cost.memory.kv_cache_peak_bytes
            model.canary.count(cost.model.config, round(cost.latency_ms.total, 3), peak_bytes)
            if len(costs) == 1:
                self._maybe_compare(model.canary, texts, options, translations, cost)

    def _maybe_compare(
        self,
        canary: Canary,
        texts: Sequence[str],
        options: Options,
        translations: Sequence[Translation],
        cost: Cost,
    ) -> None:
        small = sum(map(len, texts)) <= MAX_CHARACTERS and len(self._tasks) < MAX_WAITING
        if small and canary.wants_comparison(cost.model.config):
            answers = [translation.best.text for translation in translations]
            task = asyncio.create_task(self._compare(canary, cost.model.name, texts, options, answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up the comparisons that have not ended; return once none holds a lease any more."""
        self._cancel.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._thread.shutdown()

    async def _compare(
        self, canary: Canary, model: str, texts: Sequence[str], options: Options, answers: Sequence[str]
    ) -> None:
        active = canary.report().active.config
        loop = asyncio.get_running_loop()
        try:
            async with self._registry.lease(options.source, options.target, active, model) as other:
                again = await loop.run_in_executor(self._thread, other.translate, texts, options, self._cancel)
        except (NotLive, NotReady, UnknownModel, UnsupportedPair, SwapTookTooLong, Cancelled):
            return  # the canary ended, or the server or the model does: nobody reads the report
        canary.compared([mine == other.best.text for mine, other in zip(answers, again.translations, strict=True)])


def _yield_to_others() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no niceness of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
