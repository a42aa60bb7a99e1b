"""A model directory as one file: an uncompressed zip with a checksum of each file in it.

    NAME.sub3.zip = SHA256SUMS, config.json, the weights, the vocabulary, the SentencePiece models, README.md

`unzip` and `sha256sum -c` read it, too. A reader takes only the files that a model directory has, by these names, and
nothing in it is compressed, so no file of another can write elsewhere or fill the disk.
"""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

from models.format.atomic import replaced_directory
from models.format.directory import open_model
from models.format.files import sha256
from models.format.schema import CONFIG_FILE, SENTENCEPIECE_FILES, VOCABULARY_FILES, ModelError

SUFFIX = ".sub3.zip"
SUMS = "SHA256SUMS"
CARD = "README.md"
MOST_FILES = 64
LARGEST_SUMS = 64 << 10  # bytes
_FIXED = frozenset((CONFIG_FILE, CARD, *SENTENCEPIECE_FILES, *VOCABULARY_FILES.values()))
_TIME = (1980, 1, 1, 0, 0, 0)  # of every file, so that the same model makes the same package


def pack(directory: Path, package: Path) -> str:
    """Write a model directory as one file, once it has been verified; return the file's sha256.

    Raises:
        ModelError: the directory is bad, or the file exists.
    """
    model = open_model(directory)
    names = [CONFIG_FILE, *model.config.checked_files, *([CARD] if (directory / CARD).is_file() else [])]
    sums = "".join(f"{sha256(directory / name)}  {name}\n" for name in names)
    new = package.with_name(f".{package.name}.new")
    try:
        with new.open("xb") as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo(SUMS, _TIME), sums)
            for name in names:
                with (directory / name).open("rb") as source, archive.open(_entry(directory / name), "w") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
        os.link(new, package)  # unlike a rename, it does not replace
    except FileExistsError:
        raise ModelError(f"{package}: this exists already.") from None
    finally:
        new.unlink(missing_ok=True)
    return sha256(package)


def _entry(path: Path) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path.name, _TIME)
    info.file_size, info.external_attr = path.stat().st_size, 0o644 << 16
    return info


def unpack(package: Path, directory: Path) -> None:
    """Write the model directory of a package, and verify it; `directory` must not exist.

    Raises:
        ModelError: the file is no package or has been altered, or the directory exists.
    """
    if directory.exists():
        raise ModelError(f"{directory}: this exists already.")
    try:
        with zipfile.ZipFile(package) as archive, replaced_directory(directory) as new:
            for name, digest in _listed(package, archive).items():
                if _copy(archive, name, new / name) != digest:
                    raise ModelError(f"{package}: the sha256 of {name} differs from the one that {SUMS} states.")
            open_model(new)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{package}: this is not a package of a model ({error}).") from None


def _listed(package: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the sha256 of each file, once nothing is wrong with their list."""
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if len(names) != len(entries) or len(entries) > MOST_FILES:
        raise ModelError(f"{package}: it holds a file twice, or more than {MOST_FILES}.")
    for entry in entries:
        if not _is_of_a_model(entry.filename):
            raise ModelError(f"{package}: {entry.filename[:100]!r} is not a file of a model directory.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ModelError(f"{package}: {entry.filename} is compressed; `sub3 models pack` compresses nothing.")
    if sum(entry.file_size for entry in entries) > package.stat().st_size:
        raise ModelError(f"{package}: its files overlap.")
    if SUMS not in names or archive.getinfo(SUMS).file_size > LARGEST_SUMS:
        raise ModelError(f"{package}: there is no {SUMS} in it, or a huge one; `sub3 models pack` makes packages.")
    sums = {}
    for line in archive.read(SUMS).decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        sums[name] = digest
    if sums.keys() != names - {SUMS}:
        raise ModelError(f"{package}: {SUMS} does not list exactly the files in it.")
    return sums


def _is_of_a_model(name: str) -> bool:
    weights = name.endswith(".safetensors") and not name.startswith(".") and "/" not in name and "\\" not in name
    return name in _FIXED or name == SUMS or (weights and "\0" not in name)


def _copy(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """Copy a file out of the archive; return its sha256."""
    digest = hashlib.sha256()
    with archive.open(name) as source, path.open("xb") as copy:
        while block := source.read(1 << 20):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()
