"""Retrained weights in the directory of their model, as further configurations of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.format.directory import ModelDirectory, open_model
from models.format.schema import SENTENCEPIECE_FILES, ModelError, Weights
from models.format.write import write_model


def assemble(
    path: Path,
    retrained: Sequence[Path],
    *,
    default: str | None = None,
    without: Sequence[str] = (),
    beam_size: int | None = None,
) -> None:
    """Add specialised codes to a model directory, or replace those of the same configurations.

    Args:
        path: the model directory.
        retrained: directories that `retrain` wrote, of the same vocabulary in the same order.
        default: the configuration that serves by default from now on; None leaves it.
        without: configurations that are no longer listed, such as widths whose translations are of no use.
        beam_size: hypotheses that the search keeps for requests that name no number, 1 to 8; None leaves it.

    Raises:
        ModelError: one of them is not of this model, or there is no such configuration.
    """
    model = open_model(path)
    config = model.config
    configurations, specialised = dict(config.configurations), dict(config.specialised)
    tensors = {name: mapped.tensors for name, mapped in model.specialised.items()}
    for directory in retrained:
        other = open_model(directory)
        if fault := _fault(model, other):
            raise ModelError(f"{directory}: {fault}.")
        name = other.config.default_configuration
        configurations[name] = other.config.configurations[name]
        specialised[name] = Weights(other.config.codes, other.config.matrices)
        tensors[name] = other.main.tensors
    if unknown := [name for name in without if name not in configurations]:
        raise ModelError(f"{path}: it has no configuration {unknown[0]!r} to leave out.")
    for name in without:
        del configurations[name]
        specialised.pop(name, None)
        tensors.pop(name, None)
    config = replace(
        config,
        configurations=configurations,
        specialised=specialised,
        default_configuration=default or config.default_configuration,
        beam_size=beam_size or config.beam_size,
        shortlist=None if config.shortlist is None else tuple(n for n in config.shortlist if n in configurations),
    )
    files = {name: (path / name).read_bytes() for name in (*SENTENCEPIECE_FILES, "README.md")}
    write_model(
        path,
        config,
        model.main.tensors,
        model.vocabulary,
        files,
        specialised=tensors,
        shortlist=model.shortlist.tensors if model.shortlist else {},
        overwrite=True,
    )


def _fault(model: ModelDirectory, other: ModelDirectory) -> str | None:
    """Say why the codes of `other` can't join the model, without a full stop; None if they can."""
    if other.config.codes.kind != "specialised" or other.config.specialised:
        return "only a directory of codes that are specialised to one configuration can join another"
    fields = ("source_languages", "target_languages", "target_tokens", "architecture", "ids")
    for field in fields:
        if getattr(model.config, field) != getattr(other.config, field):
            return f"its {field} differs from that of {model.path}"
    if model.vocabulary != other.vocabulary:
        return f"its vocabulary, or the order of its pieces, differs from that of {model.path}"
    if any((model.path / name).read_bytes() != (other.path / name).read_bytes() for name in SENTENCEPIECE_FILES):
        return f"its SentencePiece models differ from those of {model.path}"
    return None
