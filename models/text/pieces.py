"""Text <-> rows of a vocabulary: SentencePiece splits a text into pieces, the vocabulary numbers them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, islice

import sentencepiece

from models.format.languages import LanguageTokens, marked
from models.format.punctuation import normalized
from models.text.lines import DataError

BATCH_LINES = 20_000


class PieceTokenizer:
    """One side's SentencePiece model and vocabulary."""

    def __init__(
        self,
        spm: bytes,
        pieces: Sequence[str],
        unk: int,
        silent: Iterable[int] = (),
        punctuation: str | None = None,
    ) -> None:
        """Take a SentencePiece model and the piece of each row.

        Args:
            spm: content of a .spm file.
            pieces: piece of each row; the two sides may share them though their SentencePiece models differ.
            unk: row of what the vocabulary lacks.
            silent: rows that stand for no text.
            punctuation: language whose rules of Moses the model's text went by; None for no rules.

        Raises:
            DataError: `spm` is not a SentencePiece model.
        """
        try:
            self._sentencepiece = sentencepiece.SentencePieceProcessor(model_proto=spm)
        except RuntimeError as error:
            raise DataError(f"The SentencePiece model can't be read ({error}).") from None
        self._pieces, self._unk, self._silent = pieces, unk, frozenset(silent)
        self._punctuation = punctuation
        self._rows = {piece: row for row, piece in enumerate(pieces)}
        # By SentencePiece's own ids: 1.6 times as fast as by pieces.
        self._row_of_id = [self.row(self._sentencepiece.id_to_piece(n)) for n in range(len(self._sentencepiece))]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._pieces)

    def row(self, piece: str) -> int:
        """Return the row of a whole piece, such as a target language's token, which encoding would split."""
        return self._rows.get(piece, self._unk)

    def encode(self, text: str) -> list[int]:
        """Return the rows of a text, eos not included."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str], *, threads: int = 1) -> list[list[int]]:
        """Return the rows of each text."""
        texts = [normalized(text, self._punctuation) for text in texts]
        encoded = self._sentencepiece.encode(texts, num_threads=threads)
        unknown, row_of_id = self._sentencepiece.unk_id(), self._row_of_id
        return [
            # one side's SentencePiece may not know a piece that the vocabulary has
            list(map(self.row, self._split(text))) if unknown in ids else [row_of_id[id_] for id_ in ids]
            for text, ids in zip(texts, encoded, strict=True)
        ]

    def encode_marked(self, text: str, tokens: LanguageTokens) -> tuple[list[int], list[str]]:
        """Return the rows of a source text with the pieces that name its languages, and those of its translation.

        The head of the text, as in `>>fr<< Good morning`, says which target is meant; without it the first is.
        """
        language, begin = marked(text, tokens.target)
        source, target = tokens.heads(None, language)
        return [*map(self.row, source), *self.encode(text[begin:])], target

    def beyond(self, row: int, text: str) -> list[str]:
        """Return the pieces of a text from this row on: a vocabulary sorted by frequency ends in the rarest."""
        return [piece for piece in self._split(normalized(text, self._punctuation)) if self.row(piece) >= row]

    def decode(self, rows: Sequence[int]) -> str:
        """Return the text of the rows that stand for text."""
        text: str = self._sentencepiece.decode([self._pieces[row] for row in rows if row not in self._silent])
        return text

    def count(self, texts: Iterable[str], eos: int) -> list[int]:
        """Count the occurrences of each row, eos once a text."""
        counts: Counter[int] = Counter()
        rest = iter(texts)
        while batch := list(islice(rest, BATCH_LINES)):
            counts.update(chain.from_iterable(self.encode_all(batch, threads=2)))
            counts[eos] += len(batch)
        return [counts[row] for row in range(len(self._pieces))]

    def expected_counts(self) -> list[int]:
        """Estimate counts: occurrences in a billion pieces by the unigram probabilities that SentencePiece learnt."""
        result, model = [], self._sentencepiece
        for piece in self._pieces:
            number = model.piece_to_id(piece)
            ordinary = not model.is_unknown(number) and not model.is_control(number)
            result.append(round(1e9 * math.exp(model.get_score(number))) if ordinary else 0)
        return result

    def _split(self, text: str) -> list[str]:
        pieces: list[str] = self._sentencepiece.encode(text, out_type=str)
        return pieces
