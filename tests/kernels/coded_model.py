"""A random torch Transformer, coded for the engine, and torch's copy with the dequantised weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType

import numpy as np
import torch

from kernels.engine import Engine, MatrixSegment
from models.codes.bcq import pack, pack_scales, specialised
from models.format.layout import matrix_shapes
from models.format.schema import Architecture, Ids
from models.marian.transformer import Transformer

TINY = Architecture(
    d_model=48,
    source_vocab_size=90,
    target_vocab_size=90,
    encoder_layers=2,
    encoder_heads=4,
    encoder_ffn_dim=72,
    decoder_layers=2,
    decoder_heads=4,
    decoder_ffn_dim=72,
    activation="relu",
    norm="post",
    norm_epsilon=1e-5,
    scale_embedding=True,
    max_positions=64,
    shared_vocabulary=True,
    tied_output=True,
)
IDS = Ids(eos=0, pad=89, unk_source=1, unk_target=1, decoder_start=89, suppressed=(89,))


def random_tensors(architecture: Architecture, seed: int, *, eos_bias: float = 0.0) -> dict[str, torch.Tensor]:
    """Return tensors by our names, at the scale of a trained model.

    Args:
        architecture: the shapes.
        seed: equal seeds give equal tensors.
        eos_bias: added to the logit of eos, which a random model ranks so low that no hypothesis ends by itself.
    """
    torch.manual_seed(seed)
    model = Transformer(architecture)
    tensors = {name.removesuffix(".weight"): value.clone() for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if name.endswith((".bias", ".gain")):
            value += 0.1 * torch.randn_like(value)
        elif "embedding" in name or name == "output":
            value.copy_(torch.randn_like(value) * architecture.d_model**-0.5)
    tensors["output.bias"][IDS.eos] += eos_bias
    return tensors


def code(
    architecture: Architecture,
    tensors: Mapping[str, torch.Tensor],
    planes: Callable[[str], int],
    group_size: int | None = None,
    ids: Ids = IDS,
    vectors: type[np.floating] = np.float32,
    shortlist: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> tuple[Engine, Transformer]:
    """Return an engine over greedy codes of `planes(matrix)` planes, and torch with the same weights dequantised."""
    arrays, segments, decoded = {}, [], dict(tensors)
    for name, (rows, _) in matrix_shapes(architecture).items():
        coded = specialised(tensors[name], planes(name), solver="greedy", group_size=group_size)
        k = planes(name)
        arrays |= {f"{name}.plane.{i + 1}": pack(coded.bits[i].numpy()) for i in range(k)}
        arrays[f"{name}.scales.{k}"] = pack_scales(coded.scales[k])
        segments.append(MatrixSegment(name, 0, rows, k, 0, group_size or 0))
        decoded[name] = coded.dequantize(k)
    matrices = matrix_shapes(architecture)
    arrays |= {name: value.numpy().astype(vectors) for name, value in tensors.items() if name not in matrices}
    arrays |= shortlist
    return Engine(asdict(architecture), asdict(ids), arrays, segments), Transformer.from_tensors(architecture, decoded)
