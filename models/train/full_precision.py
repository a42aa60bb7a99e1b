"""Training in full precision: a Marian checkpoint goes on, or one of its vocabulary begins anew."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.format.faults import architecture_fault
from models.format.layout import matrix_shapes, vector_sizes
from models.format.schema import Architecture
from models.marian.checkpoint import Checkpoint
from models.marian.marian import write_marian
from models.marian.read import read_checkpoint
from models.marian.transformer import Transformer
from models.train.dataset import Batch
from models.train.loop import HeldOut, Progress, label_loss, train
from models.train.recipe import RecipeError, TrainRecipe
from models.train.sampled_softmax import Sample

# A CPU without bf16 products emulates them: a step takes 20 times as long on a Zen 3 as in fp32.
_CAPABILITIES = torch.cpu.get_capabilities()
BF16_PRODUCTS = any(_CAPABILITIES.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last: Arm


class Network:
    """The Transformer as a function of its tensors: logits, by bf16 products where the CPU has them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors).requires_grad_(False)
        self._names = {
            name: f"{name}.weight" if name in matrix_shapes(checkpoint.architecture) else name
            for name in checkpoint.tensors
        }

    def log_probabilities(self, tensors: Mapping[str, Tensor], batch: Batch, words: Sample | None = None) -> Tensor:
        """Of every word, or of a sample of them, after every target id: float32 [ids, words].

        Args:
            tensors: by the names of a checkpoint.
            batch: the sentences.
            words: what stands for the vocabulary; each word for as many as its weight says.
        """
        named = {self._names[name]: tensor for name, tensor in tensors.items()}
        inputs = batch.source, batch.target, batch.source_mask, words and words.ids
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=BF16_PRODUCTS):
            logits = functional_call(self._model, named, inputs).flatten(0, 1).float()
        return (logits if words is None else logits + words.log_weights).log_softmax(1)


def trained(checkpoint: Checkpoint) -> dict[str, nn.Parameter]:
    """Parameters from the tensors; Marian's output bias is none of them, it has always been what it is."""
    return {name: nn.Parameter(t.clone()) for name, t in checkpoint.tensors.items() if name != "output.bias"}


class Plain:
    """The objective of `train`: label-smoothed cross entropy of the labels."""

    def __init__(self, recipe: TrainRecipe, checkpoint: Checkpoint) -> None:
        self.parameters, self.schedules = trained(checkpoint), [recipe.schedule]
        self._checkpoint, self._network, self._smoothing = checkpoint, Network(checkpoint), recipe.label_smoothing

    def enter(self, phase: int, *, resumed: bool) -> list[str]:
        """There is one phase, with nothing to prepare."""
        return []

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Mean loss of a label."""
        return label_loss(
            self._network.log_probabilities(self.parameters, batch), batch.labels.flatten(), self._smoothing
        )

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def versions(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """The model itself."""
        yield "", {**self._checkpoint.tensors, **values}

    def write(self, values: Mapping[str, Tensor], path: Path) -> None:
        """A Marian directory."""
        write_marian(replace(self._checkpoint, tensors={**self._checkpoint.tensors, **values}), path)


def fresh(checkpoint: Checkpoint, shape: Mapping[str, int], seed: int) -> Checkpoint:
    """Random weights for the vocabulary of a checkpoint and its architecture, but for the fields in `shape`."""
    known = set(Architecture.__annotations__) - {"source_vocab_size", "target_vocab_size"}
    if unknown := sorted(name for name in shape if name not in known):
        raise RecipeError(f"init.shape: the field {unknown[0]!r} is unknown or belongs to the vocabulary.")
    architecture = replace(checkpoint.architecture, **shape)
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
    """The checkpoint as a start for the other direction: its languages change places, its weights stay.

    Raises:
        RecipeError: its sides don't share their words, or it has several targets.
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


def train_recipe(recipe: TrainRecipe, shared: Path, out: Path, *, steps: int | None = None) -> Progress:
    """Trains as the recipe says; see `models.train.loop.train` for `steps` and the files in `out`."""
    checkpoint = read_checkpoint(shared / recipe.init.checkpoint)
    if recipe.init.reverse:
        checkpoint = reversed_checkpoint(checkpoint)
    if recipe.init.fresh:
        checkpoint = fresh(checkpoint, recipe.init.shape, recipe.run.seed)
    elif recipe.init.shape:
        raise RecipeError("init.shape belongs to a fresh model (init.fresh = true).")
    corpus = recipe.corpus(checkpoint, shared)
    held_out = HeldOut(checkpoint, recipe.validation, recipe.batches.lengths, shared)
    return train(recipe, Plain(recipe, checkpoint), corpus, held_out, out, steps=steps)
