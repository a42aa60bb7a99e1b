"""Marian and Opus-MT checkpoints, as Hugging Face transformers writes them: read and written."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.format.atomic import replaced_directory
from models.format.faults import architecture_fault
from models.format.layout import matrix_shapes, output_matrix, vector_sizes
from models.format.schema import CONFIG_FILE, MAX_BEAM_SIZE, MAX_LENGTH_PENALTY, WEIGHTS_FILE, Architecture, Ids
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.files import VOCABULARY_FILE, load_tensors, read_object, read_optional_object, read_spm
from models.marian.imported import write_checkpoint
from models.marian.names import languages_of, languages_of_name, target_tokens
from models.marian.transformer import sinusoidal

ACTIVATIONS: dict[str, Literal["relu", "swish", "gelu"]] = {
    "relu": "relu",
    "swish": "swish",
    "silu": "swish",
    "gelu": "gelu",
}
# Marian computes layer norm with this, and so do the models of transformers (the default of torch.nn.LayerNorm).
NORM_EPSILON = 1e-5
# Ours -> transformers' names, below a layer.
_PARTS = {
    "self_attention": "self_attn",
    "encoder_attention": "encoder_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "out_proj",
}
_EMBEDDINGS = {
    "embedding": (
        "model.shared.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
    ),
    "source_embedding": ("model.encoder.embed_tokens.weight",),
    "target_embedding": ("model.decoder.embed_tokens.weight",),
}


_OF_HEAD = ("lm_head.weight", "final_logits_bias")


def read_marian(path: Path, values: Mapping[str, Any]) -> Checkpoint:
    """Read a directory whose config.json has these values.

    Raises:
        CheckpointError: a file can't be read, or the engine can't represent the model.
    """
    config = Config(path / CONFIG_FILE, values)
    if values.get("model_type") != "marian":
        raise config.refuse(f"model_type is {values.get('model_type')!r}; only 'marian' and 'm2m_100' can be imported")
    architecture = _marian_architecture(config)
    if values.get("normalize_embedding") or values.get("layernorm_embedding"):
        raise config.refuse("layer norm on the embeddings (normalize_embedding) is not supported")
    if fault := architecture_fault(architecture):
        raise config.refuse(fault)
    tokenizer = read_optional_object(path, "tokenizer_config.json")
    shared = architecture.shared_vocabulary
    source_pieces = read_pieces(path, VOCABULARY_FILE, architecture.source_vocab_size)
    target_pieces = None
    if not shared:
        # Some Opus-MT models have one joint vocabulary but embeddings of their own on each side.
        name = "target_vocab.json" if (path / "target_vocab.json").exists() else VOCABULARY_FILE
        target_pieces = read_pieces(path, name, architecture.target_vocab_size)
    source_languages, target_languages = _languages(path, values, tokenizer)
    beam_size, length_penalty = read_search(path, config)
    return Checkpoint(
        source_languages=source_languages,
        target_languages=target_languages,
        target_tokens=target_tokens(source_pieces),
        architecture=architecture,
        ids=_marian_ids(path, config, source_pieces, target_pieces or source_pieces),
        source_pieces=source_pieces,
        target_pieces=target_pieces,
        tensors=read_tensors(path, architecture),
        spm=read_spm(path),
        beam_size=beam_size,
        length_penalty=length_penalty,
    )


class Config:
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


def read_architecture(config: Config, *, activation: str, scale_embedding: bool, max_positions: int) -> Architecture:
    """Read the shape of a Transformer whose sides share one vocabulary, with norms behind the layers.

    Args:
        config: of a checkpoint of transformers.
        activation: where the config does not say, by transformers' name.
        scale_embedding: likewise.
        max_positions: likewise.

    Raises:
        CheckpointError: a field is missing, of another type, or names an activation that is not supported.
    """
    name = config.values.get("activation_function", activation)
    if name not in ACTIVATIONS:
        raise config.refuse(f"activation_function is {name!r}, which is not one of {', '.join(ACTIVATIONS)}")
    size = config.number("vocab_size")
    return Architecture(
        d_model=config.number("d_model"),
        source_vocab_size=size,
        target_vocab_size=size,
        encoder_layers=config.number("encoder_layers"),
        encoder_heads=config.number("encoder_attention_heads"),
        encoder_ffn_dim=config.number("encoder_ffn_dim"),
        decoder_layers=config.number("decoder_layers"),
        decoder_heads=config.number("decoder_attention_heads"),
        decoder_ffn_dim=config.number("decoder_ffn_dim"),
        activation=ACTIVATIONS[name],
        norm="post",
        norm_epsilon=NORM_EPSILON,
        scale_embedding=config.flag("scale_embedding", scale_embedding),
        max_positions=config.number("max_position_embeddings", max_positions),
        shared_vocabulary=True,
        tied_output=config.flag("tie_word_embeddings", True),
    )


def _marian_architecture(config: Config) -> Architecture:
    if config.values.get("static_position_embeddings") is False:
        raise config.refuse("learned positions (static_position_embeddings: false) are not supported")
    read = read_architecture(config, activation="gelu", scale_embedding=False, max_positions=512)
    shared = config.flag("share_encoder_decoder_embeddings", True)
    target_size = read.source_vocab_size if shared else config.number("decoder_vocab_size", read.source_vocab_size)
    norm: Literal["pre", "post"] = "pre" if config.flag("normalize_before", False) else "post"
    return replace(read, target_vocab_size=target_size, norm=norm, shared_vocabulary=shared)


def _marian_ids(path: Path, config: Config, source: tuple[str, ...], target: tuple[str, ...]) -> Ids:
    generation = read_optional_object(path, "generation_config.json")

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


def read_pieces(path: Path, name: str, size: int) -> tuple[str, ...]:
    """Read pieces by id from a {piece: id} file."""
    pieces: list[str | None] = [None] * size
    for piece, number in read_object(path, name).items():
        if not isinstance(number, int) or not 0 <= number < size:
            raise CheckpointError(
                f"{path / name}: {piece!r} has the id {number!r}, outside the {size} rows of the model."
            )
        if pieces[number] is not None:
            raise CheckpointError(f"{path / name}: {piece!r} and {pieces[number]!r} have the same id {number}.")
        pieces[number] = piece
    # Opus-MT models may have more rows than pieces; a row without a piece gets a name that no text can contain.
    return tuple(piece if piece is not None else f"<unused {number}>" for number, piece in enumerate(pieces))


def _languages(
    path: Path, values: Mapping[str, Any], tokenizer: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read the languages from the tokenizer's settings, else from a name such as opus-mt-en-de; else there are none."""
    fields = (tokenizer.get("source_lang"), tokenizer.get("target_lang"))
    source, target = (languages_of(field) if isinstance(field, str) else () for field in fields)
    for name in (str(values.get("_name_or_path") or ""), path.resolve().name):
        named = languages_of_name(name)
        source, target = source or named[0], target or named[1]
    return source, target


