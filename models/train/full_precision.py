"""Training in full precision: from a Marian checkpoint's weights, or from random ones with its vocabulary."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.format.faults import architecture_fault
from models.format.layout import matrix_shapes, vector_sizes
from models.format.schema import Architecture
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.marian.marian import write_marian
from models.marian.read import read_checkpoint
from models.train.dataset import corpus_of
from models.train.device import Device
from models.train.loop import TO_THE_END, Until, train
from models.train.network import Network
from models.train.recipe import RecipeError, TrainRecipe, located
from models.train.state import Progress
from models.train.validation import HeldOut


def trained(checkpoint: Checkpoint) -> dict[str, nn.Parameter]:
    """Return parameters for the tensors of a checkpoint, but for the output bias, which Marian does not train."""
    return {name: nn.Parameter(t.clone()) for name, t in checkpoint.tensors.items() if name != "output.bias"}


class Plain:
    """The objective of `train`: label-smoothed cross entropy of the labels."""

    def __init__(self, recipe: TrainRecipe, checkpoint: Checkpoint) -> None:
        self.parameters, self.schedules = trained(checkpoint), [recipe.schedule]
        self._checkpoint, self._smoothing = checkpoint, recipe.label_smoothing
        self._network = Network(checkpoint, Device(recipe.run))

    def enter(self, phase: int, *, resumed: bool) -> list[str]:
        """Prepare nothing: there is one phase."""
        return []

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the mean loss of a label."""
        return self._network.loss(self.parameters, batch, smoothing=self._smoothing)

    def after_step(self, step: int) -> None:
        """Do nothing after a step."""

    def versions(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Yield the model itself."""
        yield "", {**self._checkpoint.tensors, **values}

    def write(self, values: Mapping[str, Tensor], path: Path) -> None:
        """Write a Marian directory."""
        write_marian(replace(self._checkpoint, tensors={**self._checkpoint.tensors, **values}), path)


def fresh(checkpoint: Checkpoint, shape: Mapping[str, int | str], seed: int) -> Checkpoint:
    """Return random weights for the vocabulary of a checkpoint and its architecture, but for the fields in `shape`.

    Raises:
        RecipeError: `shape` has an unknown field or is not possible.
    """
    known = set(Architecture.__annotations__) - {"source_vocab_size", "target_vocab_size"}
    if unknown := sorted(name for name in shape if name not in known):
        raise RecipeError(f"init.shape: the field {unknown[0]!r} is unknown or belongs to the vocabulary.")
    for name, value in shape.items():
        if isinstance(value, str) != (name == "autoregression"):
            raise RecipeError(f"init.shape: {name} can't be {value!r}.")
    fields: dict[str, Any] = dict(shape)
    architecture = replace(checkpoint.architecture, **fields)
    if fault := architecture_fault(architecture):
        raise RecipeError(f"init.shape: {fault}.")
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (rows, columns) in matrix_shapes(architecture).items():
        # Xavier's for the layers; scaled embeddings have rows of length 1
        bound = math.sqrt(6 / (rows + columns))
        tensors[name] = torch.empty(rows, columns).uniform_(-bound, bound, generator=generator)
        if name.endswith("embedding"):
            tensors[name].normal_(0, architecture.d_model**-0.5, generator=generator)
    for name, size in vector_sizes(architecture, output_bias=False).items():
        tensors[name] = torch.ones(size) if name.endswith(".gain") else torch.zeros(size)
    return replace(checkpoint, architecture=architecture, tensors=tensors)


def reversed_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint as a start for the other direction: its languages change places, its weights stay.

    Raises:
        RecipeError: its sides don't share a vocabulary, or it has several targets.
    """
    if checkpoint.target_pieces is not None or checkpoint.target_tokens:
        raise RecipeError("init.reverse needs a checkpoint of one target whose two languages share their vocabulary.")
    return replace(
        checkpoint,
        source_languages=checkpoint.target_languages,
        target_languages=checkpoint.source_languages,
        ids=replace(checkpoint.ids, unk_source=checkpoint.ids.unk_target, unk_target=checkpoint.ids.unk_source),
        spm={"source.spm": checkpoint.spm["target.spm"], "target.spm": checkpoint.spm["source.spm"]},
    )


def first_checkpoint(recipe: TrainRecipe, shared: Path) -> Checkpoint:
    """Return the weights that a recipe begins with.

    Raises:
        RecipeError: the checkpoint does not suit the recipe.
    """
    init = recipe.init
    checkpoint = read_checkpoint(located(init.checkpoint, shared))
    if init.reverse:
        checkpoint = reversed_checkpoint(checkpoint)
    return fresh(checkpoint, init.shape, recipe.run.seed) if init.fresh else checkpoint


def train_recipe(recipe: TrainRecipe, shared: Path, out: Path, *, until: Until = TO_THE_END) -> Progress:
    """Train by a recipe.

    Args:
        recipe: of the run.
        shared: the folder of corpus/ and checkpoint/.
        out: the directory of the run; OUT/model is a Marian directory.
        until: as in `models.train.loop.train`.

    Raises:
        RecipeError: the checkpoint does not suit the recipe.
        TrainingError: as in `models.train.loop.train`.
    """
    init, checkpoint = recipe.init, first_checkpoint(recipe, shared)
    corpus = corpus_of(recipe, checkpoint, shared)
    held_out = HeldOut(checkpoint, recipe.validation, recipe.batches.lengths, shared, Device(recipe.run))
    begin = located(init.run, shared) if init.run else None
    return train(recipe, Plain(recipe, checkpoint), corpus, held_out, out, begin=begin, until=until)
