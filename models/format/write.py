"""Writes model directories, each under a new name that is then renamed: nobody ever sees half of one."""

import json
import os
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from kernels.tensor import Array
from models.format.atomic import replace_file, replaced_directory
from models.format.directory import open_model
from models.format.faults import config_fault
from models.format.files import sha256
from models.format.layout import Vectors, weight_specs
from models.format.schema import (
    CONFIG_FILE,
    FORMAT_VERSION,
    WEIGHTS_FILE,
    ModelConfig,
    ModelError,
    Weights,
    weights_file,
)
from models.format.vocabulary import Vocabulary, write_vocabulary
from models.format.weights import write_weights


def write_model(
    path: str | os.PathLike[str],
    config: ModelConfig,
    tensors: Mapping[str, Array],
    vocabulary: Vocabulary,
    files: Mapping[str, bytes],
    *,
    specialised: Mapping[str, Mapping[str, Array]] = types.MappingProxyType({}),
    overwrite: bool = False,
) -> None:
    """Write a model directory under a new name, open it to check it, and rename it to `path`.

    Args:
        path: the directory to be.
        config: its checksums are filled in here, and the version of the format is the newest.
        tensors: name -> array of the main weight file, in any order.
        vocabulary: the pieces, row by row.
        files: name -> content of the SentencePiece models and README.md.
        specialised: configuration -> tensors of the weights that are specialised to it.
        overwrite: replace a directory that exists.

    Raises:
        ModelError: `path` exists, or what was written is not a model.
    """
    target = Path(path)
    if target.is_symlink() or (target.exists() and not (overwrite and target.is_dir())):
        raise ModelError(f"{target}: this exists already.")
    config = replace(config, format_version=FORMAT_VERSION)
    stored = None if config.codes.kind == "progressive" else config.default_configuration
    with replaced_directory(target) as new:
        _write_weights(new / WEIGHTS_FILE, config, Weights(config.codes, config.matrices), stored, tensors)
        for name, weights in config.specialised.items():
            _write_weights(new / weights_file(name), config, weights, name, specialised[name])
        write_vocabulary(new / config.vocabulary_file, vocabulary)
        for name, content in files.items():
            (new / name).write_bytes(content)
        checksums = {name: sha256(new / name) for name in config.checked_files}
        (new / CONFIG_FILE).write_bytes(_config_bytes(replace(config, checksums=checksums)))
        open_model(new)


def _write_weights(
    path: Path, config: ModelConfig, weights: Weights, stored: str | None, tensors: Mapping[str, Array]
) -> None:
    specs = weight_specs(config, weights, stored, Vectors.of(tensors))
    rank = {name: n for n, name in enumerate(specs)}
    write_weights(path, dict(sorted(tensors.items(), key=lambda item: rank.get(item[0], len(rank)))))


def _config_bytes(config: ModelConfig) -> bytes:
    """Write a line for each field, matrix and allocated matrix: small, and a diff of two versions reads well."""
    text = json.dumps(_without_defaults(config, asdict(config)), indent=1, ensure_ascii=False)
    # Lists of numbers on one line.
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text)
    return (text + "\n").encode()


def _without_defaults(part: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Take fields out that have their default: releases that do not know them yet read most models all the same."""
    for field in fields(part):
        value = getattr(part, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if value == default:
            del document[field.name]
        elif is_dataclass(value):
            _without_defaults(value, document[field.name])
    return document


def write_config(path: str | os.PathLike[str], config: ModelConfig) -> None:
    """Replace config.json of an existing directory, with measurements made since; the weights stay untouched.

    Raises:
        ModelError: the configuration contradicts itself.
    """
    if fault := config_fault(config):
        raise ModelError(f"{Path(path) / CONFIG_FILE}: {fault}.")
    replace_file(Path(path) / CONFIG_FILE, _config_bytes(config))
