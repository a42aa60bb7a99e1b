"""Models as Marian itself writes them, and OPUS-MT hands them on: .npz, decoder.yml, vocabularies, two .spm.

`special:model.yml` in the .npz has the options of the training; decoder.yml names the files, and the search. Decoders
start from zeros, and their scores are divided by the length to the power `normalize`. A vocabulary is a list of pieces
in YAML, or a SentencePiece model that both splits the text and numbers its pieces.
"""

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import sentencepiece
import torch
from torch import Tensor

from models.format.faults import architecture_fault
from models.format.layout import UNBIASED, sub_layers
from models.format.schema import MAX_BEAM_SIZE, MAX_LENGTH_PENALTY, SENTENCEPIECE_FILES, Architecture
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.files import read_spm
from models.marian.names import languages_of_name
from models.marian.tables import Special, Tables

DECODER = "decoder.yml"  # or what ends so
OPTIONS = "special:model.yml"
MAX_POSITIONS = 512
_EPSILON = 1e-5  # as transformers and CTranslate2 have it for these models
_ACTIVATIONS: dict[str, Literal["relu", "swish", "gelu"]] = {"relu": "relu", "swish": "swish"}
_NEEDED = {  # what the engine can't do without
    "type": ("transformer",),
    "transformer-decoder-autoreg": ("self-attention", "rnn", ""),
    "transformer-postprocess-emb": ("d", ""),
    "transformer-no-projection": ("false", ""),
    "transformer-rnn-projection": ("false", ""),
    "transformer-train-position-embeddings": ("false", ""),
    "transformer-ffn-depth": ("2", ""),
    "transformer-decoder-ffn-depth": ("0", "2", ""),
    "lemma-dim-emb": ("0", ""),
}
_NORMS: dict[tuple[str, str, str], Literal["post", "pre"]] = {("", "dan", ""): "post", ("n", "da", "n"): "pre"}
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "e": "\x1b",
    "_": "\xa0",
    "N": "\x85",
    "L": "\u2028",
    "P": "\u2029",
}


def read_npz(path: Path) -> Checkpoint:
    """Read a directory of OPUS-MT, or of a training.

    Raises:
        CheckpointError: a file can't be read, or the engine can't represent the model.
    """
    decoders = sorted(path.glob(f"*{DECODER}"), key=lambda file: (file.name != DECODER, file.name))
    decoder = read_options(_text(decoders[0])) if decoders else {}
    weights = _named(path, decoder.get("models"), "*.npz")[0]
    several = next(path.glob("*vocab*.spm"), None) is not None and next(path.glob("*vocab*.yml"), None) is None
    vocabularies = _named(path, decoder.get("vocabs"), "*vocab*.spm" if several else "*vocab*.yml")
    if vocabularies[0].suffix == ".spm":
        pieces, spm = read_spm_vocabularies(path, vocabularies)
    else:
        if not (path / "source.spm").exists() and (path / "source.bpe").exists():
            raise CheckpointError(f"{path / 'source.bpe'}: this splits text by BPE; only SentencePiece is supported.")
        pieces, spm = (read_vocabulary(vocabularies[0]), read_vocabulary(vocabularies[-1])), read_spm(path)
    tensors, options = _read_weights(weights)
    return checkpoint_of(weights, tensors, options, pieces, spm, decoder, languages_of_name(path.resolve().name))


def checkpoint_of(
    path: Path,
    tensors: dict[str, Tensor],
    options: Mapping[str, list[str]],
    pieces: tuple[list[str], list[str]],
    spm: Mapping[str, bytes],
    decoder: Mapping[str, list[str]],
    languages: tuple[tuple[str, ...], tuple[str, ...]],
) -> Checkpoint:
    """Make a checkpoint of what Marian has in its files.

    Args:
        path: of the weights, for errors.
        tensors: float32, by Marian's names; they are taken out.
        options: of the training.
        pieces: of source and target.
        spm: content of source.spm and target.spm.
        decoder: options of the search.
        languages: of source and target.

    Raises:
        CheckpointError: the engine can't represent the model.
    """
    return _Reader(path, tensors, options).checkpoint(*pieces, spm, decoder, languages)


def read_spm_vocabularies(path: Path, files: Sequence[Path]) -> tuple[tuple[list[str], list[str]], dict[str, bytes]]:
    """Read SentencePiece models that number the pieces, too.

    Args:
        path: of the model, for errors.
        files: of source and target, or one for both.

    Returns:
        The pieces of source and target, and the content of source.spm and target.spm.

    Raises:
        CheckpointError: there is none, or it can't be read.
    """
    if not files:
        raise CheckpointError(f"{path}: there is no *vocab*.spm.")
    contents = [file.read_bytes() for file in (files[0], files[-1])]
    pieces = []
    for file, content in zip((files[0], files[-1]), contents, strict=True):
        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=content)
        except RuntimeError:
            raise CheckpointError(f"{file}: this is no SentencePiece model.") from None
        pieces.append([model.id_to_piece(n) for n in range(len(model))])
    return (pieces[0], pieces[1]), dict(zip(SENTENCEPIECE_FILES, contents, strict=True))


