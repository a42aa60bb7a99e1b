"""SentencePiece: text <-> ids, nothing else. An id is a row of the model's vocabulary."""

import re
import unicodedata
from collections.abc import Sequence

import sentencepiece

from models.format import ModelDirectory, ModelError

# Hidden marks that models have not seen: soft hyphens, zero-width spaces, marks of direction and of byte order.
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


class Tokenizer:
    """The two SentencePiece models of a directory and its vocabulary; immutable, so threads share it."""

    def __init__(self, directory: ModelDirectory) -> None:
        """Load source.spm and target.spm.

        Raises:
            ModelError: a file is no SentencePiece model, or a target language's token is no row.
        """
        vocabulary, ids = directory.vocabulary, directory.config.ids
        self._source = _load(directory, "source.spm")
        self._target = _load(directory, "target.spm")
        self._ids = {piece: row for row, (piece, _) in enumerate(vocabulary.source)}
        self._pieces = [piece for piece, _ in (vocabulary.target or vocabulary.source)]
        self._eos, self.unknown = ids.eos, ids.unk_source
        self._silent = frozenset({ids.eos, ids.pad, ids.unk_target, ids.decoder_start})
        self._prefixes: dict[str, list[int]] = {}
        for language, token in directory.config.target_tokens.items():
            if token not in self._ids:
                raise ModelError(f"{directory.path}/vocab.json: no row for {token}, the token of language {language}.")
            self._prefixes[language] = [self._ids[token]]

    def encode(self, text: str, target: str) -> list[int]:
        """Ids of one sentence: the target language's token where the model has one, the pieces, eos.

        The model reads composed characters and none that are invisible; what is copied stays as it is.
        """
        plain = text if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
        pieces = self._source.encode(plain, out_type=str)
        ids = [self._ids.get(piece, self.unknown) for piece in pieces]
        return [*self._prefixes.get(target, ()), *ids, self._eos]

    def knows(self, word: str) -> bool:
        """Whether the vocabulary has a piece for every part of a word."""
        return self.unknown not in self.encode(word, "")

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; special tokens and the unknown piece say nothing. One line, whatever byte pieces spell."""
        text: str = self._target.decode([self._pieces[row] for row in ids if row not in self._silent])
        return " ".join(text.splitlines())


def _load(directory: ModelDirectory, name: str) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        # from bytes: the library reports a file that it can't read on stderr only
        processor.LoadFromSerializedProto((directory.path / name).read_bytes())
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{directory.path}/{name}: not a SentencePiece model ({error}).") from None
    return processor
