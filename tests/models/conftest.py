"""Tiny models for the tests of the offline half."""

from __future__ import annotations

import dataclasses
import io
import random
from pathlib import Path

import pytest
import sentencepiece
import torch

from models.format.layout import matrix_shapes, vector_sizes
from models.format.schema import Architecture, Ids
from models.marian.checkpoint import Checkpoint

# The matrices are small: a second thread costs more than it brings.
torch.set_num_threads(1)

SYLLABLES = ["ba", "de", "fi", "go", "hü", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "wu"]
WORDS = [first + second for first in SYLLABLES for second in SYLLABLES[::2]]


def sentences(count: int, seed: int = 0) -> list[str]:
    choose = random.Random(seed)
    return [" ".join(choose.choices(WORDS, k=choose.randint(2, 9))) for _ in range(count)]


@pytest.fixture(scope="session")
def spm() -> bytes:
    """Train a SentencePiece model of 60 pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(500)), model_writer=model, vocab_size=60, minloglevel=2
    )
    return model.getvalue()


@pytest.fixture(scope="session")
def pieces(spm: bytes) -> tuple[str, ...]:
    """Return Marian's numbering: eos, unk, the pieces, pad."""
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=spm)
    ordinary = [tokenizer.id_to_piece(n) for n in range(3, tokenizer.get_piece_size())]
    return ("</s>", "<unk>", *ordinary, "<pad>")


ARCHITECTURE = Architecture(
    d_model=48,
    source_vocab_size=60,
    target_vocab_size=60,
    encoder_layers=2,
    encoder_heads=4,
    encoder_ffn_dim=80,
    decoder_layers=1,
    decoder_heads=2,
    decoder_ffn_dim=72,
    activation="relu",
    norm="post",
    norm_epsilon=1e-5,
    scale_embedding=True,
    max_positions=64,
    shared_vocabulary=True,
    tied_output=True,
)


def random_tensors(architecture: Architecture, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = dict(matrix_shapes(architecture))
    shapes |= {name: (size,) for name, size in vector_sizes(architecture, output_bias=True).items()}
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def tiny_checkpoint(spm: bytes, pieces: tuple[str, ...]) -> Checkpoint:
    size = len(pieces)
    architecture = dataclasses.replace(ARCHITECTURE, source_vocab_size=size, target_vocab_size=size)
    return Checkpoint(
        source_languages=("en",),
        target_languages=("de",),
        target_tokens={},
        architecture=architecture,
        ids=Ids(0, size - 1, 1, 1, size - 1, (size - 1,)),
        source_pieces=pieces,
        target_pieces=None,
        tensors=random_tensors(architecture),
        spm={"source.spm": spm, "target.spm": spm},
    )


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """Write 300 pairs, source TAB target."""
    path = tmp_path / "text.tsv"
    lines = [f"{a}\t{b}\n" for a, b in zip(sentences(300, 1), sentences(300, 2), strict=True)]
    path.write_text("".join(lines), encoding="utf-8")
    return path
