"""Where installed models are looked for: one rule for the server and the commands."""

import os
from collections.abc import Mapping
from pathlib import Path

from models.format.directory import open_model
from models.format.faults import NAME
from models.format.schema import ModelError

SHIPPED = Path(__file__).parents[1] / "store"  # the models that come with the code, also in a wheel
ADVICE = "set SUB3_MODELS_DIRECTORY to a folder of model directories"


def installed(folder: Path) -> dict[str, Path]:
    """Return the model directories of a folder by name.

    Raises:
        ModelError: the folder can't be listed.
    """
    # a name that begins with a dot is not valid: copies and new models are made under such names, then renamed
    try:
        return {path.name: path for path in sorted(folder.iterdir()) if NAME.fullmatch(path.name) and path.is_dir()}
    except OSError as error:
        raise ModelError(f"{folder}: the models can't be listed: {error.strerror}; {ADVICE}.") from None


def found(environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Return the model directories by name that the server would serve with this environment.

    They are SUB3_MODEL_DIRECTORY alone, or those in SUB3_MODELS_DIRECTORY, or those that come with the code.

    Raises:
        ModelError: there is none.
    """
    if single := environment.get("SUB3_MODEL_DIRECTORY"):
        path = Path(single)
        return {open_model(path, verify=False).config.name: path}
    folder = Path(environment.get("SUB3_MODELS_DIRECTORY") or SHIPPED)
    if not (models := installed(folder)):
        raise ModelError(f"{folder}: there is no model directory in it; {ADVICE}.")
    return models
