"""The fp32 tensors that the codes of a model directory stand for."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.codes import bcq
from models.format.directory import ModelDirectory, open_model
from models.format.layout import matrix_shapes, vector_sizes
from models.format.schema import BLOCK_ROWS, Allocation, Segment
from models.format.shortlist import Shortlist
from models.marian.checkpoint import Checkpoint
from models.marian.files import read_spm


def dequantize(model: ModelDirectory, allocation: Allocation) -> dict[str, Tensor]:
    """Return the fp32 tensors that an allocation stands for, rows in the order of the model: matrices and vectors."""
    arrays, segments = model.engine_inputs(allocation)
    shapes = matrix_shapes(model.config.architecture)
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name, begin, end, planes, first, group_size in segments:
        rows, columns = shapes[name]
        packed = [np.asarray(arrays[f"{name}.plane.{i}"]) for i in range(1, planes + 1)]
        bits = np.stack([bcq.unpack(plane, min(rows, BLOCK_ROWS * len(plane)), columns)[begin:end] for plane in packed])
        stored = np.asarray(arrays[f"{name}.scales.{planes}"])
        scales = torch.from_numpy(stored[:, :, begin - first : end - first].copy())
        code = bcq.BinaryCode(torch.from_numpy(bits), {planes: scales}, group_size or None)
        tensors[name][begin:end] = code.dequantize(planes)
    vectors = vector_sizes(model.config.architecture, output_bias="output.bias" in arrays)
    return tensors | {name: torch.from_numpy(np.asarray(arrays[name]).astype(np.float32)) for name in vectors}


def read_coded(path: Path) -> Checkpoint:
    """Read what a model directory stands for in its deepest codes."""
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
        spm=read_spm(path),
        beam_size=config.beam_size,
        length_penalty=config.length_penalty,
        moses_punctuation=config.moses_punctuation,
        source_tokens=config.source_tokens,
        target_token_begins=config.target_token_begins,
        shortlist=model.shortlist and Shortlist.of(model.shortlist.tensors),
    )
