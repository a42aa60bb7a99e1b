"""A tiny model directory with random weights, made in a second: what it says is nonsense, but always the same."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
import sentencepiece

from models.format.layout import Vectors, bits_per_weight, matrix_shapes, model_bytes, tensor_specs
from models.format.schema import (
    FORMAT_VERSION,
    Allocation,
    Architecture,
    Codes,
    Configuration,
    Ids,
    Matrix,
    ModelConfig,
    Segment,
)
from models.format.vocabulary import Pieces, Vocabulary
from models.format.write import write_model

VECTORS = Vectors(output_bias=True, half=False)
# Measured figures of the tiny model, made up so that each rule about them has a case.
BLEU = {"full": 30.0, "half": 29.0, "narrow": 5.0, "clusters": None}


def write_tiny_model(
    path: Path,
    kind: Literal["progressive", "specialised"] = "progressive",
    norm_gain: float = 1.0,
    *,
    sources: tuple[str, ...] = ("en",),
    targets: tuple[str, ...] = ("de",),
    seed: int = 7,
    beam_size: int = 1,
) -> Path:
    """Write a model directory with random planes; a huge `norm_gain` makes its scores overflow."""
    spm = _train_sentencepiece()
    processor = sentencepiece.SentencePieceProcessor(model_proto=spm)
    pieces = [processor.id_to_piece(n) for n in range(processor.get_piece_size())]
    size = len(pieces) + 1
    architecture = Architecture(
        d_model=64,
        source_vocab_size=size,
        target_vocab_size=size,
        encoder_layers=2,
        encoder_heads=2,
        encoder_ffn_dim=96,
        decoder_layers=1,
        decoder_heads=2,
        decoder_ffn_dim=96,
        activation="relu",
        norm="post",
        norm_epsilon=1e-5,
        scale_embedding=True,
        max_positions=512,
        shared_vocabulary=True,
        tied_output=True,
    )
    pad = size - 1
    ids = Ids(
        eos=pieces.index("</s>"),
        pad=pad,
        unk_source=pieces.index("<unk>"),
        unk_target=pieces.index("<unk>"),
        decoder_start=pad,
        suppressed=(pad,),
    )
    shapes = matrix_shapes(architecture)
    depth = 4
    allocations: dict[str, Allocation] = {
        "full": {name: (Segment(0, rows, 4),) for name, (rows, _) in shapes.items()},
        "half": {name: (Segment(0, rows, 2),) for name, (rows, _) in shapes.items()},
        "narrow": {name: (Segment(0, rows, 1),) for name, (rows, _) in shapes.items()},
        "clusters": {
            name: (Segment(0, 48, 4), Segment(48, 96, 2), Segment(96, rows, 1))
            if name == "embedding"
            else (Segment(0, rows, 3),)
            for name, (rows, _) in shapes.items()
        },
    }
    if kind == "specialised":
        allocations = {"full": allocations["full"]}
    codes = Codes(kind=kind, depth=depth, group_size=None, solver="random")
    stored = None if kind == "progressive" else allocations["full"]
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, (dtype, shape, _) in tensor_specs(architecture, codes, stored, VECTORS).items():
        if dtype == "U32":
            plane = generator.integers(0, 1 << 32, shape, dtype=np.uint32)
            rows = shapes[name.split(".plane.")[0]][0]
            plane[-1, :, rows % 16 or 16 :] = 0
            tensors[name] = plane
        elif dtype == "F16":
            prefix = np.linspace(1.0, 0.4, shape[0])[:, None, None]
            tensors[name] = (0.1 * prefix * generator.uniform(0.5, 1.5, shape)).astype(np.float16)
        elif name.endswith("norm.gain"):
            tensors[name] = np.full(shape, norm_gain, np.float32)
        else:
            tensors[name] = generator.normal(0, 0.1, shape).astype(np.float32)
    errors = (0.4, 0.2, 0.1, 0.05) if kind == "progressive" else (0.05,)
    config = ModelConfig(
        format_version=FORMAT_VERSION,
        name="tiny",
        source_languages=sources,
        target_languages=targets,
        target_tokens={},
        architecture=architecture,
        ids=ids,
        length_penalty=1.0,
        codes=codes,
        matrices={name: Matrix(rows, columns, errors) for name, (rows, columns) in shapes.items()},
        specialised={},
        configurations={
            name: Configuration(
                allocation=allocation,
                bits_per_weight=bits_per_weight(architecture, allocation),
                bytes=model_bytes(architecture, None, allocation, VECTORS),
                quality={} if BLEU[name] is None else {"made-up": {"bleu": BLEU[name], "chrf": 2 * BLEU[name]}},
            )
            for name, allocation in allocations.items()
        },
        default_configuration="full",
        checksums={},
        beam_size=beam_size,
    )
    vocabulary = Vocabulary(Pieces.of((piece, size - n) for n, piece in enumerate([*pieces, "<pad>"])), None)
    write_model(path, config, tensors, vocabulary, {"source.spm": spm, "target.spm": spm})
    return path


def _train_sentencepiece() -> bytes:
    generator = np.random.default_rng(3)
    syllables = ["ti", "ver", "ho", "use", "ree", "gra", "lon", "old", "sun", "wor", "ne", "bi"]
    words = ["The", "the", "A", "a", "old", "house", "big", "tree", "sees", "river", "near", "sun", "Hello", "world"]
    words += ["".join(generator.choice(syllables, 2)) for _ in range(60)]
    lines = [" ".join(generator.choice(words, 8)) + "." for _ in range(400)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.!?'-:;"]),
        model_writer=model,
        vocab_size=120,
        character_coverage=1.0,
        bos_id=-1,
        eos_id=0,
        unk_id=1,
        minloglevel=2,
        num_threads=1,
    )
    return model.getvalue()
