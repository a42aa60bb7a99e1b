"""Reading a checkpoint of any form: Marian's, the imported one, or a model directory."""

import re
from pathlib import Path

from models.format.schema import CONFIG_FILE
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.coded import read_coded
from models.marian.files import read_object
from models.marian.imported import IMPORTED, read_imported
from models.marian.marian import read_marian

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a directory of any form: Marian's, one that `import` wrote, or a model directory in its deepest codes.

    Raises:
        CheckpointError: it can't be read, or the engine can't represent the model.
        ModelError: it is a model directory that is not valid.
    """
    if fault := _not_a_checkpoint(path):
        raise CheckpointError(f"{path}: {fault}.")
    config = read_object(path, CONFIG_FILE)
    if "format_version" in config:
        return read_coded(path)
    return read_imported(path, config) if config.get("format") == IMPORTED else read_marian(path, config)


def _not_a_checkpoint(path: Path) -> str | None:
    """Say what a path is that holds no checkpoint, and what to do, without a full stop; None if it may hold one."""
    if path.is_file():
        if path.suffix in (".zip", ".argosmodel", ".tar", ".gz", ".tgz", ".bz2", ".xz"):
            return "this is an archive; unpack it, and give the folder in it"
        return "this is a file; give the folder that holds config.json and the weights"
    if not path.exists():
        if HUB_NAME.fullmatch(str(path)):
            return (
                "there is no such directory. If it is a model of the Hugging Face hub, download it first: "
                f"huggingface-cli download {path} --local-dir {path.name}"
            )
        return "there is no such directory"
    if (path / CONFIG_FILE).exists() and not (path / "model.bin").exists():
        return None
    found = {entry.name for entry in path.iterdir()}
    if "model.bin" in found:
        return "this is a model of CTranslate2, whose weights are rounded already; give the checkpoint it was made of"
    if any(name.endswith(".npz") for name in found):
        return (
            "this is a model as Marian itself writes it (.npz); convert it by "
            "transformers/models/marian/convert_marian_to_pytorch.py, and give what that writes"
        )
    if any(".intgemm" in name for name in found):
        return "this is a student of Bergamot (Firefox), whose decoder has no self-attention; it can't be read"
    inner = sorted(entry.name for entry in path.iterdir() if (entry / CONFIG_FILE).exists())
    if inner:
        return f"there is no {CONFIG_FILE} here, but there is one in the folder {inner[0]}"
    return None
