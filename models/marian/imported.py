"""Checkpoints in a form of our own: fp32 tensors by our names, config.json, vocab.json, the SentencePiece models."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor

from models.format.atomic import replaced_directory
from models.format.faults import architecture_fault
from models.format.layout import matrix_shapes, vector_sizes
from models.format.schema import CONFIG_FILE, SHORTLIST_FILE, WEIGHTS_FILE, Architecture, Ids, ModelError
from models.format.shortlist import Shortlist, read_shortlist, shortlist_tensors
from models.format.typed_json import decode_json
from models.format.weights import write_weights
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.files import VOCABULARY_FILE, load_tensors, read_object, read_spm

IMPORTED = "sub3-checkpoint"


@dataclass(frozen=True)
class _ImportedConfig:
    format: str
    source_languages: tuple[str, ...]
    target_languages: tuple[str, ...]
    target_tokens: Mapping[str, str]
    architecture: Architecture
    ids: Ids
    beam_size: int = 1
    length_penalty: float = 1.0
    moses_punctuation: bool = False
    source_tokens: Mapping[str, str] = field(default_factory=dict)
    target_token_begins: Literal["source", "target"] = "source"


def write_checkpoint(checkpoint: Checkpoint, path: Path, *, overwrite: bool = False) -> None:
    """Write a checkpoint in the imported form.

    Raises:
        CheckpointError: `path` exists, and is not to be overwritten.
    """
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path}: this exists already.")
    config = _ImportedConfig(
        IMPORTED,
        checkpoint.source_languages,
        checkpoint.target_languages,
        checkpoint.target_tokens,
        checkpoint.architecture,
        checkpoint.ids,
        checkpoint.beam_size,
        checkpoint.length_penalty,
        checkpoint.moses_punctuation,
        checkpoint.source_tokens,
        checkpoint.target_token_begins,
    )
    vocabulary = {"source": checkpoint.source_pieces, "target": checkpoint.target_pieces}
    with replaced_directory(path) as new:
        (new / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=1, ensure_ascii=False) + "\n")
        (new / VOCABULARY_FILE).write_text(json.dumps(vocabulary, ensure_ascii=False))
        save_file({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}, new / WEIGHTS_FILE)
        for name, content in checkpoint.spm.items():
            (new / name).write_bytes(content)
        if checkpoint.shortlist is not None:
            write_weights(new / SHORTLIST_FILE, shortlist_tensors(*checkpoint.shortlist))


def read_imported(path: Path, values: Mapping[str, Any]) -> Checkpoint:
    """Read a directory whose config.json has these values.

    Raises:
        CheckpointError: a file can't be read, or the files contradict each other.
    """
    try:
        config: _ImportedConfig = decode_json(_ImportedConfig, values, "the document")
    except ValueError as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: {error}.") from None
    if fault := architecture_fault(config.architecture):
        raise CheckpointError(f"{path / CONFIG_FILE}: {fault}.")
    vocabulary, architecture = read_object(path, VOCABULARY_FILE), config.architecture
    shared = architecture.shared_vocabulary
    return Checkpoint(
        source_languages=config.source_languages,
        target_languages=config.target_languages,
        target_tokens=config.target_tokens,
        architecture=architecture,
        ids=config.ids,
        source_pieces=_pieces(path, vocabulary, "source", architecture.source_vocab_size),
        target_pieces=None if shared else _pieces(path, vocabulary, "target", architecture.target_vocab_size),
        tensors=_tensors(path, architecture),
        spm=read_spm(path),
        beam_size=config.beam_size,
        length_penalty=config.length_penalty,
        moses_punctuation=config.moses_punctuation,
        source_tokens=config.source_tokens,
        target_token_begins=config.target_token_begins,
        shortlist=_shortlist(path / SHORTLIST_FILE, architecture),
    )


def _shortlist(path: Path, architecture: Architecture) -> Shortlist | None:
    """Read the shortlist; None if there is none."""
    if not path.exists():
        return None
    try:
        return Shortlist.of(read_shortlist(path, architecture, in_memory=True).tensors)
    except ModelError as error:
        raise CheckpointError(str(error)) from None


def _tensors(path: Path, architecture: Architecture) -> dict[str, Tensor]:
    tensors = {name: tensor.float() for name, tensor in load_tensors(path).items()}
    shapes: dict[str, tuple[int, ...]] = dict(matrix_shapes(architecture))
    shapes |= {name: (size,) for name, size in vector_sizes(architecture, output_bias="output.bias" in tensors).items()}
    for name in sorted(shapes.keys() | tensors.keys()):
        if name not in tensors or name not in shapes or tuple(tensors[name].shape) != shapes[name]:
            raise CheckpointError(
                f"{path / WEIGHTS_FILE}: the tensor {name!r} is missing, unknown or of a wrong shape."
            )
    return tensors


def _pieces(path: Path, vocabulary: Mapping[str, Any], side: str, size: int) -> tuple[str, ...]:
    pieces = vocabulary.get(side)
    if not isinstance(pieces, list) or len(pieces) != size or not all(isinstance(p, str) for p in pieces):
        raise CheckpointError(f"{path / VOCABULARY_FILE}: {side!r} must be a list of {size} pieces.")
    return tuple(pieces)
