"""Sentence pairs as ids of a checkpoint, in padded batches."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.format.schema import Ids
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.text.lines import Line

Pair = tuple[Sequence[int], Sequence[int]]


class Batch(NamedTuple):
    """Sentence pairs, each side padded to its longest sentence.

    Attributes:
        source: ids [sentences, source length], each ended by eos.
        source_mask: true where there is a token.
        target: ids [sentences, target length], each starts with decoder_start.
        labels: the next id after each target id: [sentences, target length], -100 behind the end.
        tokens: number of labels that are not -100.
    """

    source: Tensor
    source_mask: Tensor
    target: Tensor
    labels: Tensor
    tokens: int

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; the copy to a GPU goes on beside what it computes."""
        if device.type == "cpu":
            return self
        source, source_mask, target, labels = (each.pin_memory().to(device, non_blocking=True) for each in self[:4])
        return Batch(source, source_mask, target, labels, self.tokens)

    @property
    def target_mask(self) -> Tensor:
        """True where there is a token of the target."""
        return self.labels >= 0


def decoder_states(model: Transformer, batch: Batch) -> Tensor:
    """Return what the output layer reads where there is a token of the target: [tokens, d_model]."""
    memory = model.encode(batch.source, batch.source_mask)
    return model.decode(batch.target, memory, batch.source_mask, {})[batch.target_mask]


def encode(checkpoint: Checkpoint, lines: Iterable[Line]) -> list[Pair]:
    """Return the ids of sentence pairs, each side ended by eos; pairs that are longer than the model are left out.

    A source has eos only if the model reads it so.
    """
    ids, limit = checkpoint.ids, checkpoint.architecture.max_positions
    source, target, tokens = checkpoint.source_tokenizer(), checkpoint.target_tokenizer(), checkpoint.tokens
    pairs: list[Pair] = []
    for line in lines:
        rows, begins = source.encode_marked(line.source, tokens)
        pairs.append((ids.ended(rows), [*map(target.row, begins), *target.encode(line.target or ""), ids.eos]))
    return [pair for pair in pairs if max(map(len, pair)) <= limit]


def in_order(pairs: Sequence[Pair], ids: Ids, tokens: int) -> list[Batch]:
    """Return every pair once, the longest first; pairs of like length go together.

    Args:
        pairs: ids of source and target, both ended by eos.
        ids: of the model.
        tokens: places that a side of a batch may have, unless one sentence alone has more.
    """
    rest = sorted(pairs, key=lambda pair: (max(map(len, pair)), len(pair[0])))
    batches = []
    while rest:
        size = max(1, tokens // max(map(len, rest[-1])))
        batch, rest = rest[-size:], rest[:-size]
        source, source_mask = _padded([source for source, _ in batch])
        labels, mask = _padded([target for _, target in batch])
        start = torch.full((len(batch), 1), ids.decoder_start)
        target = torch.cat([start, labels[:, :-1]], dim=1)
        batches.append(Batch(source, source_mask, target, labels.masked_fill(~mask, -100), int(mask.sum())))
    return batches


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids [batch, longest], 0 behind the end, and the mask that is true where there is a token."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    return ids, torch.arange(length) < torch.tensor([[len(row)] for row in rows])
