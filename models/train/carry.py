"""A training carried to another machine, and its weights brought back, through transfers of little size.

PACK/               at most so many bytes
    code/           models/ and kernels/ as they are here, with the engine
    shared/         corpus/: pieces of the text, whole or sampled, and the held-out text; checkpoint/carried in float16
    recipe.json
    manifest.json   sha256 of each file

PARTS/part-NN, parts.json   a tar of a checkpoint, cut; sha256 of each part and of the whole
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels import _engine
from models.format.atomic import replaced_directory
from models.marian.checkpoint import Checkpoint
from models.marian.marian import write_marian
from models.marian.read import read_checkpoint
from models.text.lines import DataError
from models.train.dataset import Part, Side, read_parts
from models.train.full_precision import first_checkpoint, train_recipe
from models.train.loop import Until
from models.train.packed import ENDING, packed, vocabulary_hash
from models.train.recipe import ROOT, Init, Source, TrainRecipe, changed, recipe_of
from models.train.state import Progress, averages

CARRIED, RECIPE, MANIFEST, PARTS = "checkpoint/carried", "recipe.json", "manifest.json", "parts.json"
_MIB = 1 << 20
_SMALLER = 0.96  # the next try where the sampled text is still too large


def pack(recipe: TrainRecipe, shared: Path, out: Path, *, limit: float = 64) -> dict[str, int]:
    """Write a pack: code, recipe, first weights, held-out text, and as much of the text as there is room for.

    Args:
        recipe: of the run; `init.run` is not carried, for moments take three times as much room as weights.
        shared: the folder of corpus/ and checkpoint/.
        out: directory to write.
        limit: MiB of all files together.

    Returns:
        The pairs of each source that are in the pack.

    Raises:
        DataError: `out` exists, or the limit leaves no room for text.
    """
    if out.exists():
        raise DataError(f"{out}: this exists already.")
    checkpoint = first_checkpoint(recipe, shared)
    carried = replace(recipe, init=Init(CARRIED))
    with replaced_directory(out) as new:
        _copy_code(new / "code")
        (new / "shared" / CARRIED).parent.mkdir(parents=True)
        write_marian(checkpoint, new / "shared" / CARRIED, torch.float16)
        train = new / "shared/corpus/train"
        train.mkdir(parents=True)
        held_out = shared / "corpus" / recipe.validation.set
        (new / "shared/corpus" / recipe.validation.set).parent.mkdir(exist_ok=True)
        for language in (checkpoint.source_languages[0], checkpoint.target_languages[0]):
            name = f"{recipe.validation.set}.{language}"
            shutil.copyfile(held_out.with_name(f"{held_out.name}.{language}"), new / "shared/corpus" / name)
        (new / RECIPE).write_text(json.dumps(asdict(carried), indent=1) + "\n")
        manifest_room = 200 * (sum(1 for _ in _files(new)) + len(recipe.sources))
        room = int(limit * _MIB) - sum(file.stat().st_size for file in _files(new)) - manifest_room
        contents, counts = _fitting(recipe, checkpoint, shared, room)
        for name, content in contents.items():
            (train / f"{name}{ENDING}").write_bytes(content)
        sums = {str(file.relative_to(new)): _sha256(file.read_bytes()) for file in _files(new)}
        (new / MANIFEST).write_text(json.dumps(sums, indent=1) + "\n")
    return counts


def run(path: Path, out: Path, until: Until, changes: Sequence[str] = ()) -> Progress:
    """Train a pack's recipe from the newest state in `out`, or begin, until this call ends.

    Args:
        path: of the pack.
        out: the directory of the run.
        until: ends this call.
        changes: lines of TOML that change the recipe.

    Raises:
        DataError: a file of the pack is missing or not what was packed.
        TrainingError: as in `models.train.loop.train`.
    """
    for name, expected in json.loads((path / MANIFEST).read_text()).items():
        if not (path / name).is_file() or _sha256((path / name).read_bytes()) != expected:
            raise DataError(f"{path / name}: this is not what was packed; carry the pack again.")
    values = changed(json.loads((path / RECIPE).read_text()), changes)
    return train_recipe(recipe_of(TrainRecipe, values, path / RECIPE), path / "shared", out, until=until)


def split(path: Path, run_directory: Path, out: Path, *, most: float = 16) -> int:
    """Write the weights of a run's newest state, the average where there is one, as the parts of a checkpoint.

    Args:
        path: of the pack, which has the vocabulary.
        run_directory: of the run.
        out: directory to write, in place of an older one.
        most: MiB of a part.

    Returns:
        The number of parts.

    Raises:
        DataError: the run has no state.
    """
    if (values := averages(run_directory)) is None:
        raise DataError(f"{run_directory}: there is no state of a run.")
    checkpoint = read_checkpoint(path / "shared" / CARRIED)
    with replaced_directory(out) as new:
        write_marian(replace(checkpoint, tensors={**checkpoint.tensors, **values}), new / "checkpoint")
        whole = _tar(new / "checkpoint")
        shutil.rmtree(new / "checkpoint")
        size = int(most * _MIB)
        parts = [whole[begin : begin + size] for begin in range(0, len(whole), size)]
        for number, part in enumerate(parts):
            (new / f"part-{number:02}").write_bytes(part)
        sums = {"whole": _sha256(whole), "parts": [_sha256(part) for part in parts]}
        (new / PARTS).write_text(json.dumps(sums, indent=1) + "\n")
    return len(parts)


def join(parts: Path, out: Path) -> None:
    """Put the parts together to the checkpoint that they were cut from.

    Raises:
        DataError: a part is missing or damaged, or `out` exists.
    """
    if out.exists():
        raise DataError(f"{out}: this exists already.")
    sums = json.loads((parts / PARTS).read_text())
    contents = []
    for number, expected in enumerate(sums["parts"]):
        part = parts / f"part-{number:02}"
        if not part.is_file() or _sha256(part.read_bytes()) != expected:
            raise DataError(f"{part}: this part is missing or damaged; bring it back again.")
        contents.append(part.read_bytes())
    whole = b"".join(contents)
    if _sha256(whole) != sums["whole"]:
        raise DataError(f"{parts / PARTS}: the parts are not those of one checkpoint.")
    with replaced_directory(out) as new, tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        archive.extractall(new, filter="data")


# --- the parts of a pack ----------------------------------------------------------------------------------------------


def _fitting(
    recipe: TrainRecipe, checkpoint: Checkpoint, shared: Path, room: int
) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return the packed text of each source, and its pairs: all of them, or as many as fit, by what an epoch takes."""
    names = [_stem(source) for source in recipe.sources]
    if len(set(names)) < len(names):
        raise DataError("Two sources of the recipe have the same name; give their files other names.")
    parts = dict(zip(names, read_parts(checkpoint, recipe, shared), strict=True))
    vocabulary = vocabulary_hash(checkpoint)
    lengths = {name: len(part.source.lengths) for name, part in parts.items()}
    contents = {name: _packed(part, lengths[name], vocabulary, recipe.run.seed) for name, part in parts.items()}
    if sum(map(len, contents.values())) <= room:
        return contents, lengths
    a_pair = {name: len(content) / lengths[name] for name, content in contents.items()}
    epoch = {name: min(lengths[name], part.cap or lengths[name]) for name, part in parts.items()}

    def drawn(factor: float) -> dict[str, int]:
        return {name: min(lengths[name], int(factor * epoch[name])) for name in names}

    low, high = 0.0, max(lengths[name] / epoch[name] for name in names)
    for _ in range(40):
        middle = (low + high) / 2
        fits = sum(a_pair[name] * count for name, count in drawn(middle).items()) <= room
        low, high = (middle, high) if fits else (low, middle)
    while any((counts := drawn(low)).values()):
        contents = {
            name: _packed(part, counts[name], vocabulary, recipe.run.seed)
            for name, part in parts.items()
            if counts[name]
        }
        if sum(map(len, contents.values())) <= room:
            return contents, counts
        low *= _SMALLER
    raise DataError("The limit leaves no room for text; code and weights alone need more.")


