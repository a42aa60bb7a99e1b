"""A shortlist from the model's own attention: it translates text, and each word goes to the source piece it looked at.

No translation by people is needed, and what the table lacks is what the model itself would not choose on such text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from tqdm import tqdm

from kernels.engine import Engine
from models.evaluate.evaluate import max_length, tokenizers
from models.format.directory import ModelDirectory, open_model
from models.format.schema import SENTENCEPIECE_FILES, ModelError
from models.format.shortlist import shortlist_tensors
from models.format.write import write_model
from models.text.lines import DataError, read_lines

_BATCH = 64
_GROUP = 64 * _BATCH  # sentences that are sorted by length
_LONGEST = 120  # source pieces
_HELD_OUT = 20  # every so many sentences one is not counted, but measured


# A source, and of each target piece the place in the source that it looked at most.
_Translated = tuple[Sequence[int], list[tuple[int, int]]]


@dataclass(frozen=True)
class Sizes:
    """How much goes into a shortlist.

    Attributes:
        always: the target pieces that are met most, which every sentence may choose.
        each: of each source piece at most, the ones that look at it most.
    """

    always: int = 300
    each: int = 60


@dataclass(frozen=True)
class Found:
    """A shortlist and what it does on held-out text.

    Attributes:
        always: rows that every sentence may choose.
        rows: of each source row.
        sentences: that were counted.
        same: share of the held-out sentences whose every word, chosen from all pieces, is a candidate; greedy search
            then translates them in the same words.
        candidates: of a held-out sentence, on average.
    """

    always: frozenset[int]
    rows: Sequence[frozenset[int]]
    sentences: int
    same: float
    candidates: float


def add_shortlist(
    path: Path, texts: Sequence[Path], *, sentences: int, sizes: Sizes, configurations: Sequence[str]
) -> Found:
    """Make a shortlist with the default configuration of a model, and put it into its directory.

    Args:
        path: the model directory, which is written anew.
        texts: source text: source TAB target (.tsv, .tsv.xz) or plain text.
        sentences: to take of each text at most, from all over it.
        sizes: how much goes into it.
        configurations: those that use it where a request does not say.

    Raises:
        DataError: a text can't be read, or there are too few sentences.
        ModelError: the model has no such configuration.
    """
    model = open_model(path)
    found = find(model, chain.from_iterable(_sample(text, sentences) for text in texts), sizes)
    if unknown := [name for name in configurations if name not in model.config.configurations]:
        raise ModelError(f"{path}: it has no configuration {unknown[0]!r}.")
    files = {name: (path / name).read_bytes() for name in (*SENTENCEPIECE_FILES, "README.md")}
    write_model(
        path,
        replace(model.config, shortlist=tuple(configurations)),
        model.main.tensors,
        model.vocabulary,
        files,
        specialised={name: mapped.tensors for name, mapped in model.specialised.items()},
        shortlist=shortlist_tensors(found.always, found.rows),
        overwrite=True,
    )
    return found


def find(model: ModelDirectory, texts: Iterable[str], sizes: Sizes) -> Found:
    """Translate source sentences, and count which source piece each target piece looked at.

    Raises:
        DataError: there are too few sentences.
    """
    counted: list[_Translated] = []
    held_out: list[_Translated] = []
    for number, translated in enumerate(_translated(model, texts)):
        (held_out if number % _HELD_OUT == 0 else counted).append(translated)
    if not counted:
        raise DataError(f"A shortlist needs at least {_HELD_OUT} sentences of text.")
    architecture = model.config.architecture
    counts = [Counter[int]() for _ in range(architecture.source_vocab_size)]
    met: Counter[int] = Counter()
    for source, links in counted:
        for place, row in links:
            counts[source[place]][row] += 1
            met[row] += 1
    never = frozenset(model.config.ids.suppressed)
    frequent = {row for row, _ in met.most_common(sizes.always)}
    always = frozenset(frequent | _characters(model) | {model.config.ids.eos}) - never
    same = _same_pieces(model)
    rows = [
        frozenset([row for row, _ in of.most_common() if row not in always][: sizes.each]) | same[source]
        for source, of in enumerate(counts)
    ]
    rows = [each - always - never for each in rows]
    lists = [always.union(*(rows[token] for token in source)) for source, _ in held_out]
    inside = [
        all(row in candidates for _, row in links) for candidates, (_, links) in zip(lists, held_out, strict=True)
    ]
    return Found(always, rows, len(counted), sum(inside) / len(inside), sum(map(len, lists)) / len(lists))


def _translated(model: ModelDirectory, texts: Iterable[str]) -> Iterator[_Translated]:
    config = model.config
    reader, writer = tokenizers(model)
    engine = model.engine()
    # The last layer but one aligns best where there are several (service/text/alignment.py).
    layer = max(config.architecture.decoder_layers - 1, 1)
    rest = iter(texts)
    while group := list(islice(rest, _GROUP)):
        marked = [reader.encode_marked(text, config.tokens) for text in group if text.strip()]
        begun = [(config.ids.ended(rows), list(map(writer.row, begins))) for rows, begins in marked]
        begun = sorted((pair for pair in begun if len(pair[0]) <= _LONGEST), key=lambda pair: len(pair[0]))
        for first in tqdm(range(0, len(begun), _BATCH), unit="batch", leave=False):
            yield from _links(engine, begun[first : first + _BATCH], layer, model)


def _links(
    engine: Engine, begun: list[tuple[list[int], list[int]]], layer: int, model: ModelDirectory
) -> Iterator[_Translated]:
    config, batch = model.config, [source for source, _ in begun]
    limits = [max_length(len(source), config.architecture.max_positions) for source in batch]
    result = engine.translate(
        batch,
        max_lengths=limits,
        length_penalty=config.length_penalty,
        alignment_layer=layer,
        prefixes=[begins for _, begins in begun],
    )
    for source, (best, *_) in zip(batch, result.hypotheses, strict=True):
        assert best.alignment is not None  # it was asked for
        words = len(source) - config.ids.ends_sources or 1  # eos gets the attention of pieces that need none
        links = [
            (max(range(words), key=weights.__getitem__), row)
            for row, weights in zip(best.ids, best.alignment, strict=False)
        ]
        yield source, links


def _characters(model: ModelDirectory) -> set[int]:
    """Return the target rows of one character, with which whatever is not a word can be spelt."""
    return {
        row
        for row, (piece, _) in enumerate(model.vocabulary.target_pieces)
        if len(piece.removeprefix("▁")) <= 1 and row not in model.config.ids.silent
    }


def _same_pieces(model: ModelDirectory) -> list[frozenset[int]]:
    """Return of each source row the target row of the same piece: names and kept units are copied piece by piece."""
    target, silent = model.vocabulary.target_pieces, model.config.ids.silent
    found = [target.find(piece) for piece, _ in model.vocabulary.source]
    return [frozenset() if row is None or row in silent else frozenset((row,)) for row in found]


def _sample(path: Path, most: int) -> list[str]:
    """Return sentences from all over a text."""
    lines = [line.source for line in read_lines(path)]
    return lines[:: max(1, -(-len(lines) // most))]
