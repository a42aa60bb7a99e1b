"""Text as numbers of pieces in a file: what is carried to a machine that has no corpus.

NAME.pieces.xz      tensors in safetensors, compressed: ids and lengths of both sides, uint16, and the vocabulary's hash
"""

import hashlib
import lzma
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.marian.checkpoint import Checkpoint
from models.text.lines import DataError

ENDING = ".pieces.xz"
Numbers = npt.NDArray[np.uint16]
FIELDS = ("source.ids", "source.lengths", "target.ids", "target.lengths")
_VOCABULARY = "vocabulary"
# Tokens are two bytes: literals and matches begin at even places.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 1, "pb": 1}]


def vocabulary_hash(checkpoint: Checkpoint) -> bytes:
    """Return a hash of what numbers the pieces of both sides."""
    digest = hashlib.sha256()
    for part in (*checkpoint.spm.values(), repr((checkpoint.source_pieces, checkpoint.target_pieces)).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.digest()


def packed(fields: Mapping[str, npt.NDArray[np.integer]], vocabulary: bytes) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: a number has more than 16 bits.
    """
    if any(len(values) and values.max() > np.iinfo(np.uint16).max for values in fields.values()):
        raise DataError("A vocabulary of more than 65,536 pieces can't be packed.")
    tensors = {name: values.astype(np.uint16) for name, values in fields.items()}
    content = save({**tensors, _VOCABULARY: np.frombuffer(vocabulary, np.uint8)})
    return lzma.compress(content, filters=_FILTERS)


def read_packed(path: Path, vocabulary: bytes) -> dict[str, Numbers]:
    """Return the fields of a file.

    Raises:
        DataError: it can't be read, or another vocabulary numbers its pieces.
    """
    try:
        tensors = load(lzma.decompress(path.read_bytes()))
    except (OSError, lzma.LZMAError, SafetensorError) as error:
        raise DataError(f"{path}: the text can't be read ({error}).") from None
    if tensors.pop(_VOCABULARY, np.zeros(0, np.uint8)).tobytes() != vocabulary:
        raise DataError(f"{path}: another vocabulary numbers its pieces; pack the text again for this model.")
    return {name: tensors[name] for name in FIELDS}
