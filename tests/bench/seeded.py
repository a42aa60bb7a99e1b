"""Marian directories of random weights: bytes, time and memory do not depend on what the weights say."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import sentencepiece

from tests.conftest import DEFAULT_MODEL


class Sizes(NamedTuple):
    """Sizes of a checkpoint; `vocabularies` are the one that both sides share, or one of each."""

    d_model: int
    ffn_dim: int
    layers: tuple[int, int]
    vocabularies: tuple[int, ...]
    activation: str = "relu"


TRANSFORMER_BASE = Sizes(512, 2048, (6, 6), (32_768,))


def seeded_checkpoint(path: Path, sizes: Sizes, *, half: bool = False) -> Path:
    """Write a checkpoint as transformers does, unless it is there.

    Its first pieces are those of the default model, so that real text can be translated; the others are w0, w1 ...

    Args:
        path: the directory.
        sizes: of its tensors; heads have 64 columns.
        half: store float16, as the hubs do.
    """
    if path.exists():
        return path
    import torch
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(20)
    size = sizes.vocabularies[-1]
    config = MarianConfig(
        d_model=sizes.d_model,
        encoder_layers=sizes.layers[0],
        decoder_layers=sizes.layers[1],
        encoder_attention_heads=sizes.d_model // 64,
        decoder_attention_heads=sizes.d_model // 64,
        encoder_ffn_dim=sizes.ffn_dim,
        decoder_ffn_dim=sizes.ffn_dim,
        vocab_size=sizes.vocabularies[0],
        decoder_vocab_size=size,
        share_encoder_decoder_embeddings=len(sizes.vocabularies) == 1,
        activation_function=sizes.activation,
        max_position_embeddings=512,
        scale_embedding=True,
        pad_token_id=size - 1,
        decoder_start_token_id=size - 1,
        eos_token_id=0,
        forced_eos_token_id=0,
    )
    new = path.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    model = MarianMTModel(config)
    (model.half() if half else model).save_pretrained(new)
    known = sentencepiece.SentencePieceProcessor(model_file=str(DEFAULT_MODEL / "source.spm"))
    real = [known.id_to_piece(n) for n in range(known.get_piece_size())]
    ordinary = [piece for piece in real if piece not in ("</s>", "<unk>", "<s>", "<pad>")]
    for name, rows in zip(("vocab.json", "target_vocab.json"), sizes.vocabularies, strict=False):
        pieces = ["</s>", "<unk>", *ordinary, *(f"w{n}" for n in range(rows))][: rows - 1]
        (new / name).write_text(json.dumps({piece: n for n, piece in enumerate([*pieces, "<pad>"])}))
    (new / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "de"}))
    for name in ("source.spm", "target.spm"):
        shutil.copy(DEFAULT_MODEL / name, new / name)
    new.rename(path)
    return path
