"""Reads a Marian / Opus-MT directory as Hugging Face transformers writes it, our own imported form of it, and what the
codes of a model directory stand for.

Everything that the engine can't represent is a `CheckpointError`, one sentence that names it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.codes import bcq
from models.format.atomic import replaced_directory
from models.format.directory import ModelDirectory, open_model
from models.format.faults import architecture_fault
from models.format.files import read_json
from models.format.layout import matrix_shapes, vector_sizes
from models.format.schema import (
    BLOCK_ROWS,
    CONFIG_FILE,
    SENTENCEPIECE_FILES,
    WEIGHTS_FILE,
    Allocation,
    Architecture,
    Ids,
    Segment,
)
from models.format.typed_json import decode_json
from models.marian.transformer import positions

IMPORTED = "sub3-checkpoint"
VOCABULARY_FILE = "vocab.json"
ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish", "gelu": "gelu"}
TARGET_TOKEN = re.compile(r">>([A-Za-z0-9_.-]+)<<")
# Marian computes layer norm with this, and so do the models of transformers (the default of torch.nn.LayerNorm).
NORM_EPSILON = 1e-5
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z0-9]+)*")


class CheckpointError(ValueError):
    """A checkpoint that can't be read or represented. One sentence: the file and the fault."""


@dataclass(frozen=True)
class Checkpoint:
    """A model in fp32, rows in the order of its own vocabulary.

    Attributes:
        source_pieces: piece of row i; target_pieces is None where the two sides share one vocabulary.
        tensors: our name -> float32 tensor: matrices [rows, columns] and vectors.
        spm: content of source.spm and target.spm.
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


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a directory of any kind: Marian's, one that `import` wrote, or a model directory in its deepest codes."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: there is no such directory.")
    config = _object(path, CONFIG_FILE)
    if "format_version" in config:
        return _read_coded(path)
    return _read_imported(path, config) if config.get("format") == IMPORTED else _read_marian(path, config)


# --- files ------------------------------------------------------------------------------------------------------------


def _object(path: Path, name: str) -> dict[str, Any]:
    try:
        document = read_json(path / name)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(document, dict):
        raise CheckpointError(f"{path / name}: this must be a JSON object.")
    return document


def _optional_object(path: Path, name: str) -> dict[str, Any]:
    return _object(path, name) if (path / name).exists() else {}


def _load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors, or of pytorch_model.bin read without running what it may contain."""
    safe, pickled = path / WEIGHTS_FILE, path / "pytorch_model.bin"
    try:
        if safe.exists():
            with safe_open(safe, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        elif pickled.exists():
            tensors = torch.load(pickled, map_location="cpu", weights_only=True)
        else:
            raise CheckpointError(f"{path}: there is neither {safe.name} nor {pickled.name}.")
    except (SafetensorError, OSError, RuntimeError, EOFError, torch.serialization.pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{safe if safe.exists() else pickled}: the weights can't be read ({reason}).") from None
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name!r} is not a tensor of floating-point numbers.")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: the tensor {name!r} holds numbers that are not finite.")
    return {name: tensor.float() for name, tensor in tensors.items()}


def _read_spm(path: Path) -> dict[str, bytes]:
    for name in SENTENCEPIECE_FILES:
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name}: the file is missing.")
    return {name: (path / name).read_bytes() for name in SENTENCEPIECE_FILES}


def _read_pieces(path: Path, name: str, size: int) -> tuple[str, ...]:
    """Pieces by id from a {piece: id} file."""
    pieces: list[str | None] = [None] * size
    for piece, number in _object(path, name).items():
        if not isinstance(number, int) or not 0 <= number < size:
            raise CheckpointError(
                f"{path / name}: {piece!r} has the id {number!r}, outside the {size} rows of the model."
            )
        if pieces[number] is not None:
            raise CheckpointError(f"{path / name}: {piece!r} and {pieces[number]!r} have the same id {number}.")
        pieces[number] = piece
    # Opus-MT models may have more rows than pieces; a row without a piece gets a name that no text can contain.
    return tuple(piece if piece is not None else f"<unused {number}>" for number, piece in enumerate(pieces))


# --- Marian -----------------------------------------------------------------------------------------------------------


