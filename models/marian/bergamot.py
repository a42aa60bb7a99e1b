r"""Students of Bergamot, as Firefox has them: model.XXYY.intgemm.alphas.bin, vocab.XXYY.spm, lex.50.50.XXYY.s2t.bin.

    model             u64 version, 1; u64 n; n headers; n names; n shapes; u64 gap and so many bytes; n times data
      a header        u64 of the length of the name, the type, the sizes in the shape, the bytes of data
      a name          bytes, of which the last is \0
      a shape         i32 sizes
    special:model.yml the options of the training, as in an .npz of Marian

Weights of eight bits are integers, and behind the last of them a float32 by which they are divided. A matrix of a layer
has its columns, as its shape tells them, one after the other; an embedding has its rows. The scales for activations of
eight bits (QuantMultA) are not read. The shortlist lex*.bin goes with the model.
"""

import math
import re
import struct
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.format.languages import canonical
from models.format.shortlist import Shortlist
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.lexicon import PATTERN, read_lexicon
from models.marian.names import languages_of_name
from models.marian.npz import OPTIONS, checkpoint_of, read_options, read_spm_vocabularies

_VERSION = 1
_MOST = 1 << 16  # tensors, and bytes of a name
_OPTIONS_TYPE, _FLOAT32, _INTGEMM8 = 0x0101, 0x0404, 0x4101
_LANGUAGES = re.compile(r"\.([a-z]{2})([a-z]{2})\.")


def student_file(path: Path) -> Path | None:
    """Return the weights of a student in a directory, None if it has none."""
    return next(iter(sorted(path.glob("*.intgemm*.bin"))), None)


def read_bergamot(path: Path) -> Checkpoint:
    """Read the directory of a student.

    Raises:
        CheckpointError: a file can't be read, or the engine can't represent the model.
    """
    weights = student_file(path)
    if weights is None:
        raise CheckpointError(f"{path}: there is no *.intgemm*.bin.")
    tensors, options = _read(weights)
    vocabularies = sorted(path.glob("*vocab*.spm"))
    pieces, spm = read_spm_vocabularies(path, vocabularies)
    languages = languages_of_name(path.resolve().name)
    if match := _LANGUAGES.search(weights.name):
        languages = (canonical(match[1]),), (canonical(match[2]),)
    checkpoint = checkpoint_of(weights, tensors, options, pieces, spm, {}, languages)
    if lexicon := next(iter(sorted(path.glob(PATTERN))), None):
        shortlist = read_lexicon(lexicon, *map(len, pieces), shared=len(vocabularies) == 1)
        return replace(checkpoint, shortlist=_numbered(shortlist, pieces, checkpoint))
    if compressed := next(iter(sorted(path.glob(f"{PATTERN}.*"))), None):
        warnings.warn(f"{compressed}: this shortlist is left out, for it is compressed; unpack it.", stacklevel=2)
    return checkpoint


def _numbered(shortlist: Shortlist, pieces: tuple[list[str], list[str]], checkpoint: Checkpoint) -> Shortlist:
    """Return a shortlist by the rows of the checkpoint, where eos may stand elsewhere, and one row is new."""
    old, places = dict(zip(pieces[0], shortlist.rows, strict=True)), checkpoint.target_pieces
    new = {piece: row for row, piece in enumerate(checkpoint.source_pieces if places is None else places)}

    def rows(numbers: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted({new[pieces[1][number]] for number in numbers} - {*checkpoint.ids.suppressed}))

    always = rows(shortlist.always) or (checkpoint.ids.eos,)
    return Shortlist(always, tuple(rows(old.get(piece, ())) for piece in checkpoint.source_pieces))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Return what the weights stand for, and the options."""
    try:
        entries = _entries(path.read_bytes())
    except (struct.error, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: this is no model of Bergamot ({error}).") from None
    options = entries.pop(OPTIONS, None)
    if options is None or options[0] != _OPTIONS_TYPE:
        raise CheckpointError(f"{path}: it holds no {OPTIONS}, which says what model it is.")
    tensors = {}
    for name, (kind, shape, data) in entries.items():
        if name.endswith("_QuantMultA"):
            continue
        count = math.prod(shape)
        if kind not in (_FLOAT32, _INTGEMM8) or len(data) < (4 * count if kind == _FLOAT32 else count + 4):
            raise CheckpointError(f"{path}: {name!r} must hold {count} numbers of float32 or intgemm8.")
        if kind == _FLOAT32:
            values = np.frombuffer(data, np.float32, count).reshape(shape)
        else:
            whole = np.frombuffer(data, np.int8, count).astype(np.float32)
            with np.errstate(all="ignore"):
                whole /= np.frombuffer(data, np.float32, 1, count)[0]
            values = whole.reshape(shape) if name.endswith("Wemb") else whole.reshape(shape[::-1]).T
        if not np.isfinite(values).all():
            raise CheckpointError(f"{path}: {name!r} holds numbers that are not finite.")
        tensors[name] = torch.from_numpy(np.ascontiguousarray(values).copy())
    return tensors, read_options(bytes(options[2]).rstrip(b"\0").decode(errors="replace"))


def _entries(content: bytes) -> dict[str, tuple[int, tuple[int, ...], bytes]]:
    """Return name -> type, shape and data. Raises ValueError or struct.error."""
    version, count = struct.unpack_from("<QQ", content)
    if version != _VERSION or count > _MOST:
        raise ValueError(f"its version is {version}, and it has {count} tensors")
    headers = [struct.unpack_from("<4Q", content, 16 + 32 * n) for n in range(count)]
    place = 16 + 32 * count

    def take(size: int) -> bytes:
        nonlocal place
        if size > len(content) - place:
            raise ValueError("it is cut short")
        place += size
        return content[place - size : place]

    if any(length > _MOST or sizes > 8 for length, _, sizes, _ in headers):
        raise ValueError("a name or a shape is too long")
    names = [take(length).rstrip(b"\0").decode(errors="replace") for length, _, _, _ in headers]
    shapes = [struct.unpack(f"<{sizes}i", take(4 * sizes)) for _, _, sizes, _ in headers]
    (gap,) = struct.unpack("<Q", take(8))
    take(gap)
    if any(size < 0 for shape in shapes for size in shape) or len(set(names)) != count:
        raise ValueError("a size is negative, or a name occurs twice")
    return {
        name: (kind, shape, take(size)) for name, shape, (_, kind, _, size) in zip(names, shapes, headers, strict=True)
    }