def read_options(text: str) -> dict[str, list[str]]:
    """Read YAML of the simple kind that Marian writes: a name, and a value or a list of them."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"([\w-]+):\s*(.*?)\s*", line):
            name = match[1]
            found[name] = [_unquoted(match[2])] if match[2] not in ("", "[]") else []
        elif (match := re.fullmatch(r"\s*-\s+(.*?)\s*", line)) and name:
            found[name].append(_unquoted(match[1]))
    return found


def read_vocabulary(path: Path) -> list[str]:
    """Read pieces by id from a YAML file of `piece: id`.

    Raises:
        CheckpointError: it is not that.
    """
    pieces: dict[int, str] = {}
    key = None
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        if line.startswith("? "):
            key = line[2:]
            continue
        before, colon, after = (
            (key, ":", line[1:]) if key is not None and line.startswith(":") else line.rpartition(":")
        )
        key = None
        if not colon or not after.strip().isdecimal():
            raise CheckpointError(f"{path}: line {number} is not a piece and its number.")
        pieces[int(after)] = _unquoted(before.strip())
    if sorted(pieces) != list(range(len(pieces))):
        raise CheckpointError(f"{path}: its numbers do not go from 0 to {len(pieces) - 1} without a gap.")
    return [pieces[n] for n in range(len(pieces))]


def _unquoted(text: str) -> str:
    """Return the value of a scalar of YAML."""
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(x..|u.{4}|U.{8}|.)", _escaped, text[1:-1])
    return text


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, code)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing.") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: this is not text in UTF-8.") from None


def _named(path: Path, names: list[str] | None, pattern: str) -> list[Path]:
    """Return the files that decoder.yml names, by their last names, or else those there are."""
    found = [path / Path(name).name for name in names or []] or sorted(path.glob(pattern))
    if not found or not found[0].exists():
        raise CheckpointError(f"{path}: there is no {found[0].name if found else pattern}.")
    return found


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"{path}: the weights can't be read ({error}).") from None
    settings = arrays.pop(OPTIONS, None)
    if settings is None:
        raise CheckpointError(f"{path}: it holds no {OPTIONS}, which says what model it is.")
    tensors = {}
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {name!r} must hold finite numbers of float32, not {array.dtype}.")
        tensors[name] = torch.from_numpy(array)
    return tensors, read_options(settings.tobytes().rstrip(b"\0").decode(errors="replace"))


class _Reader:
    """Tensors of Marian on their way to ours: each is taken once, and what is left has no place."""

    def __init__(self, path: Path, tensors: dict[str, Tensor], options: Mapping[str, list[str]]) -> None:
        self._path, self._left = path, tensors
        self._options = {name: values[0] if values else "" for name, values in options.items()}
        for name, usable in _NEEDED.items():
            if (value := self._options.get(name, "")) not in usable:
                raise self._fault(f"the option {name} is {value!r}; only {usable[0]!r} is supported")
        self._ssru = self._options.get("transformer-decoder-autoreg") == "rnn"
        if self._ssru and (cell := self._options.get("dec-cell", "")) != "ssru":
            raise self._fault(f"the option dec-cell is {cell!r}; only 'ssru' is supported")

    def checkpoint(
        self,
        source_pieces: list[str],
        target_pieces: list[str],
        spm: Mapping[str, bytes],
        decoder: Mapping[str, list[str]],
        languages: tuple[tuple[str, ...], tuple[str, ...]],
    ) -> Checkpoint:
        """Make the checkpoint."""
        tables = self._tables(source_pieces, target_pieces)
        architecture = self._architecture(tables)
        if fault := architecture_fault(architecture):
            raise self._fault(fault)
        layers = self._layers(architecture)
        if self._left:
            raise self._fault(f"the tensor {min(self._left)!r} has no place in this architecture")
        checkpoint = tables.checkpoint(architecture, layers, languages, spm)
        ids = checkpoint.ids
        return replace(
            checkpoint,
            # Marian never predicts what it has no piece for, unless asked to.
            ids=replace(ids, suppressed=tuple(sorted({*ids.suppressed, ids.unk_target}))),
            beam_size=int(max(1, min(_number(decoder, "beam-size", 1), MAX_BEAM_SIZE))),
            length_penalty=max(0.0, min(_number(decoder, "normalize", 1), MAX_LENGTH_PENALTY)),
        )

    def _tables(self, source_pieces: list[str], target_pieces: list[str]) -> Tables:
        whole = self._left.pop("Wemb", None)
        source = self._take("encoder_Wemb") if whole is None else whole
        target = self._take("decoder_Wemb") if whole is None else whole
        output = self._left.pop("decoder_ff_logit_out_Wt", None)
        if output is None:
            output = self._left["decoder_ff_logit_out_W"].T if "decoder_ff_logit_out_W" in self._left else target
            self._left.pop("decoder_ff_logit_out_W", None)
        bias = self._take("decoder_ff_logit_out_b").flatten()
        special = Special(eos="</s>", unk="<unk>", start=None, ends_sources=True)
        return Tables(self._path, special, (source_pieces, target_pieces), (source, target, output), bias)

    def _architecture(self, tables: Tables) -> Architecture:
        activation = self._options.get("transformer-ffn-activation", "")
        if activation not in _ACTIVATIONS:
            raise self._fault(
                f"transformer-ffn-activation is {activation!r}; {' and '.join(_ACTIVATIONS)} are supported"
            )
        around = tuple(
            self._options.get(f"transformer-{name}", "") for name in ("preprocess", "postprocess", "postprocess-top")
        )
        if around not in _NORMS:
            raise self._fault(f"the norms {around} around its sub-layers are not supported, but {list(_NORMS)}")
        heads = self._whole("transformer-heads", 8)
        ffn_dim = self._whole("transformer-dim-ffn", 2048)
        return Architecture(
            d_model=tables.target.shape[1],
            source_vocab_size=len(tables.source_pieces),
            target_vocab_size=len(tables.target_pieces),
            encoder_layers=self._whole("enc-depth", 6),
            encoder_heads=heads,
            encoder_ffn_dim=ffn_dim,
            decoder_layers=self._whole("dec-depth", 6),
            decoder_heads=heads,
            decoder_ffn_dim=self._whole("transformer-decoder-dim-ffn", 0) or ffn_dim,
            activation=_ACTIVATIONS[activation],
            norm=_NORMS[around],
            norm_epsilon=_EPSILON,
            scale_embedding=True,
            max_positions=MAX_POSITIONS,
            shared_vocabulary=tables.shared,
            tied_output=tables.tied,
            positions="tensor2tensor",
            autoregression="ssru" if self._ssru else "self_attention",
        )

    def _layers(self, architecture: Architecture) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        suffix = "_pre" if architecture.norm == "pre" else ""

        def norm(ours: str, theirs: str, suffix: str) -> None:
            result[f"{ours}.norm.gain"] = self._take(f"{theirs}_ln_scale{suffix}").flatten()
            result[f"{ours}.norm.bias"] = self._take(f"{theirs}_ln_bias{suffix}").flatten()

        for name, (kind, _) in sub_layers(architecture).items():
            side, layer, block = name.split(".")
            part = {"self_attention": "self", "encoder_attention": "context", "ffn": "ffn", "ssru": "rnn"}[block]
            theirs = f"{side}_l{int(layer) + 1}_{part}"
            if kind == "ssru":
                result[f"{name}.forget"], result[f"{name}.{UNBIASED}"] = (
                    self._take(f"{theirs}_{each}").T for each in ("Wf", "W")
                )
                result[f"{name}.forget.bias"] = self._take(f"{theirs}_bf").flatten()
                norm(name, f"{theirs}_ffn", suffix)
                continue
            letters = {"query": "q", "key": "k", "value": "v", "output": "o"}
            if kind == "ffn":
                letters = {"inner": "1", "outer": "2"}
            for each, letter in letters.items():
                result[f"{name}.{each}"] = self._take(f"{theirs}_W{letter}").T
                result[f"{name}.{each}.bias"] = self._take(f"{theirs}_b{letter}").flatten()
            norm(name, f"{theirs}_{'ffn' if kind == 'ffn' else 'Wo'}", suffix)
        if architecture.norm == "pre":
            for side in ("encoder", "decoder"):
                norm(side, f"{side}_top", "")
        return result

    def _take(self, name: str) -> Tensor:
        if name not in self._left:
            raise self._fault(f"the tensor {name!r} is missing")
        return self._left.pop(name)

    def _whole(self, name: str, default: int) -> int:
        value = self._options.get(name, str(default))
        if not value.isdecimal():
            raise self._fault(f"the option {name} is {value!r}, not a whole number")
        return int(value)

    def _fault(self, fault: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: {fault}.")


def _number(options: Mapping[str, list[str]], name: str, default: float) -> float:
    try:
        return float(options[name][0])
    except (KeyError, IndexError, ValueError):
        return default
