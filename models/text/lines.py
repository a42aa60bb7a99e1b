"""Reads corpora and counts how often a model's pieces occur in them."""

import lzma
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import sentencepiece

BATCH_LINES = 20_000


class DataError(ValueError):
    """Text that can't be read. One sentence."""


class Line(NamedTuple):
    """A sentence; `target` is None in a file of plain text."""

    source: str
    target: str | None


def read_lines(path: Path) -> Iterator[Line]:
    """Lines of `source TAB target` (.tsv, .tsv.xz) or of plain text (any other name, .xz or not)."""
    pairs = path.name.removesuffix(".xz").endswith(".tsv")
    opener: Callable = lzma.open if path.suffix == ".xz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip("\n").split("\t")
                if pairs and len(fields) != 2:
                    raise DataError(f"{path}: line {number} has {len(fields)} fields; source TAB target has 2.")
                yield Line(fields[0], fields[1]) if pairs else Line(line.rstrip("\n"), None)
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the text can't be read ({error}).") from None


def load_tokenizer(spm: bytes) -> sentencepiece.SentencePieceProcessor:
    """A SentencePiece model from its bytes."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=spm)
    except RuntimeError as error:
        raise DataError(f"The SentencePiece model can't be read ({error}).") from None


def count_pieces(spm: bytes, pieces: Sequence[str], unk: int, eos: int, lines: Iterable[str]) -> list[int]:
    """Occurrences of each piece in the text, as the model reads it: eos ends each line, unknown pieces are `unk`."""
    tokenizer, number = load_tokenizer(spm), {piece: n for n, piece in enumerate(pieces)}
    counts: Counter[int] = Counter()
    rest = iter(lines)
    while batch := list(islice(rest, BATCH_LINES)):
        encoded = tokenizer.encode(batch, out_type=str, num_threads=2)
        counts.update(number.get(piece, unk) for piece in chain.from_iterable(encoded))
        counts[eos] += len(batch)
    return [counts[n] for n in range(len(pieces))]


def expected_counts(spm: bytes, pieces: Sequence[str]) -> list[int]:
    """Stand-in for counts: occurrences in a billion pieces by the unigram probabilities that SentencePiece learnt."""
    tokenizer = load_tokenizer(spm)
    result = []
    for piece in pieces:
        number = tokenizer.piece_to_id(piece)
        ordinary = tokenizer.is_unknown(number) is False and not tokenizer.is_control(number)
        result.append(round(1e9 * math.exp(tokenizer.get_score(number))) if ordinary else 0)
    return result
