"""Reading a checkpoint of any form: of transformers, Marian, Bergamot, CTranslate2 or Argos, imported, or coded."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.format.languages import canonical
from models.format.schema import CONFIG_FILE
from models.marian.argos import PACKAGE, read_argos
from models.marian.bergamot import read_bergamot, student_file
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.coded import read_coded
from models.marian.ctranslate2 import WEIGHTS, read_ctranslate2
from models.marian.files import read_object, refuse_pointers
from models.marian.imported import IMPORTED, read_imported
from models.marian.m2m import M2M, read_m2m
from models.marian.marian import read_marian
from models.marian.names import is_group, languages_of_card
from models.marian.npz import read_npz

_MOSES = {"README.md": "pre-processing: normalization", "preprocess.sh": "normalize-punctuation"}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def read_checkpoint(
    path: Path, sources: Sequence[str] = (), targets: Sequence[str] = (), moses_punctuation: bool | None = None
) -> Checkpoint:
    """Read a model of any form, of transformers, Marian, Bergamot, CTranslate2, Argos, `import`, or a model directory.

    Args:
        path: a directory, or a package of Argos; of a model directory the deepest codes are read.
        sources: languages, in place of what the model calls them.
        targets: likewise; where a token asks for the target, those to keep.
        moses_punctuation: whether it was trained on text whose punctuation Moses had normalised; None for what the
            files beside it say.

    Raises:
        CheckpointError: it can't be read, or the engine can't represent the model.
        ModelError: it is a model directory that is not valid.
    """
    checkpoint = _listed(path, _read(path))
    sources = tuple(dict.fromkeys(map(canonical, sources))) or checkpoint.source_languages
    targets = tuple(dict.fromkeys(map(canonical, targets)))
    told = checkpoint.source_tokens
    if told:
        if unknown := sorted(set(sources) - told.keys()):
            raise CheckpointError(f"{path}: it has no source {unknown[0]!r}; it has {', '.join(sorted(told))}.")
        told = {language: token for language, token in told.items() if language in sources}
    marks, ids = checkpoint.target_tokens, checkpoint.ids
    if marks:
        if unknown := sorted(set(targets) - marks.keys()):
            raise CheckpointError(f"{path}: it has no target {unknown[0]!r}; it has {', '.join(sorted(marks))}.")
        left_out = {token for language, token in marks.items() if language not in (targets or marks)}
        if checkpoint.tokens.begin_targets:  # no translation shall have one
            rows = (row for row, piece in enumerate(checkpoint.source_pieces) if piece in left_out)
            ids = replace(ids, suppressed=tuple(sorted({*ids.suppressed, *rows})))
        marks = {language: token for language, token in marks.items() if token not in left_out}
        targets = tuple(sorted(marks))
    targets = targets or checkpoint.target_languages
    if not sources or not targets:
        raise CheckpointError(
            f"{path}: nothing in it names its languages; give --source-languages and --target-languages."
        )
    for side, languages in (("source", sources), ("target", targets)):
        if group := next(filter(is_group, languages), None):
            raise CheckpointError(
                f"{path}: it calls its {side} languages {group!r}, which is a group; list those that are wanted by "
                f"--{side}-languages, such as es,ca,pt."
            )
    if moses_punctuation is None:
        moses_punctuation = checkpoint.moses_punctuation or _says_moses(path)
    return replace(
        checkpoint,
        source_languages=sources,
        target_languages=targets,
        target_tokens=marks,
        ids=ids,
        moses_punctuation=moses_punctuation,
        source_tokens=told,
    )


def _says_moses(path: Path) -> bool:
    """Tell whether the card of a model of Opus-MT, or the script that came with it, has Moses normalise its text."""
    return any(
        (path / name).is_file() and said in (path / name).read_text(encoding="utf-8", errors="replace")
        for name, said in _MOSES.items()
    )


def _listed(path: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Put the languages that the model's card lists in the place of groups."""
    card = path / "README.md"
    found = languages_of_card(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else {}
    sources, targets = (
        found.get(side, own) if any(map(is_group, own)) else own
        for side, own in (("source", checkpoint.source_languages), ("target", checkpoint.target_languages))
    )
    return replace(checkpoint, source_languages=sources, target_languages=targets)


def _read(path: Path) -> Checkpoint:
    if path.exists():
        refuse_pointers(path)
    if path.suffix == PACKAGE and path.is_file():
        return read_argos(path)
    if fault := _not_a_checkpoint(path):
        raise CheckpointError(f"{path}: {fault}.")
    if (path / WEIGHTS).exists():
        return read_ctranslate2(path)
    if not (path / CONFIG_FILE).exists() and next(path.glob("*.npz"), None):
        return read_npz(path)
    if not (path / CONFIG_FILE).exists() and student_file(path):
        return read_bergamot(path)
    config = read_object(path, CONFIG_FILE)
    if "format_version" in config:
        return read_coded(path)
    if config.get("format") == IMPORTED:
        return read_imported(path, config)
    return read_m2m(path, config) if config.get("model_type") == M2M else read_marian(path, config)


def _not_a_checkpoint(path: Path) -> str | None:
    """Say what a path is that holds no checkpoint, and what to do, without a full stop; None if it may hold one."""
    if path.is_file():
        if path.suffix in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"):
            return "this is an archive; unpack it, and give the folder in it"
        return "this is a file; give the folder that holds config.json and the weights"
    if not path.exists():
        if HUB_NAME.fullmatch(str(path)):
            return (
                "there is no such directory. If it is a model of the Hugging Face hub, download it first: "
                f"huggingface-cli download {path} --local-dir {path.name}"
            )
        return "there is no such directory"
    if (path / CONFIG_FILE).exists() or (path / WEIGHTS).exists():
        return None
    found = {entry.name for entry in path.iterdir()}
    if any(name.endswith(".npz") for name in found) or student_file(path):
        return None
    if any(".intgemm" in name for name in found):
        return "this is a student of Bergamot (Firefox) whose files are compressed; unpack them (gunzip *.gz)"
    inner = sorted(entry.name for entry in path.iterdir() if (entry / CONFIG_FILE).exists())
    if inner:
        return f"there is no {CONFIG_FILE} here, but there is one in the folder {inner[0]}"
    return None