def read_search(path: Path, config: Config) -> tuple[int, float]:
    """Return the beam and the length penalty that the model is searched with; transformers' own are 1 and 1."""
    generation = {**config.values, **read_optional_object(path, "generation_config.json")}
    beams, penalty = generation.get("num_beams"), generation.get("length_penalty")
    beam_size = min(beams, MAX_BEAM_SIZE) if isinstance(beams, int) and beams > 0 else 1
    if isinstance(penalty, int | float) and 0 <= penalty <= MAX_LENGTH_PENALTY:
        return beam_size, float(penalty)
    return beam_size, 1.0


def read_tensors(path: Path, architecture: Architecture) -> dict[str, Tensor]:
    """Read our tensors from Marian's. Each must have the architecture's shape, and all must have a place."""
    theirs = load_tensors(path)
    if not any(name.startswith("model.") for name in theirs):  # of a MarianModel, not a MarianMTModel
        theirs = {name if name in _OF_HEAD else f"model.{name}": tensor for name, tensor in theirs.items()}
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
        return tensor.float().contiguous()

    def same(name: str, tensor: Tensor) -> None:
        """Take a copy that some versions of transformers store beside the tied original."""
        if name in theirs:
            taken.add(name)
            if theirs[name].shape != tensor.shape or not torch.equal(theirs[name].float(), tensor):
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
        embedding = result[output_matrix(architecture)]
        head = theirs.get("lm_head.weight")
        taken.add("lm_head.weight")
        if head is not None and (head.shape != embedding.shape or not torch.equal(head.float(), embedding)):
            # Conversion did not tie the heads of many Tatoeba and tc-big models, and what stands there is noise
            # (huggingface/transformers issue 26216).
            warnings.warn(
                f"{path}: lm_head.weight differs from the embedding that config.json ties it to; the embedding is "
                "taken. If translations are nonsense, set tie_word_embeddings to false.",
                stacklevel=2,
            )
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


