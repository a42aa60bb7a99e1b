"""Retraining of codes: the network learns to do with the few planes of a bit configuration.

A recipe's phases say from when on which matrices are coded (the paper: embedding, decoder, encoder), and may freeze
tensors; methods.py has the ways to code them. The targets are the labels of the text and, by the share `distillation`,
the predictions of the fp32 model after the same target ids. Rows are sorted by word frequency from the start, as the
model directory wants them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from kernels.tensor import Array
from models.codes import bcq
from models.codes.bit_config import Apportioned, BitConfig, find_config, shipped_configs
from models.format.layout import matching, matrix_shapes
from models.format.vocabulary import Vocabulary
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.marian.read import read_checkpoint
from models.marian.rows import piece_counts, sort_rows
from models.quantize.export import Request, write_coded
from models.train.dataset import corpus_of
from models.train.device import Device
from models.train.full_precision import trained
from models.train.loop import TO_THE_END, Until, train
from models.train.methods import method_of
from models.train.network import Network
from models.train.recipe import Phase, RecipeError, RetrainRecipe, Source, located
from models.train.sampled_softmax import Sample, draw
from models.train.state import Progress
from models.train.validation import HeldOut
from models.train.warm_start import WarmStart, read_warm_start


@dataclass(frozen=True)
class Target:
    """The model directory that a retraining ends in.

    Attributes:
        base: the bit configuration.
        others: configurations that the file serves too: of nested codes the narrower widths, which were trained.
        vocabulary: rows in the order of the checkpoint in training.
        texts: in which its pieces were counted.
    """

    name: str
    base: BitConfig | Apportioned
    others: tuple[BitConfig, ...]
    vocabulary: Vocabulary
    texts: tuple[Path, ...]
    notes: str


class Retraining:
    """The objective of `retrain`."""

    def __init__(
        self, recipe: RetrainRecipe, checkpoint: Checkpoint, target: Target, warm_start: WarmStart | None = None
    ) -> None:
        """Begin with the weights of the warm start, or with the checkpoint's.

        Args:
            recipe: of the run.
            checkpoint: the fp32 model, the teacher, its rows sorted by word frequency.
            target: what is written.
            warm_start: weights and scales of an earlier retraining.
        """
        self.schedules = [phase.schedule for phase in recipe.phases]
        self._recipe, self._checkpoint, self._target = recipe, checkpoint, target
        device = Device(recipe.run)
        self._network = Network(checkpoint, device)
        self._teacher = {name: tensor.to(device.torch) for name, tensor in checkpoint.tensors.items()}
        self._allocation = target.base.allocation(checkpoint.architecture)
        self._phases = coded_from(recipe.phases, matrix_shapes(checkpoint.architecture))
        self.method = method_of(recipe.codes, self._allocation, recipe.run.seed, warm_start)
        first = {**checkpoint.tensors, **warm_start.tensors} if warm_start else checkpoint.tensors
        self._weights = trained(replace(checkpoint, tensors=first))
        self.parameters = {**self._weights, **self.method.scales}
        self._coded: list[str] = []

    # --- the curriculum -----------------------------------------------------------------------------------------------

    def enter(self, phase: int, *, resumed: bool) -> list[str]:
        """Code the matrices that this phase adds, and freeze the tensors that it freezes."""
        before = [name for name, first in self._phases.items() if first < phase] if phase else []
        self._coded = [name for name, first in self._phases.items() if first <= phase]
        frozen = frozen_tensors(self._recipe.phases[phase], self.parameters)
        for name, parameter in self.parameters.items():
            matrix, scales, _ = name.partition(".scales.")
            is_learnt = matrix in self._coded if scales else self._recipe.codes.learn == "all"
            parameter.requires_grad_(is_learnt and name not in frozen)
        if resumed:
            return []
        return self.method.begin([name for name in self._coded if name not in before], self.parameters)

    # --- a step -------------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the loss of labels and of the fp32 model's predictions, as the recipe mixes them."""
        seen = {name: self.method.seen(name, self._weights[name], step) for name in self._coded}
        return self._network.loss(
            {**self._weights, **seen},
            batch,
            smoothing=self._recipe.label_smoothing,
            teacher=self._teacher,
            share=self._recipe.distillation,
            sample=self._sample(batch, step),
        )

    def _sample(self, batch: Batch, step: int) -> Sample | None:
        """Return the sample of the vocabulary for a step, None for all of it."""
        if not (count := self._recipe.sampled_words):
            return None
        vocabulary = self._checkpoint.architecture.target_vocab_size
        return draw(batch.labels.flatten(), vocabulary, count // 2, count // 2, [self._recipe.run.seed, step])

    def after_step(self, step: int) -> None:
        """Let the method follow the step."""
        self.method.after_step(step, self._coded, self.parameters)

    # --- the result ---------------------------------------------------------------------------------------------------

    def codes(self, values: Mapping[str, Tensor]) -> dict[str, list[bcq.BinaryCode]]:
        """Return the codes of every matrix that is coded by now."""
        return {name: self.method.codes(name, values) for name in self._coded}

    def versions(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Yield what the engine would compute with: values of the codes, and floats of what is not coded yet."""
        plain = {**self._checkpoint.tensors, **{name: values[name] for name in self._weights}}
        if self.method.kind == "specialised":  # such a file has its vectors in float16
            plain |= {name: t.half().float() for name, t in plain.items() if name not in self._allocation}
        for label, matrices in self.method.versions(self.codes(values)):
            yield label, plain | matrices

    def write(self, values: Mapping[str, Tensor], path: Path) -> None:
        """Write a model directory with exactly the codes whose values `versions` yields."""
        target, method = self._target, self.method
        checkpoint = replace(self._checkpoint, tensors={**self._checkpoint.tensors, **values})
        tensors: dict[str, Array] = {
            name: checkpoint.tensors[name].numpy() for name in self._checkpoint.tensors if name not in self._allocation
        }
        if "output.bias" in tensors and not tensors["output.bias"].any():
            del tensors["output.bias"]  # the format takes an absent one for zeros
        matrices = {}
        for name, codes in self.codes(values).items():
            packed, matrices[name] = method.pack(name, values[name], codes)
            tensors |= packed
        request = Request(
            name=target.name,
            base=target.base,
            others=target.others,
            kind=method.kind,
            depth=method.depth,
            solver=self._recipe.codes.solver,
            group_size=None,
        )
        how = "distilled" if self._recipe.distillation else "retrained"
        write_coded(
            checkpoint,
            target.vocabulary,
            request,
            tensors,
            {name: matrices[name] for name in self._allocation},
            path,
            solver=f"{self._recipe.codes.method}, {how}",
            texts=target.texts,
            notes=target.notes,
            overwrite=True,
        )


def coded_from(phases: Sequence[Phase], matrices: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Return for every matrix the phase from which on it is coded.

    Raises:
        RecipeError: no phase codes a matrix.
    """
    first: dict[str, int] = {}
    for number, phase in enumerate(phases):
        for name in matching(matrices, *phase.code):
            first.setdefault(name, number)
    if missing := [name for name in matrices if name not in first]:
        raise RecipeError(f"No phase codes the matrix {missing[0]!r}.")
    return {name: first[name] for name in matrices}


def frozen_tensors(phase: Phase, parameters: Mapping[str, Tensor]) -> set[str]:
    """Return the names of the parameters that a phase freezes; a matrix takes its scales with it.

    Raises:
        RecipeError: a glob matches nothing.
    """
    frozen: set[str] = set()
    for glob in phase.freeze:
        if not (found := matching(parameters, glob)):
            raise RecipeError(f"The phase {phase.name!r} freezes {glob!r}, which matches no tensor.")
        frozen |= set(found)
    return frozen


def retrain_recipe(
    recipe: RetrainRecipe, shared: Path, out: Path, *, notes: str = "", until: Until = TO_THE_END
) -> Progress:
    """Retrain by a recipe.

    Args:
        recipe: of the run.
        shared: the folder of corpus/ and checkpoint/.
        out: the directory of the run; OUT/model is the model directory.
        notes: text of its card on data and licences; empty for a table of the recipe's sources.
        until: as in `models.train.loop.train`.

    Raises:
        RecipeError: checkpoint, codes and phases do not fit together.
        TrainingError: as in `models.train.loop.train`.
    """
    checkpoint = read_checkpoint(located(recipe.init.checkpoint, shared))
    texts = tuple(Source(name, "").path(shared / "corpus") for name in recipe.codes.text)
    base = find_config(recipe.codes.config)
    widths = [config for config in shipped_configs().values() if config.is_flat and config.name != base.name]
    checkpoint, vocabulary = sort_rows(checkpoint, *piece_counts(checkpoint, texts))
    target = Target(
        name="-".join((*checkpoint.source_languages, *checkpoint.target_languages)),
        base=base,
        others=tuple(widths) if recipe.codes.prefix else (),
        vocabulary=vocabulary,
        texts=texts,
        notes=notes or licences(recipe.sources),
    )
    warm_start = read_warm_start(recipe.codes, base, checkpoint, vocabulary, shared, recipe.run.seed)
    objective = Retraining(recipe, checkpoint, target, warm_start)
    corpus = corpus_of(recipe, checkpoint, shared)
    held_out = HeldOut(checkpoint, recipe.validation, recipe.batches.lengths, shared, Device(recipe.run))
    return train(recipe, objective, corpus, held_out, out, until=until)


def licences(sources: Sequence[Source]) -> str:
    """Return the text of the card on the data of a recipe."""
    rows = "\n".join(f"| {source.name} | {source.licence} |" for source in sources)
    return f"## Data and licences\n\nRetrained on these sources.\n\n| source | licence |\n| --- | --- |\n{rows}"
