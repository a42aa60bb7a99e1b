"""Vocabulary rows of a checkpoint by falling word frequency, as the paper's clusters need them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from models.format.vocabulary import Pieces, Vocabulary
from models.marian.checkpoint import Checkpoint
from models.text.lines import DataError, count_pieces, expected_counts, read_lines


def word_counts(checkpoint: Checkpoint, texts: Sequence[Path]) -> tuple[list[int], list[int] | None]:
    """Counts of the source and the target pieces (None where shared) in the texts; without texts, a stand-in."""
    shared = checkpoint.target_pieces is None
    spm, ids = checkpoint.spm, checkpoint.ids
    target_pieces = checkpoint.source_pieces if checkpoint.target_pieces is None else checkpoint.target_pieces
    if not texts:
        source = expected_counts(spm["source.spm"], checkpoint.source_pieces)
        target = expected_counts(spm["target.spm"], target_pieces)
        return ([max(pair) for pair in zip(source, target, strict=True)], None) if shared else (source, target)
    source_counts, target_counts = [0] * len(checkpoint.source_pieces), [0] * len(target_pieces)
    for path in tqdm(texts, desc="counting words", unit="file"):
        lines = list(read_lines(path))
        if not shared and any(line.target is None for line in lines):
            raise DataError(f"{path}: the two sides have vocabularies of their own, so text must be source TAB target.")
        source = count_pieces(
            spm["source.spm"], checkpoint.source_pieces, ids.unk_source, ids.eos, (line.source for line in lines)
        )
        target = count_pieces(
            spm["target.spm"], target_pieces, ids.unk_target, ids.eos, (line.target for line in lines if line.target)
        )
        # Each translation begins with decoder_start, and with a language token where the model has them.
        target[ids.decoder_start] += len(lines)
        for token in checkpoint.target_tokens.values():
            source[checkpoint.source_pieces.index(token)] += len(lines) // len(checkpoint.target_tokens)
        source_counts = [a + b for a, b in zip(source_counts, source, strict=True)]
        target_counts = [a + b for a, b in zip(target_counts, target, strict=True)]
    if shared:
        return [a + b for a, b in zip(source_counts, target_counts, strict=True)], None
    return source_counts, target_counts


def row_order(counts: Sequence[int], eos: int) -> list[int]:
    """Old row of each new row: the most frequent first; eos before all, so that it has one id on both sides."""
    return sorted(range(len(counts)), key=lambda row: (row != eos, -counts[row], row))


def sort_rows(
    checkpoint: Checkpoint, source_counts: Sequence[int], target_counts: Sequence[int] | None
) -> tuple[Checkpoint, Vocabulary]:
    """The checkpoint with its vocabulary rows by falling frequency, and that vocabulary with its counts."""
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
    )
    source = Pieces.of(zip(source_pieces, (source_counts[old] for old in source_order), strict=True))
    if target_pieces is None or target_counts is None:
        return sorted_checkpoint, Vocabulary(source, None)
    target = Pieces.of(zip(target_pieces, (target_counts[old] for old in target_order), strict=True))
    return sorted_checkpoint, Vocabulary(source, target)
