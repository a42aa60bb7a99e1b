"""Packages of Argos Translate: a zip with one folder, which has metadata.json and a model of CTranslate2."""

import zipfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.ctranslate2 import WEIGHTS, read_ctranslate2

PACKAGE = ".argosmodel"
LARGEST = 8 << 30  # bytes, unpacked
_MODEL, _OUTER = "model", ("metadata.json", "sentencepiece.model", "bpe.model")


def read_argos(path: Path) -> Checkpoint:
    """Read a package.

    Raises:
        CheckpointError: it can't be read, or the engine can't represent the model.
    """
    try:
        with zipfile.ZipFile(path) as archive, TemporaryDirectory(prefix="sub3-") as folder:
            _unpack(path, archive, Path(folder))
            return read_ctranslate2(Path(folder) / _MODEL)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path}: this is no package of Argos Translate ({error}).") from None


def _unpack(path: Path, archive: zipfile.ZipFile, folder: Path) -> None:
    """Write the files of the model by names of our own, whatever folders the archive names."""
    (folder / _MODEL).mkdir()
    left = LARGEST
    found = False
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename).parts
        if entry.is_dir() or len(parts) < 2:
            continue
        if len(parts) == 3 and parts[1] == _MODEL and not parts[2].startswith("."):
            place = folder / _MODEL / parts[2]
        elif len(parts) == 2 and parts[1] in _OUTER:
            place = folder / parts[1]
        else:
            continue
        found |= place.name == WEIGHTS
        with archive.open(entry) as source, place.open("wb") as copy:
            while block := source.read(1 << 20):
                left -= len(block)
                if left < 0:
                    raise CheckpointError(f"{path}: it holds more than {LARGEST} bytes.")
                copy.write(block)
    if not found:
        raise CheckpointError(f"{path}: there is no {_MODEL}/{WEIGHTS} in it; only models of CTranslate2 can be read.")
