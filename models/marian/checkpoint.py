"""Checkpoint: a model in fp32, wherever it was read from.

What the engine can't represent is a `CheckpointError`, one sentence that names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from models.format.languages import LanguageTokens
from models.format.punctuation import rules
from models.format.schema import Architecture, Ids
from models.format.shortlist import Shortlist
from models.text.pieces import PieceTokenizer


class CheckpointError(ValueError):
    """A checkpoint that can't be read or represented. One sentence: the file and the fault."""


@dataclass(frozen=True)
class Checkpoint:
    """A model in fp32, rows in the order of its own vocabulary.

    Attributes:
        source_pieces: piece of row i; target_pieces is None where the two sides share one vocabulary.
        tensors: our name -> float32 tensor: matrices [rows, columns] and vectors.
        spm: content of source.spm and target.spm.
        beam_size: that the model was meant to be searched with.
        length_penalty: likewise; the score is divided by the length to the power of it.
        moses_punctuation: as in `models.format.schema.ModelConfig`, and so are the two below.
        shortlist: that came with the model, without rows that are never predicted.
    """

    source_languages: tuple[str, ...]
    target_languages: tuple[str, ...]
    target_tokens: Mapping[str, str]
    architecture: Architecture
    ids: Ids
    source_pieces: tuple[str, ...]
    target_pieces: tuple[str, ...] | None
    tensors: Mapping[str, Tensor]
    spm: Mapping[str, bytes]
    beam_size: int = 1
    length_penalty: float = 1.0
    moses_punctuation: bool = False
    source_tokens: Mapping[str, str] = field(default_factory=dict)
    target_token_begins: Literal["source", "target"] = "source"
    shortlist: Shortlist | None = None

    @property
    def tokens(self) -> LanguageTokens:
        """The pieces that name languages."""
        return LanguageTokens(self.source_tokens, self.target_tokens, self.target_token_begins == "target")

    def source_tokenizer(self) -> PieceTokenizer:
        """Make the tokenizer of the source side."""
        punctuation = rules(self.moses_punctuation, self.source_languages)
        return PieceTokenizer(self.spm["source.spm"], self.source_pieces, self.ids.unk_source, (), punctuation)

    def target_tokenizer(self) -> PieceTokenizer:
        """Make the tokenizer of the target side."""
        pieces = self.source_pieces if self.target_pieces is None else self.target_pieces
        punctuation = rules(self.moses_punctuation, self.target_languages)
        return PieceTokenizer(
            self.spm["target.spm"],
            pieces,
            self.ids.unk_target,
            self.ids.silent | self.tokens.silent_rows(pieces),
            punctuation,
        )