class _Config:
    """config.json with typed look-ups that refuse by name."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.values = path, values

    def refuse(self, fault: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {fault}.")

    def number(self, name: str, default: int | None = None) -> int:
        value = self.values.get(name)
        value = default if value is None else value
        if value is None:
            raise self.refuse(f"the field {name} is missing")
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.refuse(f"{name} must be a whole number that is not negative, not {value!r}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(f"{name} must be true or false, not {value!r}")
        return value


def _read_marian(path: Path, values: Mapping[str, Any]) -> Checkpoint:
    config = _Config(path / CONFIG_FILE, values)
    if values.get("model_type") != "marian":
        raise config.refuse(f"model_type is {values.get('model_type')!r}; only 'marian' can be imported")
    architecture = _marian_architecture(config)
    if values.get("normalize_embedding") or values.get("layernorm_embedding"):
        raise config.refuse("layer norm on the embeddings (normalize_embedding) is not supported")
    if fault := architecture_fault(architecture):
        raise config.refuse(fault)
    tokenizer = _optional_object(path, "tokenizer_config.json")
    shared = architecture.shared_vocabulary
    source_pieces = _read_pieces(path, VOCABULARY_FILE, architecture.source_vocab_size)
    target_pieces = None
    if not shared:
        # Some Opus-MT models have one joint vocabulary but embeddings of their own on each side.
        name = "target_vocab.json" if (path / "target_vocab.json").exists() else VOCABULARY_FILE
        target_pieces = _read_pieces(path, name, architecture.target_vocab_size)
    target_tokens = {m[1]: piece for piece in source_pieces if (m := TARGET_TOKEN.fullmatch(piece))}
    source_languages, target_languages = _languages(path, values, tokenizer, target_tokens)
    return Checkpoint(
        source_languages=source_languages,
        target_languages=target_languages,
        target_tokens=target_tokens,
        architecture=architecture,
        ids=_marian_ids(path, config, source_pieces, target_pieces or source_pieces),
        source_pieces=source_pieces,
        target_pieces=target_pieces,
        tensors=_marian_tensors(path, architecture),
        spm=_read_spm(path),
    )


def _marian_architecture(config: _Config) -> Architecture:
    activation = config.values.get("activation_function", "gelu")
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise config.refuse(f"activation_function is {activation!r}, which is not one of {known}")
    if config.values.get("static_position_embeddings") is False:
        raise config.refuse("learned positions (static_position_embeddings: false) are not supported")
    shared = config.flag("share_encoder_decoder_embeddings", True)
    source_vocab = config.number("vocab_size")
    return Architecture(
        d_model=config.number("d_model"),
        source_vocab_size=source_vocab,
        target_vocab_size=source_vocab if shared else config.number("decoder_vocab_size", source_vocab),
        encoder_layers=config.number("encoder_layers"),
        encoder_heads=config.number("encoder_attention_heads"),
        encoder_ffn_dim=config.number("encoder_ffn_dim"),
        decoder_layers=config.number("decoder_layers"),
        decoder_heads=config.number("decoder_attention_heads"),
        decoder_ffn_dim=config.number("decoder_ffn_dim"),
        activation=ACTIVATIONS[activation],
        norm="pre" if config.flag("normalize_before", False) else "post",
        norm_epsilon=NORM_EPSILON,
        scale_embedding=config.flag("scale_embedding", False),
        max_positions=config.number("max_position_embeddings", 512),
        shared_vocabulary=shared,
        tied_output=config.flag("tie_word_embeddings", True),
    )


def _marian_ids(path: Path, config: _Config, source: tuple[str, ...], target: tuple[str, ...]) -> Ids:
    generation = _optional_object(path, "generation_config.json")

    def unknown(pieces: tuple[str, ...]) -> int:
        if "<unk>" not in pieces:
            raise CheckpointError(f"{path / VOCABULARY_FILE}: there is no piece '<unk>'.")
        return pieces.index("<unk>")

    pad, eos = config.number("pad_token_id"), config.number("eos_token_id")
    start = config.number("decoder_start_token_id", pad)
    for name, value in (("pad_token_id", pad), ("decoder_start_token_id", start), ("eos_token_id", eos)):
        if value >= len(target):
            raise config.refuse(f"{name} is {value}, outside the vocabulary of {len(target)}")
    if source[eos : eos + 1] != target[eos : eos + 1]:
        raise config.refuse(f"eos_token_id {eos} must be the same piece in both vocabularies")
    suppressed = {pad}
    for words in (generation.get("bad_words_ids"), config.values.get("bad_words_ids")):
        for word in words or []:
            if len(word) != 1:
                raise CheckpointError(
                    f"{path}: bad_words_ids has a sequence of {len(word)} tokens, only single ones work."
                )
            suppressed.add(word[0])
    suppressed |= set(generation.get("suppress_tokens") or [])
    return Ids(
        eos=eos,
        pad=pad,
        unk_source=unknown(source),
        unk_target=unknown(target),
        decoder_start=start,
        suppressed=tuple(sorted(suppressed)),
    )


def _languages(
    path: Path, values: Mapping[str, Any], tokenizer: Mapping[str, Any], target_tokens: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Languages from the tokenizer's settings, else from a name such as opus-mt-en-de."""
    source, target = tokenizer.get("source_lang"), tokenizer.get("target_lang")
    if not source or not target:
        for name in (str(values.get("_name_or_path") or ""), path.resolve().name):
            parts = re.sub(r"^.*opus-mt-(?:tc-)?(?:big-|base-)?", "", name).split("-")
            if len(parts) >= 2 and all(LANGUAGE_CODE.fullmatch(part) for part in parts[:2]):
                source, target = source or parts[0], target or parts[1]
                break
    if not isinstance(source, str) or not isinstance(target, str) or not source or not target:
        raise CheckpointError(
            f"{path / 'tokenizer_config.json'}: source_lang and target_lang must name the languages of the model."
        )
    return tuple(source.split("+")), tuple(sorted(target_tokens)) or tuple(target.split("+"))


