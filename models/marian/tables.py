"""Embeddings and output layer of a model with the pieces of their rows, and a row to start from where there is none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.format.layout import matrix_shapes, vector_sizes
from models.format.schema import Architecture, Ids
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.names import target_tokens

START = "<start>"  # the piece of the row of zeros that decoders start from
PADDING = ("<pad>", "<blank>")


class Special(NamedTuple):
    """The pieces that are none of text.

    Attributes:
        eos: ends a sentence.
        unk: stands for what the vocabulary lacks.
        start: the decoder starts from it; None where it starts from zeros.
        ends_sources: whether a source ends with eos.
    """

    eos: str
    unk: str
    start: str | None
    ends_sources: bool


class Tables:
    """The tables as the engine wants them: one row for eos on both sides, and one to start from.

    Attributes:
        source_pieces: of the rows of `source`, and likewise of the target.
        shared: the two sides have one vocabulary and one embedding.
        tied: the output layer is the target's embedding.
        bias: of the output layer.
    """

    def __init__(
        self,
        path: Path,
        special: Special,
        pieces: tuple[Sequence[str], Sequence[str]],
        tables: tuple[Tensor, Tensor, Tensor],
        bias: Tensor,
    ) -> None:
        """Take what a model has.

        Args:
            path: of the model, for errors.
            special: pieces.
            pieces: of source and target.
            tables: embeddings of source and target, and the output layer: [pieces, d_model].
            bias: [target pieces].

        Raises:
            CheckpointError: the rows are not as many as the pieces, or a special piece is missing.
        """
        self._path, self._special = path, special
        self.source_pieces, self.target_pieces = map(list, pieces)
        self.source, self.target, self.output = tables
        self.bias = bias
        rows = [len(self.source), len(self.target), len(self.output), len(bias)]
        if rows != [len(self.source_pieces), *[len(self.target_pieces)] * 3]:
            raise CheckpointError(
                f"{path}: the vocabularies have {len(self.source_pieces)} and {len(self.target_pieces)} pieces, but "
                f"embeddings, output layer and its bias have {', '.join(map(str, rows))} rows."
            )
        self.shared = self.source_pieces == self.target_pieces and torch.equal(self.source, self.target)
        self.tied = torch.equal(self.target, self.output)
        self.ids = self._ids()

    def checkpoint(
        self,
        architecture: Architecture,
        layers: Mapping[str, Tensor],
        languages: tuple[tuple[str, ...], tuple[str, ...]],
        spm: Mapping[str, bytes],
    ) -> Checkpoint:
        """Put the checkpoint together, its tensors in the order of the layout.

        Args:
            architecture: of the model.
            layers: our name -> float32 tensor, of all but the tables.
            languages: of source and target.
            spm: content of source.spm and target.spm.

        Raises:
            CheckpointError: a tensor has another shape than the architecture gives it.
        """
        tensors = {**self._tensors(), **layers}
        shapes: dict[str, tuple[int, ...]] = dict(matrix_shapes(architecture))
        shapes |= {name: (size,) for name, size in vector_sizes(architecture, output_bias=True).items()}
        for name, shape in shapes.items():
            if tuple(tensors[name].shape) != shape:
                raise CheckpointError(f"{self._path}: {name} would be {list(tensors[name].shape)}, not {list(shape)}.")
        source_languages, target_languages = languages
        return Checkpoint(
            source_languages=source_languages,
            target_languages=target_languages,
            target_tokens=target_tokens(self.source_pieces),
            architecture=architecture,
            ids=self.ids,
            source_pieces=tuple(self.source_pieces),
            target_pieces=None if self.shared else tuple(self.target_pieces),
            tensors={name: tensors[name].contiguous() for name in shapes},
            spm=spm,
        )

    def _tensors(self) -> dict[str, Tensor]:
        """Return the tables by our names."""
        named = {"embedding": self.target} if self.shared else {}
        if not self.shared:
            named = {"source_embedding": self.source, "target_embedding": self.target}
        return named | ({} if self.tied else {"output": self.output}) | {"output.bias": self.bias}

    def _ids(self) -> Ids:
        eos = self._row(self.source_pieces, self._special.eos), self._row(self.target_pieces, self._special.eos)
        if eos[0] != eos[1]:  # the engine has one for both
            self._move_eos(*eos)
            eos = 0, 0
        start = self._zeros() if self._special.start is None else self._row(self.target_pieces, self._special.start)
        pad = next((self.target_pieces.index(piece) for piece in PADDING if piece in self.target_pieces), start)
        return Ids(
            eos=eos[1],
            pad=pad,
            unk_source=self._row(self.source_pieces, self._special.unk),
            unk_target=self._row(self.target_pieces, self._special.unk),
            decoder_start=start,
            suppressed=tuple(sorted({pad, start} - {eos[1]})),
            ends_sources=self._special.ends_sources,
        )

    def _row(self, pieces: Sequence[str], piece: str) -> int:
        if piece not in pieces:
            raise CheckpointError(f"{self._path}: the vocabulary lacks {piece!r}.")
        return pieces.index(piece)

    def _move_eos(self, source: int, target: int) -> None:
        """Move eos to the front of both sides."""
        orders = [
            [row, *(n for n in range(len(pieces)) if n != row)]
            for row, pieces in ((source, self.source_pieces), (target, self.target_pieces))
        ]
        self.source_pieces = [self.source_pieces[n] for n in orders[0]]
        self.target_pieces = [self.target_pieces[n] for n in orders[1]]
        self.source, self.target = self.source[orders[0]], self.target[orders[1]]
        self.output, self.bias = self.output[orders[1]], self.bias[orders[1]]

    def _zeros(self) -> int:
        """Add a row of zeros to start from; return its number."""
        zeros = torch.zeros(1, self.target.shape[1])
        self.target_pieces.append(START)
        if self.shared:
            self.source_pieces.append(START)
        self.target = torch.cat([self.target, zeros])
        self.output = self.target if self.tied else torch.cat([self.output, zeros])
        self.bias = torch.cat([self.bias, torch.zeros(1)])
        return len(self.target_pieces) - 1
