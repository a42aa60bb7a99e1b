r"""Models of CTranslate2: its directories, and the packages of Argos Translate, which LibreTranslate uses.

    model.bin           u32 version; name; u32 revision; u32 n; n tensors; u32 m; m pairs (alias, name)
      a string          u16 length; bytes, of which the last is \0
      a tensor          name; u8 rank; u32 sizes; u8 type; u32 bytes; data
    config.json         the special tokens, whether eos ends a source
    shared_vocabulary.json, or source_vocabulary.json and target_vocabulary.json; older ones are .txt
    source.spm, target.spm, or sentencepiece.model; a package has it, and metadata.json, in the folder above

Weights of eight bits are taken for what they stand for: that is what CTranslate2 computes with, too.
"""

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.format.faults import architecture_fault
from models.format.layout import sub_layers
from models.format.schema import CONFIG_FILE, SENTENCEPIECE_FILES, Architecture
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.files import read_object, read_optional_object
from models.marian.names import languages_of, languages_of_name
from models.marian.tables import Special, Tables
from models.marian.transformer import sinusoidal

WEIGHTS = "model.bin"
_TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
_SIDES = ("encoder", "decoder")
_OLDEST, _NEWEST = 4, 6  # versions of model.bin
_ACTIVATIONS: dict[int, Literal["relu", "swish", "gelu"]] = {0: "relu", 2: "swish", 3: "gelu"}
_EPSILON = 1e-5  # of CTranslate2, where config.json states none
_KINDS = {
    "relative_position_keys": "relative positions",
    "relative_attention_bias": "a bias of relative positions",
    "relative_asymmetric_position_keys": "relative positions",
    "rotary_dim": "rotary positions",
    "linear_0_noact": "gated feed-forward layers",
    "layernorm_embedding": "a layer norm on the embeddings",
    "num_heads_kv": "fewer heads of keys than of queries",
    "sliding_window": "attention through a window",
    "project_in": "projected embeddings",
    "q_norm": "a layer norm on the queries",
    "weight_zero": "weights of four bits",
}
# Scalars that say how to search or align, or what the tensors say, too; others must be as here.
_UNREAD = ("alignment_layer", "alignment_heads", "embeddings_merge", "alibi_use_positive_positions", "scale_alibi")


def read_ctranslate2(path: Path) -> Checkpoint:
    """Read a directory of CTranslate2.

    Raises:
        CheckpointError: a file can't be read, or the engine can't represent the model.
    """
    config = read_object(path, CONFIG_FILE)
    if config.get("add_source_bos"):
        raise CheckpointError(
            f"{path / CONFIG_FILE}: add_source_bos is true; sources that begin with a token are not supported."
        )
    source_pieces, target_pieces = _vocabularies(path)
    return _Reader(path, config, read_tensors(path / WEIGHTS)).checkpoint(source_pieces, target_pieces)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read model.bin: floats, and integers of eight and sixteen bits as the floats that they stand for.

    Raises:
        CheckpointError: it is not a sequence-to-sequence Transformer, or is cut short.
    """
    try:
        stored = _stored(np.memmap(path, np.uint8, "r"), path)
    except CheckpointError:
        raise
    except (struct.error, ValueError, KeyError, OSError):
        raise CheckpointError(f"{path}: the file is cut short, or is not one of CTranslate2.") from None
    result = {}
    for name, tensor in stored.items():
        if name.endswith("_scale") and name.removesuffix("_scale") in stored:
            continue
        scale = stored.get(f"{name}_scale")
        if tensor.dtype in (torch.int8, torch.int16) and tensor.dim() == 2:
            if scale is None:
                raise CheckpointError(f"{path}: {name!r} has no scales.")
            tensor = tensor.float() / scale.float().reshape(-1, 1)
        result[name] = tensor
    return result


def _stored(data: np.ndarray[Any, Any], path: Path) -> dict[str, Tensor]:
    place = 0

    def take(kind: str) -> int:
        nonlocal place
        size = struct.calcsize(kind)
        (value,) = struct.unpack(kind, data[place : place + size].tobytes())
        place += size
        return int(value)

    def text() -> str:
        nonlocal place
        length = take("<H")
        place += length
        return bytes(data[place - length : place - 1]).decode()

    version = take("<I")
    if not _OLDEST <= version <= _NEWEST:
        raise CheckpointError(
            f"{path}: its version is {version}, and {_OLDEST} to {_NEWEST} are read; convert the model again by a "
            "newer CTranslate2."
        )
    if (kind := text()) != "TransformerSpec":
        raise CheckpointError(f"{path}: this is a {kind[:60]}; only a Transformer from text to text can be read.")
    take("<I")
    result: dict[str, Tensor] = {}
    for _ in range(take("<I")):
        name = text()
        shape = [take("<I") for _ in range(take("<B"))]
        number, size = take("<B"), take("<I")
        if number >= len(_TYPES) or size != math.prod(shape) * _TYPES[number].itemsize or place + size > len(data):
            raise ValueError
        content = bytearray(data[place : place + size])
        place += size
        result[name] = torch.frombuffer(content, dtype=_TYPES[number]).reshape(shape)
    for _ in range(take("<I")):
        alias, name = text(), text()
        result[alias] = result[name]
    return result


def _vocabularies(path: Path) -> tuple[list[str], list[str]]:
    shared = _pieces(path, "shared_vocabulary")
    if shared is not None:
        return shared, shared
    source, target = (_pieces(path, f"{side}_vocabulary") for side in ("source", "target"))
    if source is None or target is None:
        raise CheckpointError(f"{path}: there is neither shared_vocabulary.json nor one of each side.")
    return source, target


def _pieces(path: Path, name: str) -> list[str] | None:
    json_file, text_file = path / f"{name}.json", path / f"{name}.txt"
    if text_file.exists():
        return text_file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if not json_file.exists():
        return None
    pieces = read_list(json_file)
    if not all(isinstance(piece, str) for piece in pieces):
        raise CheckpointError(f"{json_file}: this must be a list of pieces.")
    return pieces


def read_list(path: Path) -> list[Any]:
    """Read a JSON list of any size."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: this is not valid JSON ({error}).") from None
    if not isinstance(document, list):
        raise CheckpointError(f"{path}: this must be a list.")
    return document


