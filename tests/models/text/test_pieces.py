"""Text to rows, as training, calibration and evaluation read it."""

from __future__ import annotations

import pytest

from models.text.lines import DataError
from models.text.pieces import PieceTokenizer
from tests.models.conftest import sentences


def test_a_target_language_token_is_one_row_though_sentencepiece_would_split_it(spm: bytes, pieces: tuple[str, ...]):
    token = ">>deu<<"
    tokenizer = PieceTokenizer(spm, (*pieces, token), 1)
    assert tokenizer.encode(token) != [len(pieces)]
    assert tokenizer.row(token) == len(pieces)
    assert tokenizer.row("not a piece") == 1


def test_what_sentencepiece_does_not_know_may_be_a_row(spm: bytes, pieces: tuple[str, ...]):
    tokenizer = PieceTokenizer(spm, (*pieces, "\u2603"), 1)
    assert len(pieces) in tokenizer.encode("ba \u2603")
    assert 1 in tokenizer.encode("ba \u2604")


def test_texts_come_back_and_are_encoded_together_as_alone(spm: bytes, pieces: tuple[str, ...]):
    tokenizer, texts = PieceTokenizer(spm, pieces, 1, (0, 1)), sentences(50, 4)
    encoded = tokenizer.encode_all(texts, threads=2)
    assert encoded == [tokenizer.encode(text) for text in texts]
    assert [tokenizer.decode([*rows, 0]) for rows in encoded] == texts


def test_pieces_beyond_a_row_are_the_rarer_ones(spm: bytes, pieces: tuple[str, ...]):
    tokenizer = PieceTokenizer(spm, pieces, 1)
    (text,) = sentences(1, 4)
    rows = tokenizer.encode(text)
    middle = sorted(rows)[len(rows) // 2]
    assert tokenizer.beyond(middle, text) == [pieces[row] for row in rows if row >= middle]


def test_what_is_not_a_model_is_refused():
    with pytest.raises(DataError, match="SentencePiece model can't be read"):
        PieceTokenizer(b"nonsense", (), 0)
