"""The data of a training: a mix of corpora, read once into ids, and its batches.

Pairs of like length make a batch: of one bucket by the longer side, sorted by source and target within it; each side is
padded to its own longest sentence. That fills 96 and 91 % of the places of source and target, where batches of one
length for both sides filled 81 and 89 %. Few shapes are left, since oneDNN prepares its bf16 kernels once a shape: the
number of sentences follows from the bucket, lengths are even. The order of batches is a function of seed and epoch, so
a run that resumes needs nothing but epoch and batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from models.format.languages import marked
from models.format.schema import Ids
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.text.lines import DataError, read_lines
from models.text.pieces import BATCH_LINES
from models.train.packed import ENDING, read_packed, vocabulary_hash
from models.train.recipe import Batches, Recipe, Source

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
# Sentences of a batch, and places of a side, come in multiples of these.
BATCH_MULTIPLE, LENGTH_MULTIPLE = 8, 2


class Side:
    """Sentences of one language, end to end: sentence n is ids[starts[n] : starts[n + 1]], ended by eos."""

    def __init__(self, ids: Ints, lengths: Longs) -> None:
        self.ids, self.lengths = ids, lengths
        self.starts = np.concatenate([[0], lengths.cumsum()])

    def __getitem__(self, n: int) -> Ints:
        return self.ids[self.starts[n] : self.starts[n + 1]]

    @staticmethod
    def joined(sides: Sequence["Side"]) -> "Side":
        """Return all sentences, side after side."""
        return Side(np.concatenate([side.ids for side in sides]), np.concatenate([side.lengths for side in sides]))

    def padded(self, rows: Longs, length: int) -> tuple[Tensor, Tensor]:
        """Return ids [rows, length], 0 behind the end, and the mask that is true where there is a token."""
        column = np.arange(length)
        mask = column < self.lengths[rows, None]
        places = np.where(mask, self.starts[rows, None] + column, 0)
        return torch.from_numpy(np.where(mask, self.ids[places], 0).astype(np.int64)), torch.from_numpy(mask)


class Part(NamedTuple):
    """The sentences of one source, with its cap and repeats in an epoch."""

    source: Side
    target: Side
    cap: int | None = None
    repeat: int = 1


class Corpus:
    """Encoded sentence pairs of several sources, in memory. Pairs longer than the longest batch are never taken."""

    def __init__(self, ids: Ids, batches: Batches, seed: int, parts: Sequence[Part]) -> None:
        """Hold the sentences of all parts.

        Args:
            ids: of the model.
            batches: their size.
            seed: of the order.
            parts: one a source.

        Raises:
            DataError: no pair fits the lengths of the batches.
        """
        self._ids, self._shape, self._seed, self._parts = ids, batches, seed, parts
        self._source = Side.joined([part.source for part in parts])
        self._target = Side.joined([part.target for part in parts])
        self._longest = np.maximum(self._source.lengths, self._target.lengths)
        shortest = np.minimum(self._source.lengths, self._target.lengths)
        ends = np.cumsum([len(part.source.lengths) for part in parts])[:-1]
        # A sentence of one id is eos alone.
        fitting = (self._longest <= batches.lengths[-1]) & (shortest > 1)
        self._rows = [np.flatnonzero(some) for some in np.split(fitting, ends)]
        for rows, begin in zip(self._rows[1:], ends, strict=True):
            rows += begin
        if not len(self):
            raise DataError("The text holds no pair that fits the lengths of the batches.")

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def epoch(self, number: int) -> list[Longs]:
        """Return the pairs of each batch of an epoch. A last batch that is not full is filled up from its bucket."""
        random = np.random.default_rng([self._seed, number])
        taken = [
            np.tile(random.permutation(rows)[: part.cap], part.repeat)
            for rows, part in zip(self._rows, self._parts, strict=True)
        ]
        rows = random.permutation(np.concatenate(taken))
        buckets = np.searchsorted(self._shape.lengths, self._longest[rows])
        batches: list[Longs] = []
        for bucket, length in enumerate(self._shape.lengths):
            if len(mine := rows[buckets == bucket]):
                size = max(BATCH_MULTIPLE, self._shape.tokens // length // BATCH_MULTIPLE * BATCH_MULTIPLE)
                size *= self._shape.multiple
                mine = mine[np.lexsort((self._target.lengths[mine], self._source.lengths[mine]))]
                batches += list(np.resize(mine, (-(-len(mine) // size), size)))
        return [batches[n] for n in random.permutation(len(batches))]

    def batch(self, rows: Longs) -> Batch:
        """Return these pairs, padded."""
        source, source_mask = self._source.padded(rows, self._length(self._source, rows))
        labels, mask = self._target.padded(rows, self._length(self._target, rows))
        start = torch.full((len(rows), 1), self._ids.decoder_start)
        target = torch.cat([start, labels[:, :-1]], dim=1)
        return Batch(source, source_mask, target, labels.masked_fill(~mask, -100), int(mask.sum()))

    def _length(self, side: Side, rows: Longs) -> int:
        """Return the places of a side in a batch."""
        longest = int(side.lengths[rows].max())
        return min(-(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE, self._shape.lengths[-1])

    def in_order(self, sentences: int) -> list[Batch]:
        """Return every pair once, by length: for validation."""
        rows = np.concatenate(self._rows)
        order = rows[np.argsort(self._longest[rows], kind="stable")]
        return [self.batch(order[n : n + sentences]) for n in range(0, len(order), sentences)]


def read_corpus(
    checkpoint: Checkpoint,
    sources: Sequence[Source],
    corpus: Path,
    batches: Batches,
    seed: int,
    *,
    reverse: bool = False,
) -> Corpus:
    """Read and encode a mix of sources; pairs that are too long for a batch are left out.

    Args:
        checkpoint: its pieces number the text.
        sources: of the mix.
        corpus: the folder that holds train/.
        batches: their size.
        seed: of the order.
        reverse: exchange the sides of each pair.

    Raises:
        DataError: a source can't be read, or the model has fewer positions than a batch.
    """
    if batches.lengths[-1] > checkpoint.architecture.max_positions:
        raise DataError(f"The model has {checkpoint.architecture.max_positions} positions, fewer than a batch is long.")
    encode = Encoder(checkpoint)
    parts = [
        _read_part(checkpoint, encode, source, corpus, reverse=reverse)
        for source in tqdm(sources, desc="reading text", unit="source", leave=False)
    ]
    return Corpus(checkpoint.ids, batches, seed, parts)


def _read_part(checkpoint: Checkpoint, encode: "Encoder", source: Source, corpus: Path, *, reverse: bool) -> Part:
    """Read one source: the pieces that were carried here, which have the sides of the recipe, or text."""
    carried = corpus / f"train/{Path(source.name).name.partition('.')[0]}{ENDING}"
    if carried.exists():
        fields = read_packed(carried, vocabulary_hash(checkpoint))
        source_side, target_side = (
            Side(fields[f"{side}.ids"].astype(np.int32), fields[f"{side}.lengths"].astype(np.int64))
            for side in ("source", "target")
        )
        return Part(source_side, target_side, source.cap, source.repeat)
    path = source.path(corpus)
    lines = list(tqdm(read_lines(path), desc=f"reading {path.name}", unit="line", leave=False))
    if any(line.target is None for line in lines):
        raise DataError(f"{path}: text to train on must be source TAB target.")
    texts = [line.source for line in lines], [line.target or "" for line in lines]
    return Part(*encode(*(texts[::-1] if reverse else texts)), source.cap, source.repeat)


def read_parts(checkpoint: Checkpoint, recipe: Recipe, shared: Path) -> list[Part]:
    """Read the text of a recipe, source by source; `shared` holds corpus/."""
    encode = Encoder(checkpoint)
    return [
        _read_part(checkpoint, encode, source, shared / "corpus", reverse=recipe.reverse_pairs)
        for source in recipe.sources
    ]


def corpus_of(recipe: Recipe, checkpoint: Checkpoint, shared: Path) -> Corpus:
    """Read the text of a recipe, as ids of the checkpoint; `shared` holds corpus/."""
    return read_corpus(
        checkpoint, recipe.sources, shared / "corpus", recipe.batches, recipe.run.seed, reverse=recipe.reverse_pairs
    )


class Encoder:
    """Text -> ids of a checkpoint, ended by eos. A source may begin with the token of its target language."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._source, self._target = checkpoint.source_tokenizer(), checkpoint.target_tokenizer()

    def __call__(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[Side, Side]:
        """Encode both sides.

        Raises:
            DataError: the model has several target languages, and a source does not say which is meant.
        """
        ids, parts = self._checkpoint.ids, list[tuple[Side, Side]]()
        ends = replace(ids, ends_sources=True).ended
        with tqdm(total=len(sources), desc="encoding", unit="pair", leave=False) as bar:
            for begin in range(0, len(sources), BATCH_LINES) or [0]:
                some = slice(begin, begin + BATCH_LINES)
                encoded, translations = self._encode(sources[some], targets[some])
                parts.append((_side(encoded, ids.ended), _side(translations, ends)))
                bar.update(len(encoded))
        source, target = zip(*parts, strict=True)
        return Side.joined(source), Side.joined(target)

    def _encode(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        tokens, begins = self._checkpoint.tokens, list[list[str]]()
        if not tokens.target and not tokens.source:
            encoded = self._source.encode_all(sources, threads=2)
        else:
            if unmarked := next((text for text in sources if marked(text, tokens.target)[0] is None), None):
                raise DataError(
                    f"A model of several target languages needs the language's token before each source, such as "
                    f"{next(iter(tokens.target.values()))}, and {unmarked[:40]!r} has none."
                )
            both = [self._source.encode_marked(text, tokens) for text in sources]
            encoded, begins = [rows for rows, _ in both], [pieces for _, pieces in both]
        translations = self._target.encode_all(targets, threads=2)
        for rows, pieces in zip(translations, begins, strict=False):
            rows[:0] = map(self._target.row, pieces)
        return encoded, translations


def _side(encoded: Sequence[Sequence[int]], ended: Callable[[Sequence[int]], list[int]]) -> Side:
    lengths = np.array([len(ended(rows)) for rows in encoded], dtype=np.int64)
    return Side(np.fromiter(chain.from_iterable(map(ended, encoded)), np.int32, lengths.sum()), lengths)
