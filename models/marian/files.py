"""Files that checkpoints of both forms have: JSON, tensors, SentencePiece models."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.format.files import read_json
from models.format.schema import SENTENCEPIECE_FILES, WEIGHTS_FILE
from models.marian.checkpoint import CheckpointError

VOCABULARY_FILE = "vocab.json"
PICKLED = "pytorch_model.bin"
LARGEST_POINTER = 1024  # bytes
_LARGE = frozenset((".safetensors", ".bin", ".npz", ".spm", ".model", ".json"))  # what hubs store by Git LFS
_OTHER_FRAMEWORKS = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "rust_model.ot": "rust-bert"}


def refuse_pointers(path: Path) -> None:
    """Refuse a model one of whose files is a pointer of Git LFS, as a clone without it has them.

    Raises:
        CheckpointError: there is one.
    """
    files = [path] if path.is_file() else [each for each in path.iterdir() if each.suffix in _LARGE]
    pointers, weights = set(filter(_is_pointer, files)), path / WEIGHTS_FILE
    if weights.exists() and weights not in pointers:
        pointers.discard(path / PICKLED)  # is not read
    if pointers:
        raise CheckpointError(
            f"{min(pointers)}: this is a pointer of Git LFS, not the file itself; run `git lfs pull` in its folder."
        )


def _is_pointer(file: Path) -> bool:
    if not file.is_file() or file.stat().st_size > LARGEST_POINTER:
        return False
    return file.read_bytes().startswith(b"version https://git-lfs")


def read_object(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        document = read_json(path / name)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(document, dict):
        raise CheckpointError(f"{path / name}: this must be a JSON object.")
    return document


def read_optional_object(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON object; a file that is missing is an empty one."""
    return read_object(path, name) if (path / name).exists() else {}


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read the weights: safetensors or pytorch_model.bin, whole or in shards, without running what they may contain.

    Floating-point tensors come in their stored type; others, such as `position_ids`, are not weights and are left out.

    Raises:
        CheckpointError: they can't be read.
    """
    result: dict[str, Tensor] = {}
    for file in _weight_files(path):
        for name, tensor in _read_weights(file).items():
            if not isinstance(tensor, Tensor):
                raise CheckpointError(f"{file}: {name!r} is not a tensor.")
            if not tensor.is_floating_point():
                continue
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{path}: the tensor {name!r} holds numbers that are not finite.")
            result[name] = tensor
    return result


def _weight_files(path: Path) -> list[Path]:
    """Return the file of the weights, or its shards."""
    for name in (WEIGHTS_FILE, PICKLED):
        if (path / name).exists():
            return [path / name]
        index = f"{name}.index.json"
        if (path / index).exists():
            shards = read_object(path, index).get("weight_map")
            if not isinstance(shards, dict) or not all(
                isinstance(s, str) and Path(s).name == s for s in shards.values()
            ):
                raise CheckpointError(f"{path / index}: weight_map must name the files of the shards.")
            if missing := sorted(s for s in set(shards.values()) if not (path / s).exists()):
                raise CheckpointError(f"{path / missing[0]}: this shard of the weights is missing; download it, too.")
            return [path / shard for shard in sorted(set(shards.values()))]
    there = [name for name in _OTHER_FRAMEWORKS if (path / name).exists()]
    if there:
        raise CheckpointError(
            f"{path}: {there[0]} holds weights for {_OTHER_FRAMEWORKS[there[0]]}, and {WEIGHTS_FILE} is missing; "
            "transformers 4 converts it (from_pretrained with from_tf or from_flax, then save_pretrained)."
        )
    raise CheckpointError(f"{path}: there is neither {WEIGHTS_FILE} nor {PICKLED}, whole or in shards.")


def _read_weights(file: Path) -> dict[str, Any]:
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file}: this holds Python objects, not tensors alone, and is not loaded since it could run code; "
            "save the model's state_dict() instead."
        ) from None
    except (SafetensorError, OSError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{file}: the weights can't be read ({reason}).") from None
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{file}: this holds no tensors by name; save the model's state_dict().")
    return loaded


def read_spm(path: Path) -> dict[str, bytes]:
    """Read both SentencePiece models."""
    for name in SENTENCEPIECE_FILES:
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name}: the file is missing.")
    return {name: (path / name).read_bytes() for name in SENTENCEPIECE_FILES}
