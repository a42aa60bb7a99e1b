"""Batches in their order: the next one is made and sent to the device while the last one is computed with."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch

from models.marian.batches import Batch
from models.train.dataset import Corpus, Longs


class Feed:
    """The batches of a corpus, each in parts."""

    def __init__(self, corpus: Corpus, parts: int, device: torch.device) -> None:
        """Begin a thread that makes one batch ahead.

        Args:
            corpus: text to train on.
            parts: of a batch, fewer where it has fewer sentences.
            device: that the batches are sent to.
        """
        self._corpus, self._parts, self._device = corpus, parts, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._epoch, self._plan = -1, list[Longs]()
        self._next: tuple[int, Future[list[Batch]]] | None = None

    def __enter__(self) -> "Feed":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def batches(self, epoch: int) -> int:
        """Return the number of batches of an epoch, and go over to it."""
        if epoch != self._epoch:
            self._epoch, self._plan, self._next = epoch, self._corpus.epoch(epoch), None
        return len(self._plan)

    def take(self, number: int) -> Sequence[Batch]:
        """Return the parts of a batch of this epoch, and begin with the next one."""
        waiting = self._next
        parts = waiting[1].result() if waiting and waiting[0] == number else self._made(self._plan[number])
        if number + 1 < len(self._plan):
            self._next = number + 1, self._thread.submit(self._made, self._plan[number + 1])
        return parts

    def _made(self, rows: Longs) -> list[Batch]:
        """Make the parts of a batch; sorted sentences are split, so each part has its own lengths."""
        pieces = np.array_split(rows, min(self._parts, len(rows)))
        return [self._corpus.batch(piece).to(self._device) for piece in pieces]