def _check_positions(path: Path, theirs: Mapping[str, Tensor], taken: set[str], architecture: Architecture) -> None:
    """Refuse stored positions other than the sinusoids, which the engine computes."""
    for side in ("encoder", "decoder"):
        kind = architecture.positions
        name = f"model.{side}.embed_positions.{'weights' if kind == 'fairseq' else 'weight'}"
        if name in theirs:
            taken.add(name)
            stored = theirs[name]
            if not sinusoidal(stored[2:] if kind == "fairseq" else stored, architecture.d_model, kind):
                raise CheckpointError(f"{path}: {name!r} holds learned positions, which are not supported.")


def _marian_name(name: str) -> str:
    """Translate `encoder.0.ffn.inner` into `model.encoder.layers.0.fc1`, without .weight or .bias; norms likewise."""
    if name in ("encoder.norm", "decoder.norm"):
        return f"model.{name.split('.')[0]}.layer_norm"
    side, layer, block, part = name.split(".")
    prefix = f"model.{side}.layers.{layer}"
    if block == "ffn":
        return f"{prefix}.{ {'inner': 'fc1', 'outer': 'fc2', 'norm': 'final_layer_norm'}[part] }"
    if part == "norm":
        return f"{prefix}.{_PARTS[block]}_layer_norm"
    return f"{prefix}.{_PARTS[block]}.{_PARTS[part]}"


def write_marian(checkpoint: Checkpoint, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the layout of transformers, in place of an older directory; `read_checkpoint` reads it.

    A model with SSRUs, which transformers lacks, is written as `import` writes it, in float32.

    Args:
        checkpoint: to write.
        path: of the directory.
        dtype: of its weights, float32 or float16.
    """
    a, ids = checkpoint.architecture, checkpoint.ids
    if a.autoregression == "ssru":
        write_checkpoint(checkpoint, path, overwrite=True)
        return
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
        "num_beams": checkpoint.beam_size,
        "length_penalty": checkpoint.length_penalty,
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
    tensors = {_marian_tensor_name(name): t.to(dtype).contiguous() for name, t in checkpoint.tensors.items()}
    if "final_logits_bias" in tensors:
        tensors["final_logits_bias"] = tensors["final_logits_bias"][None]
    with replaced_directory(path) as new:
        for name, document in documents.items():
            (new / name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file(tensors, new / WEIGHTS_FILE, metadata={"format": "pt"})
        for name, content in checkpoint.spm.items():
            (new / name).write_bytes(content)


def _marian_tensor_name(name: str) -> str:
    """Return the name by which `read_tensors` takes one of our tensors."""
    special = {"output": "lm_head.weight", "output.bias": "final_logits_bias"}
    special |= {ours: theirs[0] for ours, theirs in _EMBEDDINGS.items()}
    if name in special:
        return special[name]
    block, _, kind = name.rpartition(".")
    if kind in ("gain", "bias"):
        return f"{_marian_name(block)}.{'weight' if kind == 'gain' else 'bias'}"
    return f"{_marian_name(name)}.weight"
