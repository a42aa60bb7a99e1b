"""The data of a training: a mix of corpora, read once into ids, and its batches.

A batch has one of a few padded lengths and a fixed number of sentences for each, because oneDNN prepares its
kernels once a shape. Their order is a function of seed and epoch, so a run that resumes needs to know no more than
epoch and batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from models.checkpoint import Checkpoint
from models.data import DataError, load_tokenizer, read_lines
from models.format import Ids

Ints = npt.NDArray[np.int32]
# Sentences a batch come in multiples of this.
BATCH_MULTIPLE = 8


@dataclass(frozen=True)
class Source:
    """One corpus of the mix.

    Attributes:
        name: `NAME.tsv.xz` in the corpus's train directory, or the path of a file of source TAB target.
        licence: of its text, for the card of a model that ships.
        cap: pairs that an epoch takes, drawn anew each time; None for all.
        repeat: times that an epoch takes them.
    """

    name: str
    licence: str
    cap: int | None = None
    repeat: int = 1

    def path(self, corpus: Path) -> Path:
        """Where the text is."""
        return Path(self.name) if self.name.endswith((".tsv", ".tsv.xz")) else corpus / f"train/{self.name}.tsv.xz"


@dataclass(frozen=True)
class Batches:
    """Padded tokens in a batch, and the lengths that it may be padded to, rising."""

    tokens: int
    lengths: tuple[int, ...]


class Batch(NamedTuple):
    """Sentence pairs, all padded to one length.

    Attributes:
        source: ids [sentences, length], each ended by eos; source_mask is true where there is a token.
        target: ids [sentences, length], each begun by decoder_start.
        labels: what to predict after each target id: [sentences, length], -100 behind the end.
        tokens: labels that count.
    """

    source: Tensor
    source_mask: Tensor
    target: Tensor
    labels: Tensor
    tokens: int


class Side:
    """Sentences of one language, end to end: sentence n is ids[starts[n] : starts[n + 1]], ended by eos."""

    def __init__(self, sentences: Sequence[Ints]) -> None:
        self.lengths = np.array([len(ids) for ids in sentences], dtype=np.int64)
        self.starts = np.concatenate([[0], self.lengths.cumsum()])
        self.ids = np.concatenate(sentences) if sentences else np.zeros(0, np.int32)

    def padded(self, rows: npt.NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
        """Ids [rows, length], 0 behind the end, and the mask that is true where there is a token."""
        column = np.arange(length)
        mask = column < self.lengths[rows, None]
        places = np.where(mask, self.starts[rows, None] + column, 0)
        return torch.from_numpy(np.where(mask, self.ids[places], 0).astype(np.int64)), torch.from_numpy(mask)


class Corpus:
    """Encoded sentence pairs of several sources, in memory."""

    def __init__(self, ids: Ids, batches: Batches, seed: int, parts: Sequence["Part"]) -> None:
        self._ids, self._shape, self._seed, self._parts = ids, batches, seed, parts
        self._source = Side([sentence for part in parts for sentence in part.source])
        self._target = Side([sentence for part in parts for sentence in part.target])
        self._longest = np.maximum(self._source.lengths, self._target.lengths)

    def __len__(self) -> int:
        return len(self._longest)

    def epoch(self, number: int) -> list[npt.NDArray[np.int64]]:
        """The pairs of each batch of an epoch. A last batch that is not full is filled up with pairs of its length."""
        random = np.random.default_rng([self._seed, number])
        taken, first = [], 0
        for part in self._parts:
            rows = first + random.permutation(len(part.source))[: part.cap]
            taken.append(np.tile(rows, part.repeat))
            first += len(part.source)
        rows = random.permutation(np.concatenate(taken))
        buckets = np.searchsorted(self._shape.lengths, self._longest[rows])
        batches: list[npt.NDArray[np.int64]] = []
        for bucket, length in enumerate(self._shape.lengths):
            if len(mine := rows[buckets == bucket]):
                size = max(BATCH_MULTIPLE, self._shape.tokens // length // BATCH_MULTIPLE * BATCH_MULTIPLE)
                batches += list(np.resize(mine, (-(-len(mine) // size), size)))
        return [batches[n] for n in random.permutation(len(batches))]

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """These pairs, padded."""
        length = next(n for n in self._shape.lengths if n >= self._longest[rows].max())
        source, source_mask = self._source.padded(rows, length)
        labels, mask = self._target.padded(rows, length)
        start = torch.full((len(rows), 1), self._ids.decoder_start)
        target = torch.cat([start, labels[:, :-1]], dim=1)
        return Batch(source, source_mask, target, labels.masked_fill(~mask, -100), int(mask.sum()))

    def in_order(self, sentences: int) -> list[Batch]:
        """Every pair once, by length: for validation."""
        order = np.argsort(self._longest, kind="stable")
        return [self.batch(order[n : n + sentences]) for n in range(0, len(order), sentences)]


class Part(NamedTuple):
    """A source's ids."""

    source: list[Ints]
    target: list[Ints]
    cap: int | None
    repeat: int


def read_corpus(checkpoint: Checkpoint, sources: Sequence[Source], corpus: Path, batches: Batches, seed: int) -> Corpus:
    """Reads and encodes the mix; pairs longer than the longest batch are left out."""
    if batches.lengths[-1] > checkpoint.architecture.max_positions:
        raise DataError(f"The model has {checkpoint.architecture.max_positions} positions, fewer than a batch is long.")
    encode = Encoder(checkpoint)
    parts = []
    for source in tqdm(sources, desc="reading text", unit="source", leave=False):
        lines = list(read_lines(source.path(corpus)))
        if any(line.target is None for line in lines):
            raise DataError(f"{source.path(corpus)}: text to train on must be source TAB target.")
        pairs = encode.pairs([line.source for line in lines], [line.target or "" for line in lines])
        fitting = [(s, t) for s, t in pairs if max(len(s), len(t)) <= batches.lengths[-1] and min(len(s), len(t)) > 1]
        parts.append(Part([s for s, _ in fitting], [t for _, t in fitting], source.cap, source.repeat))
    if not any(part.source for part in parts):
        raise DataError("The sources hold no pair that fits the lengths of the batches.")
    return Corpus(checkpoint.ids, batches, seed, parts)


class Encoder:
    """Text -> ids of a checkpoint, ended by eos."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.target_tokens:
            raise DataError(
                "A model of several target languages can't be trained here; the text has no marks for them."
            )
        ids, target_pieces = checkpoint.ids, checkpoint.target_pieces or checkpoint.source_pieces
        self._eos = ids.eos
        self._sides = []
        for name, pieces, unk in (
            ("source.spm", checkpoint.source_pieces, ids.unk_source),
            ("target.spm", target_pieces, ids.unk_target),
        ):
            tokenizer = load_tokenizer(checkpoint.spm[name])
            row = {piece: n for n, piece in enumerate(pieces)}
            table = [row.get(tokenizer.id_to_piece(n), unk) for n in range(tokenizer.get_piece_size())]
            self._sides.append((tokenizer, np.array(table, dtype=np.int32)))

    def pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[tuple[Ints, Ints]]:
        """Ids of both sides, sentence by sentence."""
        sides = []
        for (tokenizer, table), texts in zip(self._sides, (sources, targets), strict=True):
            encoded = tokenizer.encode(list(texts), num_threads=2)
            sides.append([np.append(table[ids], np.int32(self._eos)) for ids in encoded])
        return list(zip(*sides, strict=True))
