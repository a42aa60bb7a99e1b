"""Reading a checkpoint of any form: Marian's, the imported one, or a model directory."""

from pathlib import Path

from models.format.schema import CONFIG_FILE
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.coded import read_coded
from models.marian.files import read_object
from models.marian.imported import IMPORTED, read_imported
from models.marian.marian import read_marian


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a directory of any form: Marian's, one that `import` wrote, or a model directory in its deepest codes.

    Raises:
        CheckpointError: it can't be read, or the engine can't represent the model.
        ModelError: it is a model directory that is not valid.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: there is no such directory.")
    config = read_object(path, CONFIG_FILE)
    if "format_version" in config:
        return read_coded(path)
    return read_imported(path, config) if config.get("format") == IMPORTED else read_marian(path, config)
