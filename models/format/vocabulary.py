"""The words of a model, row by row, and the text of vocab.json, which holds them."""

import json
from dataclasses import dataclass

from kernels import words
from kernels.words import Words


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
