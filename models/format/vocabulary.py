"""The words of a model, row by row, and the text of vocab.json, which holds them."""

import json
from dataclasses import dataclass
from pathlib import Path

from kernels import words
from kernels.words import Words
from models.format.files import read_bytes
from models.format.schema import Architecture, ModelError
from models.format.typed_json import decode_json, parse_json


@dataclass(frozen=True)
class Vocabulary:
    """The words of both sides. `target` is None where the two share one vocabulary."""

    source: Words
    target: Words | None

    @property
    def target_words(self) -> Words:
        """Those of the target side, shared or not."""
        return self.source if self.target is None else self.target

    def to_json(self) -> bytes:
        """The content of vocab.json."""
        document = {"source": list(self.source), "target": None if self.target is None else list(self.target)}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def scan(document: bytes) -> Vocabulary | None:
    """A vocabulary from the text of vocab.json; None: another reader must judge it. Raises ValueError as that does."""
    found = words.scan(document)
    return None if found is None else Vocabulary(*found)


@dataclass(frozen=True)
class _VocabularyRows:
    """vocab.json as JSON has it."""

    source: tuple[tuple[str, int], ...]
    target: tuple[tuple[str, int], ...] | None


def read_vocabulary(path: Path, architecture: Architecture) -> Vocabulary:
    document = read_bytes(path)
    try:
        vocabulary = scan(document)
        if vocabulary is None:
            rows: _VocabularyRows = decode_json(_VocabularyRows, parse_json(document), "the document")
            vocabulary = Vocabulary(Words.of(rows.source), None if rows.target is None else Words.of(rows.target))
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    if (vocabulary.target is None) != architecture.shared_vocabulary:
        raise ModelError(f"{path}: target must be null if and only if the vocabulary is shared.")
    sides = [("source", vocabulary.source, architecture.source_vocab_size)]
    if vocabulary.target is not None:
        sides.append(("target", vocabulary.target, architecture.target_vocab_size))
    for side, pieces, size in sides:
        if len(pieces) != size:
            raise ModelError(f"{path}: {side} has {len(pieces)} pieces, but the model has {size} rows.")
    return vocabulary