# Ours -> transformers' names, below a layer.
_PARTS = {
    "self_attention": "self_attn",
    "encoder_attention": "encoder_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "out_proj",
}


def _marian_name(name: str) -> str:
    """`encoder.0.ffn.inner` -> `model.encoder.layers.0.fc1`, without .weight or .bias; norms likewise."""
    if name in ("encoder.norm", "decoder.norm"):
        return f"model.{name.split('.')[0]}.layer_norm"
    side, layer, block, part = name.split(".")
    prefix = f"model.{side}.layers.{layer}"
    if block == "ffn":
        return f"{prefix}.{ {'inner': 'fc1', 'outer': 'fc2', 'norm': 'final_layer_norm'}[part] }"
    if part == "norm":
        return f"{prefix}.{_PARTS[block]}_layer_norm"
    return f"{prefix}.{_PARTS[block]}.{_PARTS[part]}"


def _marian_tensors(path: Path, architecture: Architecture) -> dict[str, Tensor]:
    """Our tensors from Marian's, each with the shape that the architecture asks for; none may be left over."""
    theirs = _load_tensors(path)
    taken = set()

    def take(name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in theirs:
            raise CheckpointError(f"{path}: the tensor {name!r} is missing.")
        taken.add(name)
        tensor = theirs[name]
        if name == "final_logits_bias" and tensor.dim() == 2:
            tensor = tensor[0]
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{path}: the tensor {name!r} is {list(tensor.shape)}, not {list(shape)}.")
        return tensor.contiguous()

    def same(name: str, tensor: Tensor) -> None:
        """Copies that some versions of transformers store beside the tied original."""
        if name in theirs:
            taken.add(name)
            if theirs[name].shape != tensor.shape or not torch.equal(theirs[name], tensor):
                raise CheckpointError(f"{path}: {name!r} differs from the tensor that config.json ties it to.")

    result = {}
    for name, shape in matrix_shapes(architecture).items():
        if name == "embedding":
            first = next((n for n in _EMBEDDINGS["embedding"] if n in theirs), _EMBEDDINGS["embedding"][0])
            result[name] = take(first, shape)
            for other in _EMBEDDINGS["embedding"]:
                same(other, result[name])
        elif name in ("source_embedding", "target_embedding"):
            result[name] = take(_EMBEDDINGS[name][0], shape)
        elif name == "output":
            result[name] = take("lm_head.weight", shape)
        else:
            result[name] = take(f"{_marian_name(name)}.weight", shape)
    if architecture.tied_output:
        same("lm_head.weight", result["embedding" if architecture.shared_vocabulary else "target_embedding"])
    for name, size in vector_sizes(architecture, output_bias=False).items():
        block, _, kind = name.rpartition(".")
        result[name] = take(f"{_marian_name(block)}.{'weight' if kind == 'gain' else 'bias'}", (size,))
    if "final_logits_bias" in theirs:
        result["output.bias"] = take("final_logits_bias", (architecture.target_vocab_size,))
    _check_positions(path, theirs, taken, architecture)
    if not architecture.shared_vocabulary:
        taken.add("model.shared.weight")  # unused by transformers too, where the sides have embeddings of their own
    if left := sorted(theirs.keys() - taken):
        raise CheckpointError(f"{path}: the tensor {left[0]!r} has no place in this architecture.")
    return result


_EMBEDDINGS = {
    "embedding": (
        "model.shared.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
    ),
    "source_embedding": ("model.encoder.embed_tokens.weight",),
    "target_embedding": ("model.decoder.embed_tokens.weight",),
}


def _check_positions(path: Path, theirs: Mapping[str, Tensor], taken: set[str], architecture: Architecture) -> None:
    """Positions are computed, not stored, so stored ones must be the sinusoids."""
    for side in ("encoder", "decoder"):
        name = f"model.{side}.embed_positions.weight"
        if name in theirs:
            taken.add(name)
            stored = theirs[name]
            expected = positions(stored.shape[0], architecture.d_model)
            if stored.shape != expected.shape or not torch.allclose(stored, expected, atol=1e-4):
                raise CheckpointError(f"{path}: {name!r} holds learned positions, which are not supported.")


def write_marian(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the layout of transformers, in place of an older directory; `read_checkpoint` reads it."""
    a, ids = checkpoint.architecture, checkpoint.ids
    config = {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "d_model": a.d_model,
        "vocab_size": a.source_vocab_size,
        "decoder_vocab_size": a.target_vocab_size,
        "encoder_layers": a.encoder_layers,
        "encoder_attention_heads": a.encoder_heads,
        "encoder_ffn_dim": a.encoder_ffn_dim,
        "decoder_layers": a.decoder_layers,
        "decoder_attention_heads": a.decoder_heads,
        "decoder_ffn_dim": a.decoder_ffn_dim,
        "activation_function": a.activation,
        "normalize_before": a.norm == "pre",
        "normalize_embedding": False,
        "scale_embedding": a.scale_embedding,
        "static_position_embeddings": True,
        "max_position_embeddings": a.max_positions,
        "share_encoder_decoder_embeddings": a.shared_vocabulary,
        "tie_word_embeddings": a.tied_output,
        "pad_token_id": ids.pad,
        "eos_token_id": ids.eos,
        "decoder_start_token_id": ids.decoder_start,
        "forced_eos_token_id": ids.eos,
    }
    generation = {
        "pad_token_id": ids.pad,
        "eos_token_id": ids.eos,
        "decoder_start_token_id": ids.decoder_start,
        "bad_words_ids": [[token] for token in ids.suppressed],
    }
    tokenizer = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": "+".join(checkpoint.source_languages),
        "target_lang": "+".join(checkpoint.target_languages),
    }
    documents = {CONFIG_FILE: config, "generation_config.json": generation, "tokenizer_config.json": tokenizer}
    documents[VOCABULARY_FILE] = {piece: n for n, piece in enumerate(checkpoint.source_pieces)}
    if checkpoint.target_pieces is not None:
        documents["target_vocab.json"] = {piece: n for n, piece in enumerate(checkpoint.target_pieces)}
    tensors = {_marian_tensor_name(name): tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    if "final_logits_bias" in tensors:
        tensors["final_logits_bias"] = tensors["final_logits_bias"][None]
    with replaced_directory(path) as new:
        for name, document in documents.items():
            (new / name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file(tensors, new / WEIGHTS_FILE, metadata={"format": "pt"})
        for name, content in checkpoint.spm.items():
            (new / name).write_bytes(content)


def _marian_tensor_name(name: str) -> str:
    """The inverse of what `_marian_tensors` takes."""
    special = {"output": "lm_head.weight", "output.bias": "final_logits_bias"}
    special |= {ours: theirs[0] for ours, theirs in _EMBEDDINGS.items()}
    if name in special:
        return special[name]
    block, _, kind = name.rpartition(".")
    if kind in ("gain", "bias"):
        return f"{_marian_name(block)}.{'weight' if kind == 'gain' else 'bias'}"
    return f"{_marian_name(name)}.weight"


# --- our own form -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ImportedConfig:
    format: str
    source_languages: tuple[str, ...]
    target_languages: tuple[str, ...]
    target_tokens: Mapping[str, str]
    architecture: Architecture
    ids: Ids


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the imported form: fp32 tensors by our names, config.json, vocab.json and the SentencePiece models."""
    if path.exists():
        raise CheckpointError(f"{path}: this exists already.")
    config = _ImportedConfig(
        IMPORTED,
        checkpoint.source_languages,
        checkpoint.target_languages,
        checkpoint.target_tokens,
        checkpoint.architecture,
        checkpoint.ids,
    )
    vocabulary = {"source": checkpoint.source_pieces, "target": checkpoint.target_pieces}
    with replaced_directory(path) as new:
        (new / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=1, ensure_ascii=False) + "\n")
        (new / VOCABULARY_FILE).write_text(json.dumps(vocabulary, ensure_ascii=False))
        save_file({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}, new / WEIGHTS_FILE)
        for name, content in checkpoint.spm.items():
            (new / name).write_bytes(content)


def _read_imported(path: Path, values: Mapping[str, Any]) -> Checkpoint:
    try:
        config: _ImportedConfig = decode_json(_ImportedConfig, values, "the document")
    except ValueError as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: {error}.") from None
    if fault := architecture_fault(config.architecture):
        raise CheckpointError(f"{path / CONFIG_FILE}: {fault}.")
    tensors = _load_tensors(path)
    shapes = {name: tuple(shape) for name, shape in matrix_shapes(config.architecture).items()}
    vectors = vector_sizes(config.architecture, output_bias="output.bias" in tensors)
    shapes |= {name: (size,) for name, size in vectors.items()}
    for name in sorted(shapes.keys() | tensors.keys()):
        if name not in tensors or name not in shapes or tuple(tensors[name].shape) != shapes[name]:
            raise CheckpointError(
                f"{path / WEIGHTS_FILE}: the tensor {name!r} is missing, unknown or of a wrong shape."
            )
    vocabulary = _object(path, VOCABULARY_FILE)
    sizes = {"source": config.architecture.source_vocab_size}
    if not config.architecture.shared_vocabulary:
        sizes["target"] = config.architecture.target_vocab_size
    for side, size in sizes.items():
        pieces = vocabulary.get(side)
        if not isinstance(pieces, list) or len(pieces) != size or not all(isinstance(p, str) for p in pieces):
            raise CheckpointError(f"{path / VOCABULARY_FILE}: {side!r} must be a list of {size} pieces.")
    return Checkpoint(
        source_languages=config.source_languages,
        target_languages=config.target_languages,
        target_tokens=config.target_tokens,
        architecture=config.architecture,
        ids=config.ids,
        source_pieces=tuple(vocabulary["source"]),
        target_pieces=tuple(vocabulary["target"]) if "target" in sizes else None,
        tensors=tensors,
        spm=_read_spm(path),
    )


# --- a model directory ------------------------------------------------------------------------------------------------


def dequantize(model: ModelDirectory, allocation: Allocation) -> dict[str, Tensor]:
    """The fp32 tensors that an allocation stands for, rows in the order of the model: matrices and vectors."""
    arrays, segments = model.engine_inputs(allocation)
    shapes = matrix_shapes(model.config.architecture)
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name, begin, end, planes, first, group_size in segments:
        rows, columns = shapes[name]
        words = [np.asarray(arrays[f"{name}.plane.{i}"]) for i in range(1, planes + 1)]
        bits = np.stack([bcq.unpack(plane, min(rows, BLOCK_ROWS * len(plane)), columns)[begin:end] for plane in words])
        stored = np.asarray(arrays[f"{name}.scales.{planes}"])
        scales = torch.from_numpy(stored[:, :, begin - first : end - first].copy())
        code = bcq.BinaryCode(torch.from_numpy(bits), {planes: scales}, group_size or None)
        tensors[name][begin:end] = code.dequantize(planes)
    vectors = vector_sizes(model.config.architecture, output_bias="output.bias" in arrays)
    return tensors | {name: torch.from_numpy(np.asarray(arrays[name]).astype(np.float32)) for name in vectors}


def _read_coded(path: Path) -> Checkpoint:
    model = open_model(path)
    config, codes = model.config, model.config.codes
    allocation = model.allocation(config.default_configuration)
    if codes.kind == "progressive":
        allocation = {name: (Segment(0, matrix.rows, codes.depth),) for name, matrix in config.matrices.items()}
    target = model.vocabulary.target
    return Checkpoint(
        source_languages=config.source_languages,
        target_languages=config.target_languages,
        target_tokens=config.target_tokens,
        architecture=config.architecture,
        ids=config.ids,
        source_pieces=tuple(piece for piece, _ in model.vocabulary.source),
        target_pieces=None if target is None else tuple(piece for piece, _ in target),
        tensors=dequantize(model, allocation),
        spm=_read_spm(path),
    )
