"""The lexical shortlist beside a student of Bergamot, lex.50.50.XXYY.s2t.bin, as Marian writes it.

    head      u64 magic, checksum, frequent, best, offsets, rows
    offsets   u64, where the rows of each source piece begin, and where the last ones end
    rows      u32, of the target vocabulary

A sentence may choose the first `frequent` pieces of the vocabulary and those that its own pieces have; also its own
ones, where both sides have one vocabulary. The checksum is over all whole words of 64 bits behind it.
"""

import struct
from itertools import pairwise
from pathlib import Path

from models.format.shortlist import Shortlist
from models.marian.checkpoint import CheckpointError

PATTERN = "lex*.bin"
MAGIC = 0xF11A48D5013417F5
_HEAD = struct.Struct("<6Q")
_GOLDEN, _WHOLE = 0x9E3779B9, (1 << 64) - 1


def read_lexicon(path: Path, source_pieces: int, target_pieces: int, *, shared: bool) -> Shortlist:
    """Read a file.

    Args:
        path: of it.
        source_pieces: how many the source vocabulary has.
        target_pieces: likewise.
        shared: both sides have one vocabulary.

    Raises:
        CheckpointError: it is none, or that of another vocabulary.
    """
    try:
        return _decode(path.read_bytes(), source_pieces, target_pieces, shared=shared)
    except (struct.error, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: this is no shortlist of the model ({error}); without the file the model is read all the same."
        ) from None


def _decode(content: bytes, source_pieces: int, target_pieces: int, *, shared: bool) -> Shortlist:
    """Raise ValueError or struct.error for what is none."""
    magic, checksum, frequent, _, num_offsets, num_rows = _HEAD.unpack_from(content)
    if magic != MAGIC:
        raise ValueError("it does not begin as one")
    if num_offsets != source_pieces + 1:
        raise ValueError(f"it is for {num_offsets - 1} source pieces, not {source_pieces}")
    if len(content) != _HEAD.size + 8 * num_offsets + 4 * num_rows:
        raise ValueError("it is cut short, or too long")
    if checksum != checksum_of(content):
        raise ValueError("its checksum is another")
    offsets = struct.unpack_from(f"<{num_offsets}Q", content, _HEAD.size)
    rows = struct.unpack_from(f"<{num_rows}I", content, _HEAD.size + 8 * num_offsets)
    if offsets[0] or offsets[-1] != num_rows or any(begin > end for begin, end in pairwise(offsets)):
        raise ValueError("its offsets do not divide its rows")
    if rows and max(rows) >= target_pieces:
        raise ValueError(f"it has the row {max(rows)} of a vocabulary of {target_pieces}")
    listed = [{*rows[begin:end], *([piece] if shared else [])} for piece, (begin, end) in enumerate(pairwise(offsets))]
    return Shortlist(tuple(range(min(frequent, target_pieces))), tuple(tuple(sorted(each)) for each in listed))


def checksum_of(content: bytes) -> int:
    """Return the checksum that belongs into a file."""
    seed = 0
    for (word,) in struct.iter_unpack("<Q", content[16 : len(content) // 8 * 8]):
        seed ^= (word + _GOLDEN + (seed << 6) + (seed >> 2)) & _WHOLE
    return seed
