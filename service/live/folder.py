"""The model directories that may be served, by name: those of a folder, or a single one."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from models.format.directory import ModelDirectory, open_model
from models.format.schema import ModelError
from models.format.store import ADVICE, installed
from service.live.model import UnknownModel
from service.settings import Settings

_MOST_NAMED = 20  # in a sentence
_log = logging.getLogger("sub3.models")


class ModelFolder:
    """Model directories by name, and the faults of the bad ones. A client's name is looked up, never part of a path."""

    def __init__(self, paths: Callable[[], Mapping[str, Path]], *, in_memory: bool = False) -> None:
        """Take a function that lists the present directories by name, and whether weights are read into memory."""
        self._paths, self._in_memory = paths, in_memory
        self.faults: dict[str, str] = {}  # a sentence by name, for those that were to be served

    def names(self) -> list[str]:
        """List the present names in order."""
        return sorted(self._paths())

    def path(self, name: str) -> Path:
        """Return the path of a model.

        Raises:
            UnknownModel: there is no model of that name.
        """
        paths = self._paths()
        if name not in paths:
            raise UnknownModel(f"There is no model directory of that name; the models are {_listed(sorted(paths))}.")
        return paths[name]

    def open(self, name: str, *, verify: bool = True) -> ModelDirectory:
        """Open a directory; the model gets the directory's name, whatever config.json calls it.

        Raises:
            UnknownModel: there is no model of that name.
            ModelError: it is bad.
        """
        directory = open_model(self.path(name), verify=verify, in_memory=self._in_memory)
        return replace(directory, config=replace(directory.config, name=name))

    def fault(self, name: str, sentence: str) -> None:
        """Remember why a model is not served, and log it."""
        self.faults[name] = sentence
        _log.error("The model %s is not served: %s", name, sentence)


def _listed(names: list[str]) -> str:
    """Join names for a sentence, with a count instead of the last ones where there are many."""
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    return ", ".join(names) or "none"


def open_models(settings: Settings) -> tuple[ModelFolder, list[ModelDirectory]]:
    """Open the folder of the settings, and those directories to be served that are good.

    Raises:
        ModelError: none of them is good.
    """
    if settings.model_directory is not None:
        directory = open_model(settings.model_directory, in_memory=settings.weights_in_memory)
        paths = {directory.config.name: directory.path}
        return ModelFolder(lambda: paths, in_memory=settings.weights_in_memory), [directory]
    folder = ModelFolder(lambda: installed(settings.models_directory), in_memory=settings.weights_in_memory)
    directories = []
    for name in settings.served_names or folder.names():
        try:
            directories.append(folder.open(name))
        except (ModelError, UnknownModel) as error:
            folder.fault(name, str(error))
    if not directories:
        reasons = " ".join(folder.faults.values()) or f"there is no model directory in it; {ADVICE}."
        raise ModelError(f"{settings.models_directory}: no model can be served: {reasons}")
    return folder, directories
