"""Text to ids as `evaluate` reads it."""

from __future__ import annotations

from models.evaluate.evaluate import Pieces


def test_a_target_language_token_is_one_id_though_sentencepiece_would_split_it(spm: bytes, pieces: tuple[str, ...]):
    token = ">>deu<<"
    reader = Pieces(spm, (*pieces, token), 1, ())
    assert reader.encode(token) != [len(pieces)]
    assert reader.row(token) == len(pieces)
    assert reader.row("not a piece") == 1