class _Reader:
    """Tensors of CTranslate2 on their way to ours: each is taken once, and what is left has no place."""

    def __init__(self, path: Path, config: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
        self._path, self._config, self._left = path, config, dict(tensors)
        self._scalars = {name: tensor.item() for name, tensor in tensors.items() if tensor.dim() == 0}
        for name in self._scalars:
            del self._left[name]

    def checkpoint(self, source_pieces: Sequence[str], target_pieces: Sequence[str]) -> Checkpoint:
        """Make the checkpoint."""
        source, target, output = self._vocabulary_tensors()
        bias = self._left.pop("decoder/projection/bias", torch.zeros(len(output))).float()
        order = self._positions(source.shape[1])
        tables = Tables(
            self._path,
            self._special(),
            (source_pieces, target_pieces),
            (source[:, order], target[:, order], output[:, order]),
            bias,
        )
        architecture = self._architecture(tables)
        if fault := architecture_fault(architecture):
            raise self._fault(fault)
        layers = self._layers(architecture, order)
        self._refuse_the_rest()
        return tables.checkpoint(architecture, layers, self._languages(), self._spm())

    def _special(self) -> Special:
        def piece(field: str, default: str) -> str:
            value = self._config.get(field, default)
            return value if isinstance(value, str) else default

        from_zeros = bool(self._scalars.pop("decoder/start_from_zero_embedding", False))
        return Special(
            eos=piece("eos_token", "</s>"),
            unk=piece("unk_token", "<unk>"),
            start=None if from_zeros else piece("decoder_start_token", "<s>"),
            # Marian's models start from zeros, and read eos; who converts one of transformers puts it there himself.
            ends_sources=from_zeros or bool(self._config.get("add_source_eos", False)),
        )

    def _vocabulary_tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        source = "encoder/embeddings_0/weight"
        if source not in self._left:
            source = "encoder/embeddings/weight"
        if "encoder/embeddings_1/weight" in self._left:
            raise self._fault("it has several source embeddings (features), which are not supported")
        return self._take(source), self._take("decoder/embeddings/weight"), self._take("decoder/projection/weight")

    def _positions(self, width: int) -> Tensor:
        """Return the column of theirs that each column of ours is: their sines and cosines may alternate."""
        name = "{}/position_encodings/encodings"
        tables = [self._left.pop(name.format(side), None) for side in ("encoder", "decoder")]
        if any("relative_position" in each for each in self._left):
            raise self._fault("it has relative positions, which are not supported")
        if tables[0] is None or tables[1] is None:
            raise self._fault("it has the positions of OpenNMT-tf, which are not supported")
        self._max_positions = min(len(table) for table in tables if table is not None)
        halves = torch.arange(width)
        turned = torch.cat([halves[0::2], halves[1::2]])
        for order in (halves, turned):
            if all(sinusoidal(table[:, order], width) for table in tables if table is not None):
                return order
        raise self._fault("its positions are not sines and cosines of Marian's rates; others are not supported")

    def _architecture(self, tables: Tables) -> Architecture:
        def of_both(name: str, default: Any) -> Any:
            values = set(self._each_side(name, default).values())
            if len(values) > 1:
                raise self._fault(f"{name} of encoder and decoder differ")
            return values.pop()

        width = self._left["encoder/layer_0/ffn/linear_0/weight"].shape[1]
        activation = of_both("activation", 0)
        if activation not in _ACTIVATIONS:
            raise self._fault(f"its activation has the number {activation}; relu, swish and gelu are supported")
        scale = of_both("scale_embeddings", 1)
        scaled = math.isclose(scale, math.sqrt(width), rel_tol=1e-3) or scale == 1
        if not scaled and scale != 0:
            raise self._fault(f"its embeddings are scaled by {scale}; only the root of the width is supported")
        heads = self._each_side("num_heads", 8)
        ffn = {side: self._left[f"{side}/layer_0/ffn/linear_0/weight"].shape[0] for side in _SIDES}
        numbered = {tuple(name.split("/")[:2]) for name in self._left if re.match(r"\w+/layer_\d", name)}
        layers = {side: sum(side == of for of, _ in numbered) for side in _SIDES}
        epsilon = self._config.get("layer_norm_epsilon")
        return Architecture(
            d_model=width,
            source_vocab_size=len(tables.source_pieces),
            target_vocab_size=len(tables.target_pieces),
            encoder_layers=layers["encoder"],
            encoder_heads=int(heads["encoder"]),
            encoder_ffn_dim=ffn["encoder"],
            decoder_layers=layers["decoder"],
            decoder_heads=int(heads["decoder"]),
            decoder_ffn_dim=ffn["decoder"],
            activation=_ACTIVATIONS[activation],
            norm="pre" if of_both("pre_norm", 1) else "post",
            norm_epsilon=_EPSILON if epsilon is None else float(epsilon),
            scale_embedding=scaled,
            max_positions=self._max_positions,
            shared_vocabulary=tables.shared,
            tied_output=tables.tied,
        )

    def _each_side(self, name: str, default: float) -> dict[str, Any]:
        """Take a number that older models have once, newer ones for each side."""
        of_both = self._scalars.pop(name, default)
        return {side: self._scalars.pop(f"{side}/{name}", of_both) for side in _SIDES}

    def _layers(self, architecture: Architecture, order: Tensor) -> dict[str, Tensor]:
        """Return matrices and vectors of the sub-layers; `order` is that of the residual stream's columns."""
        result: dict[str, Tensor] = {}

        def norm(ours: str, theirs: str) -> None:
            result[f"{ours}.norm.gain"] = self._take(f"{theirs}/gamma")[order]
            result[f"{ours}.norm.bias"] = self._take(f"{theirs}/beta")[order]

        for name, (kind, _) in sub_layers(architecture).items():
            side, layer, block = name.split(".")
            part = {"self_attention": "self_attention", "encoder_attention": "attention", "ffn": "ffn"}[block]
            theirs = f"{side}/layer_{layer}/{part}"
            writing, groups = "outer", [["inner"]]
            if kind == "attention":
                writing = "output"
                groups = [["query"], ["key", "value"]] if block == "encoder_attention" else [["query", "key", "value"]]
            for number, group in enumerate(groups):
                weight, bias = self._linear(f"{theirs}/linear_{number}")
                for each, w, b in zip(group, weight.chunk(len(group)), bias.chunk(len(group)), strict=True):
                    result[f"{name}.{each}"], result[f"{name}.{each}.bias"] = w[:, order], b
            weight, bias = self._linear(f"{theirs}/linear_{len(groups)}")
            result[f"{name}.{writing}"], result[f"{name}.{writing}.bias"] = weight[order], bias[order]
            norm(name, f"{theirs}/layer_norm")
        if architecture.norm == "pre":
            for side in ("encoder", "decoder"):
                norm(side, f"{side}/layer_norm")
        return result

    def _linear(self, name: str) -> tuple[Tensor, Tensor]:
        weight = self._take(f"{name}/weight")
        bias = self._left.pop(f"{name}/bias", torch.zeros(len(weight)))
        return weight, bias.float()

    def _take(self, name: str) -> Tensor:
        if name not in self._left:
            raise self._fault(f"the tensor {name!r} is missing")
        return self._left.pop(name).float()

    def _refuse_the_rest(self) -> None:
        told = [name for name, value in self._scalars.items() if value and not name.endswith(_UNREAD)]
        for name in sorted((*self._left, *told)):
            kind = next((kind for part, kind in _KINDS.items() if part in name), None)
            raise self._fault(
                f"it has {kind} ({name!r}), which are not supported"
                if kind
                else f"{name!r} has no place in this architecture"
            )

    def _languages(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        package = read_optional_object(self._path.parent, "metadata.json") if self._path.name == "model" else {}
        source, target = package.get("from_code"), package.get("to_code")
        if isinstance(source, str) and isinstance(target, str):
            return languages_of(source), languages_of(target)
        return languages_of_name(self._path.resolve().name)

    def _spm(self) -> dict[str, bytes]:
        for folder in (self._path, self._path.parent):
            if all((folder / name).is_file() for name in SENTENCEPIECE_FILES):
                return {name: (folder / name).read_bytes() for name in SENTENCEPIECE_FILES}
            for name in ("sentencepiece.model", "spm.model"):
                if (folder / name).is_file():
                    return dict.fromkeys(SENTENCEPIECE_FILES, (folder / name).read_bytes())
            if (folder / "bpe.model").is_file():
                raise CheckpointError(
                    f"{folder / 'bpe.model'}: this splits text by BPE; only SentencePiece is supported."
                )
        raise CheckpointError(
            f"{self._path}: there are neither {' and '.join(SENTENCEPIECE_FILES)} nor sentencepiece.model; copy them "
            "here from the model that CTranslate2 converted."
        )

    def _fault(self, fault: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: {fault}.")
