"""The shards of a corpus: which are done, and how an output gets its name only once it is whole."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from models.format.typed_json import decode_json

_RECEIPTS = ".receipts"
_PARTIAL = ".partial"
_READ_BYTES = 1 << 20

Advance = Callable[[int], object]  # gets the bytes of input that are done


class CorpusError(ValueError):
    """The corpus can't be translated; the sentence says why."""


@dataclass(frozen=True)
class Work:
    """The work on every shard. An output directory holds the results of one work."""

    model: str
    version: str  # 12 hex digits of the weights' checksum, as in the replies of the service
    config: str
    bits_per_weight: float
    source: str
    target: str
    beam_size: int
    field: str


@dataclass(frozen=True)
class Receipt:
    """The input and the work of a finished shard; a JSON file beside the outputs."""

    work: Work
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str
    lines: int
    characters: int  # of the texts that were translated
    output_bytes: int


class Shard(NamedTuple):
    """An input file, the output file of the same name, and its receipt."""

    source: Path
    target: Path
    receipt: Path


@dataclass(frozen=True)
class Job:
    """A corpus to translate; it goes to other processes and machines, which see the same files."""

    shards: tuple[Shard, ...]
    model: Path
    work: Work


def find_shards(patterns: Sequence[str], output: Path) -> list[Shard]:
    """Find the files that the patterns match, sorted by name.

    Raises:
        CorpusError: a pattern matches nothing, two files have one name, or an output would replace an input.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        whole = Path(pattern).absolute()
        paths = [
            path for path in sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))) if path.is_file()
        ]
        if not paths:
            raise CorpusError(f"{pattern}: no file matches.")
        for path in paths:
            known = found.setdefault(path.name, path)
            if known.resolve() != path.resolve():
                raise CorpusError(f"{known} and {path} have the same name; give one of them another --output.")
            if path.resolve().parent == output.resolve():
                raise CorpusError(f"{path} is in the output directory; write to another one.")
    return [Shard(found[name], output / name, output / _RECEIPTS / f"{name}.json") for name in sorted(found)]


def state(shard: Shard, work: Work) -> Literal["done", "changed", "new"]:
    """Say whether a shard is done; `changed` if it was, but its input or its output is a different one now.

    Raises:
        CorpusError: its output is of another work.
    """
    receipt = _read_receipt(shard.receipt)
    if receipt is None or not shard.target.exists():
        return "new"
    if receipt.work != work:
        raise CorpusError(
            f"{shard.target} was made by another work ({_difference(receipt.work, work)}); "
            "write to another directory, or redo everything with --overwrite."
        )
    status = shard.source.stat()
    if shard.target.stat().st_size != receipt.output_bytes or status.st_size != receipt.source_bytes:
        return "changed"
    if status.st_mtime_ns == receipt.source_mtime_ns or _sha256(shard.source) == receipt.source_sha256:
        return "done"
    return "changed"


def write_receipt(shard: Shard, receipt: Receipt) -> None:
    """Mark a shard as done; its output has its name already."""
    with replacing(shard.receipt) as file:
        file.write(json.dumps(asdict(receipt), indent=1, ensure_ascii=False).encode() + b"\n")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that gets its name, and is on the disk, once the block has ended without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def sole_writer(output: Path) -> Iterator[None]:
    """Lock the output directory against other runs, and remove the half-written files of a killed one.

    Raises:
        CorpusError: another run writes to it.
    """
    (output / _RECEIPTS).mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CorpusError(f"{output}: another run writes to it; wait for its end.") from None
        _clear(output)
        try:
            yield
        finally:
            _clear(output)  # workers on other machines may have been killed, too


def _clear(output: Path) -> None:
    for directory in (output, output / _RECEIPTS):
        for left in directory.glob(f".*{_PARTIAL}"):
            left.unlink(missing_ok=True)


def _read_receipt(path: Path) -> Receipt | None:
    """Read a receipt; None if there is none or it is damaged: the shard is then done again."""
    try:
        receipt: Receipt = decode_json(Receipt, json.loads(path.read_bytes()), "the receipt")
    except (FileNotFoundError, ValueError):
        return None
    return receipt


def _difference(before: Work, now: Work) -> str:
    old, new = asdict(before), asdict(now)
    return ", ".join(f"{name} {old[name]}, now {new[name]}" for name in old if old[name] != new[name])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
