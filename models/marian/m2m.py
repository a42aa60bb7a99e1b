"""M2M-100 and NLLB as transformers writes them: the Transformer of fairseq, told both languages by tokens.

A source is its language's token, its pieces and eos. A decoder reads eos and the target's token, and goes on.
Pieces are numbered by vocab.json (M2M-100), or as fairseq numbers those of the SentencePiece model (NLLB): <s>, <pad>,
</s>, <unk>, then the model's own from the third on. The languages' tokens follow.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sentencepiece

from models.format.faults import architecture_fault
from models.format.languages import base, canonical
from models.format.schema import CONFIG_FILE, SENTENCEPIECE_FILES, Architecture, Ids
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.files import VOCABULARY_FILE, read_optional_object
from models.marian.marian import Config, read_architecture, read_pieces, read_search, read_tensors

M2M = "m2m_100"
SENTENCEPIECE = "sentencepiece.bpe.model"
_FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
_SPECIAL_OF_SPM = 3  # <unk>, <s> and </s>, which fairseq numbers itself
# The languages of M2M-100 in the order of their tokens, which transformers 5 writes nowhere.
_LANGUAGES = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu
hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt
ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
"""
_SILENT = re.compile(r"<mask>|<s>|<unused \d+>|madeupword\d+")  # never predicted
_TOKEN = re.compile(r"__([a-z]{2,3}(?:_[A-Za-z]+)?)__|([a-z]{3}_[A-Z][a-z]{3})")


def read_m2m(path: Path, values: Mapping[str, Any]) -> Checkpoint:
    """Read a directory whose config.json has these values.

    Raises:
        CheckpointError: a file can't be read, or the engine can't represent the model.
    """
    config = Config(path / CONFIG_FILE, values)
    tokenizer = read_optional_object(path, "tokenizer_config.json")
    if tokenizer.get("legacy_behaviour"):
        raise config.refuse("legacy_behaviour, by which a source ends with its language's token, is not supported")
    architecture = _architecture(config)
    if fault := architecture_fault(architecture):
        raise config.refuse(fault)
    if not (path / SENTENCEPIECE).is_file():
        raise CheckpointError(f"{path / SENTENCEPIECE}: the file is missing.")
    spm = (path / SENTENCEPIECE).read_bytes()
    pieces, tokens = _with_languages(path, tokenizer, _pieces(path, spm, architecture.source_vocab_size))
    beam_size, length_penalty = read_search(path, config)
    return Checkpoint(
        source_languages=tuple(tokens),
        target_languages=tuple(tokens),
        target_tokens=tokens,
        architecture=architecture,
        ids=_ids(config, pieces),
        source_pieces=pieces,
        target_pieces=None,
        tensors=read_tensors(path, architecture),
        spm=dict.fromkeys(SENTENCEPIECE_FILES, spm),
        beam_size=beam_size,
        length_penalty=length_penalty,
        source_tokens=tokens,
        target_token_begins="target",
    )


def _architecture(config: Config) -> Architecture:
    read = read_architecture(config, activation="relu", scale_embedding=True, max_positions=1024)
    return replace(read, norm="pre", positions="fairseq")


def _pieces(path: Path, spm: bytes, size: int) -> list[str]:
    """Return the piece of each row before the languages' tokens, and of those behind it a name that no text has."""
    if (path / VOCABULARY_FILE).exists():
        return list(read_pieces(path, VOCABULARY_FILE, size))
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=spm)
    except RuntimeError as error:
        raise CheckpointError(f"{path / SENTENCEPIECE}: this is not a SentencePiece model ({error}).") from None
    own = [model.id_to_piece(n) for n in range(_SPECIAL_OF_SPM, model.get_piece_size())]
    pieces = [*_FAIRSEQ, *own]
    if len(pieces) > size:
        raise CheckpointError(f"{path / SENTENCEPIECE}: it has more pieces than the model's {size} rows.")
    return [*pieces, *(f"<unused {number}>" for number in range(len(pieces), size))]


def _with_languages(
    path: Path, tokenizer: Mapping[str, Any], pieces: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Put the languages' tokens in their rows; return all pieces, and the token of each language."""
    by_row = _by_row(path, tokenizer, pieces)
    result = list(pieces)
    for row, token in by_row.items():
        if not 0 <= row < len(result):
            raise CheckpointError(f"{path}: the token {token!r} has the id {row}, outside the {len(result)} rows.")
        result[row] = token
    found = {token: match[1] or match[2] for token in by_row.values() if (match := _TOKEN.fullmatch(token))}
    if not found:
        raise CheckpointError(f"{path}: no file lists the tokens of its languages, as tokenizer_config.json should.")
    codes = {token: canonical(code) for token, code in found.items()}
    scripts = Counter(map(base, codes.values()))  # a script is told only where a language has several
    languages = {base(code) if scripts[base(code)] == 1 else code: token for token, code in codes.items()}
    return tuple(result), languages


def _by_row(path: Path, tokenizer: Mapping[str, Any], pieces: Sequence[str]) -> dict[int, str]:
    """Return the added tokens by their rows, as one of the files of a tokenizer tells them."""
    added = read_optional_object(path, "tokenizer.json").get("added_tokens")
    if isinstance(added, list):
        return {entry["id"]: entry["content"] for entry in added}
    decoder = tokenizer.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        told = {int(row): entry["content"] for row, entry in decoder.items()}
        if any(_TOKEN.fullmatch(token) for token in told.values()):
            return told
    first = next((row for row, piece in enumerate(pieces) if piece == f"<unused {row}>"), len(pieces))
    for document in (read_optional_object(path, "special_tokens_map.json"), tokenizer):
        for name in ("additional_special_tokens", "extra_special_tokens"):
            listed = document.get(name)
            if isinstance(listed, list) and listed:
                texts = [each["content"] if isinstance(each, dict) else str(each) for each in listed]
                tokens = [text for text in texts if _TOKEN.fullmatch(text)]
                return {first + n: token for n, token in enumerate(tokens)}
    if tokenizer.get("language_codes", "m2m100") == "m2m100" and (path / VOCABULARY_FILE).exists():
        return {first + n: f"__{code}__" for n, code in enumerate(_LANGUAGES.split())}
    return {}


def _ids(config: Config, pieces: Sequence[str]) -> Ids:
    eos, pad = config.number("eos_token_id", 2), config.number("pad_token_id", 1)
    start = config.number("decoder_start_token_id", eos)
    if max(eos, pad, start) >= len(pieces):
        raise config.refuse(f"a special token is outside the {len(pieces)} rows")
    if "<unk>" not in pieces:
        raise config.refuse("there is no piece '<unk>'")
    unknown = pieces.index("<unk>")
    said = {row for row, piece in enumerate(pieces) if _SILENT.fullmatch(piece)} - {eos}
    return Ids(eos, pad, unknown, unknown, start, tuple(sorted({pad, *said})))