def _packed(part: Part, count: int, vocabulary: bytes, seed: int) -> bytes:
    """Pack so many pairs of a source, drawn at random, in their order."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(part.source.lengths))[:count])
    fields: dict[str, Any] = {}
    for name, side in (("source", part.source), ("target", part.target)):
        fields[f"{name}.ids"] = _taken(side, rows)
        fields[f"{name}.lengths"] = side.lengths[rows]
    return packed(fields, vocabulary)


def _taken(side: Side, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([side[int(row)] for row in rows])


def _stem(source: Source) -> str:
    return Path(source.name).name.partition(".")[0]


def _copy_code(code: Path) -> None:
    """Copy what `python -m models` needs."""
    for package in ("models", "kernels"):
        for file in (ROOT / package).rglob("*"):
            place = file.relative_to(ROOT)
            if file.suffix in {".py", ".toml", ".md", ".tsv"} and "store" not in place.parts:
                (code / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, code / place)
    engine = Path(str(_engine.__file__))
    shutil.copyfile(engine, code / "kernels" / engine.name)


def _files(directory: Path) -> Iterator[Path]:
    return (file for file in sorted(directory.rglob("*")) if file.is_file())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tar(directory: Path) -> bytes:
    """Return the files of a directory as a tar, the same bytes for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for file in _files(directory):
            entry = tarfile.TarInfo(str(file.relative_to(directory)))
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                archive.addfile(entry, content)
    return out.getvalue()
