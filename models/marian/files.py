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
    """Read model.safetensors, or pytorch_model.bin without running what it may contain."""
    safe, pickled = path / WEIGHTS_FILE, path / "pytorch_model.bin"
    try:
        if safe.exists():
            with safe_open(safe, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        elif pickled.exists():
            tensors = torch.load(pickled, map_location="cpu", weights_only=True)
        else:
            raise CheckpointError(f"{path}: there is neither {safe.name} nor {pickled.name}.")
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{safe if safe.exists() else pickled}: the weights can't be read ({reason}).") from None
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name!r} is not a tensor of floating-point numbers.")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: the tensor {name!r} holds numbers that are not finite.")
    return {name: tensor.float() for name, tensor in tensors.items()}


def read_spm(path: Path) -> dict[str, bytes]:
    """Read both SentencePiece models."""
    for name in SENTENCEPIECE_FILES:
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name}: the file is missing.")
    return {name: (path / name).read_bytes() for name in SENTENCEPIECE_FILES}
