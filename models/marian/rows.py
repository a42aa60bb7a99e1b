"""Vocabulary rows of a checkpoint by falling frequency of their pieces, as the paper's clusters need them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from models.format.vocabulary import Pieces, Vocabulary
from models.marian.checkpoint import Checkpoint
from models.text.lines import DataError, read_lines


def piece_counts(checkpoint: Checkpoint, texts: Sequence[Path]) -> tuple[list[int], list[int] | None]:
    """Count the source and the target pieces (None where shared) in the texts; without texts, a stand-in.

    Raises:
        DataError: a text can't be read, or has one side where each has a vocabulary of its own.
    """
    source, target = checkpoint.source_tokenizer(), checkpoint.target_tokenizer()
    shared = checkpoint.target_pieces is None
    if not texts:
        expected = source.expected_counts(), target.expected_counts()
        return (list(map(max, *expected)), None) if shared else expected
    counts = [np.zeros(len(tokenizer), dtype=np.int64) for tokenizer in (source, target)]
    for path in texts:
        lines = list(tqdm(read_lines(path), desc=f"reading {path.name}", unit="line", leave=False))
        if not shared and any(line.target is None for line in lines):
            raise DataError(f"{path}: the two sides have vocabularies of their own, so text must be source TAB target.")
        sides = ([line.source for line in lines], [line.target for line in lines if line.target])
        for count, tokenizer, texts_of_side in zip(counts, (source, target), sides, strict=True):
            bar = tqdm(texts_of_side, desc="counting pieces", unit="sentence", leave=False)
            count += tokenizer.count(bar, checkpoint.ids.eos)
        # Each translation begins with decoder_start, and with a language token where the model has them.
        counts[1][checkpoint.ids.decoder_start] += len(lines)
        tokens = checkpoint.tokens
        asking = (1, target) if tokens.begin_targets else (0, source)
        for (side, tokenizer), pieces in ((asking, tokens.target), ((0, source), tokens.source)):
            for piece in pieces.values():
                counts[side][tokenizer.row(piece)] += len(lines) // len(pieces)
    if shared:
        return (counts[0] + counts[1]).tolist(), None
    return counts[0].tolist(), counts[1].tolist()


def row_order(counts: Sequence[int], eos: int) -> list[int]:
    """Return old row of each new row: most frequent first, eos before all, so that both sides have one id for it."""
    return sorted(range(len(counts)), key=lambda row: (row != eos, -counts[row], row))


def sort_rows(
    checkpoint: Checkpoint, source_counts: Sequence[int], target_counts: Sequence[int] | None
) -> tuple[Checkpoint, Vocabulary]:
    """Sort the vocabulary rows of a checkpoint by falling frequency; return it and that vocabulary with its counts."""
    ids = checkpoint.ids
    source_order = row_order(source_counts, ids.eos)
    target_order = source_order if target_counts is None else row_order(target_counts, ids.eos)
    orders = {"embedding": source_order, "source_embedding": source_order}
    orders |= dict.fromkeys(("target_embedding", "output", "output.bias"), target_order)
    new_source = {old: new for new, old in enumerate(source_order)}
    new_target = {old: new for new, old in enumerate(target_order)}
    source_pieces = tuple(checkpoint.source_pieces[old] for old in source_order)
    target_pieces = None
    if checkpoint.target_pieces is not None:
        target_pieces = tuple(checkpoint.target_pieces[old] for old in target_order)
    sorted_checkpoint = replace(
        checkpoint,
        source_pieces=source_pieces,
        target_pieces=target_pieces,
        tensors={n: t[orders[n]] if n in orders else t for n, t in checkpoint.tensors.items()},
        ids=replace(
            ids,
            eos=0,
            pad=new_target[ids.pad],
            unk_source=new_source[ids.unk_source],
            unk_target=new_target[ids.unk_target],
            decoder_start=new_target[ids.decoder_start],
            suppressed=tuple(sorted(new_target[token] for token in ids.suppressed)),
        ),
        shortlist=checkpoint.shortlist and checkpoint.shortlist.in_order(source_order, new_target),
    )
    source = Pieces.of(zip(source_pieces, (source_counts[old] for old in source_order), strict=True))
    if target_pieces is None or target_counts is None:
        return sorted_checkpoint, Vocabulary(source, None)
    target = Pieces.of(zip(target_pieces, (target_counts[old] for old in target_order), strict=True))
    return sorted_checkpoint, Vocabulary(source, target)
