"""Retraining of codes: the network learns to do with the few planes of a bit configuration.

Two methods, both in the paper's phases (embedding, decoder, encoder), which only say what is coded from when on:

    ste   every matrix is seen through the nearest code of its scales; both are learned (models/learned.py)
    pnr   the paper's: weights train in full precision and are replaced by their codes every `period` steps

The labels of the text and, by the share `distillation`, the words that the fp32 model finds likely after the same
target ids are what is to be predicted. Rows are sorted by word frequency from the start, as the model directory wants
them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kernels.tensor import Array
from models.codes import bcq
from models.codes.bit_config import BitConfig, find_config, shipped_configs
from models.codes.straight_through import binary_code, coded
from models.format.layout import matching, matrix_shapes
from models.format.schema import Segment
from models.format.vocabulary import Vocabulary
from models.marian.checkpoint import Checkpoint
from models.marian.read import read_checkpoint
from models.marian.rows import sort_rows, word_counts
from models.quantize.export import Request, pack_progressive, pack_specialised, write_coded
from models.train.dataset import Batch, Source
from models.train.full_precision import Network, trained
from models.train.loop import HeldOut, Progress, label_loss, train
from models.train.recipe import Codes, Phase, RecipeError, RetrainRecipe
from models.train.sampled_softmax import draw
from models.train.warm_start import Begun, begin_with


@dataclass(frozen=True)
class Target:
    """The model directory that a retraining ends in.

    Attributes:
        base: the bit configuration.
        others: configurations that a file of nested codes may serve too.
        vocabulary: rows in the order of the checkpoint in training.
        texts: where its words were counted.
    """

    name: str
    base: BitConfig
    others: tuple[BitConfig, ...]
    vocabulary: Vocabulary
    texts: tuple[Path, ...]
    notes: str


class Retraining:
    """The objective of `retrain`."""

    def __init__(
        self, recipe: RetrainRecipe, checkpoint: Checkpoint, target: Target, begun: Begun | None = None
    ) -> None:
        self.schedules = [phase.schedule for phase in recipe.phases]
        self._recipe, self._settings, self._checkpoint, self._target = recipe, recipe.codes, checkpoint, target
        self._network = Network(checkpoint)
        self._allocation = target.base.allocation(checkpoint.architecture)
        self._phases = coded_from(recipe.phases, matrix_shapes(checkpoint.architecture))
        self._begun = begun
        first = {**checkpoint.tensors, **begun.tensors} if begun else checkpoint.tensors
        self.parameters = trained(replace(checkpoint, tensors=first))
        if self._settings.method == "ste":
            for name, segments in self._segments().items():
                for rows, k in segments:
                    self.parameters[f"{name}.scales.{k}"] = nn.Parameter(torch.zeros(k, rows.stop - rows.start))
        self._coded: list[str] = []

    def _segments(self) -> dict[str, list[tuple[slice, int]]]:
        """Matrix -> the rows and the planes of its scales; nested codes have scales of all rows for every prefix."""
        if self._settings.prefix:
            depth = self._depth
            return {
                name: [(slice(0, segments[-1].end), k) for k in range(1, depth + 1)]
                for name, segments in self._allocation.items()
            }
        return {
            name: [(slice(s.begin, s.end), s.planes) for s in segments] for name, segments in self._allocation.items()
        }

    @property
    def _depth(self) -> int:
        return max(segments[0].planes for segments in self._allocation.values())

    # --- the curriculum -----------------------------------------------------------------------------------------------

    def enter(self, phase: int, *, resumed: bool) -> list[str]:
        """Codes what this phase adds, and freezes what it freezes."""
        before = [name for name, first in self._phases.items() if first < phase] if phase else []
        self._coded = [name for name, first in self._phases.items() if first <= phase]
        frozen = frozen_tensors(self._recipe.phases[phase], self.parameters)
        for name, parameter in self.parameters.items():
            matrix, _, _ = name.partition(".scales.")
            parameter.requires_grad_(name not in frozen and (name == matrix or matrix in self._coded))
        if resumed:
            return []
        added = [name for name in self._coded if name not in before]
        return self._project(added) if self._settings.method == "pnr" else self._begin_scales(added)

    @torch.no_grad()
    def _begin_scales(self, matrices: Sequence[str]) -> list[str]:
        """The scales of least error for the weights as they are."""
        begun = []
        for name in matrices:
            weights = self.parameters[name].detach()
            learnt = self._begun and self._begun.scales(name, self._allocation[name])
            if learnt:
                scales = learnt
            elif self._settings.prefix:
                scales = {k: alpha[:, 0] for k, alpha in bcq.progressive(weights, self._depth).scales.items()}
            else:
                scales = {k: bcq.specialised(weights[rows], k).scales[k][:, 0] for rows, k in self._segments()[name]}
            for k, alpha in scales.items():
                self.parameters[f"{name}.scales.{k}"].copy_(alpha)
                begun.append(f"{name}.scales.{k}")
        return begun

    @torch.no_grad()
    def _project(self, matrices: Sequence[str]) -> list[str]:
        """Weights replaced by what their codes stand for."""
        for name in matrices:
            weights = self.parameters[name]
            weights.copy_(_dequantized(self._solve(name, weights.detach()), self._allocation[name]))
        return list(matrices)

    def _solve(self, name: str, weights: Tensor) -> list[bcq.BinaryCode]:
        return [
            bcq.specialised(weights[s.begin : s.end], s.planes, solver=self._settings.solver)
            for s in self._allocation[name]
        ]

    # --- a step -------------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Labels and the fp32 model's words, as the recipe mixes them."""
        share, labels = self._recipe.distillation, batch.labels.flatten()
        words = None
        if count := self._recipe.sampled_words:
            vocabulary = self._checkpoint.architecture.target_vocab_size
            words = draw(labels, vocabulary, count // 2, count // 2, [self._recipe.run.seed, step])
            labels = words.places(labels)
        log_probabilities = self._network.log_probabilities(self._seen(self._drawn_planes(step)), batch, words)
        loss = torch.zeros(())
        if share < 1:
            loss = (1 - share) * label_loss(log_probabilities, labels, self._recipe.label_smoothing)
        if share:
            with torch.no_grad():
                teacher = self._network.log_probabilities(self._checkpoint.tensors, batch, words)
            loss = loss + share * divergence(teacher, log_probabilities, labels)
        return loss

    def _drawn_planes(self, step: int) -> int | None:
        """A number of planes for this step of nested codes, a function of seed and step."""
        if not self._settings.prefix:
            return None
        return int(np.random.default_rng([self._recipe.run.seed, step]).integers(1, self._depth, endpoint=True))

    def _seen(self, planes: int | None) -> dict[str, Tensor]:
        """The tensors that the network computes with."""
        tensors: dict[str, Tensor] = {n: p for n, p in self.parameters.items() if ".scales." not in n}
        if self._settings.method == "pnr":
            return tensors
        for name in self._coded:
            weights, clip = self.parameters[name], self._settings.clip
            if planes is not None:
                alpha, depth = (self.parameters[f"{name}.scales.{k}"] for k in (planes, self._depth))
                tensors[name] = coded(weights, alpha, depth, clip)
                continue
            segments = self._segments()[name]
            parts = weights.split([rows.stop - rows.start for rows, _ in segments])
            seen = [
                coded(part, self.parameters[f"{name}.scales.{k}"], clip=clip)
                for part, (_, k) in zip(parts, segments, strict=True)
            ]
            tensors[name] = torch.cat(seen) if len(seen) > 1 else seen[0]
        return tensors

    def after_step(self, step: int) -> None:
        """Every `period` steps of pnr the weights become their codes."""
        if self._settings.method == "pnr" and step % self._settings.period == 0:
            self._project(self._coded)

    # --- the result ---------------------------------------------------------------------------------------------------

    def codes(self, values: Mapping[str, Tensor]) -> dict[str, list[bcq.BinaryCode]]:
        """The codes of every matrix that is coded by now: one for each segment, or one nested code."""
        result: dict[str, list[bcq.BinaryCode]] = {}
        for name in self._coded:
            weights = values[name]
            if self._settings.method == "pnr":
                result[name] = self._solve(name, weights)
            elif self._settings.prefix:
                scales = {k: values[f"{name}.scales.{k}"] for _, k in self._segments()[name]}
                result[name] = [binary_code(weights, scales)]
            else:
                result[name] = [
                    binary_code(weights[rows], {k: values[f"{name}.scales.{k}"]}) for rows, k in self._segments()[name]
                ]
        return result

    def versions(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """What the engine would compute with: the codes' values, and the floats of what is not coded yet."""
        plain = {**self._checkpoint.tensors, **{n: t for n, t in values.items() if ".scales." not in n}}
        if not self._settings.prefix:
            plain |= {name: t.half().float() for name, t in plain.items() if name not in self._allocation}
        codes = self.codes(values)
        if not self._settings.prefix:
            yield "", plain | {n: _dequantized(code, self._allocation[n]) for n, code in codes.items()}
            return
        for k in range(self._depth, 0, -1):
            yield f"{k} planes", plain | {name: code.dequantize(k) for name, (code,) in codes.items()}

    def write(self, values: Mapping[str, Tensor], path: Path) -> None:
        """A model directory with exactly the codes that `versions` dequantises."""
        target, settings = self._target, self._settings
        checkpoint = replace(self._checkpoint, tensors={**self._checkpoint.tensors, **values})
        tensors: dict[str, Array] = {
            name: checkpoint.tensors[name].numpy() for name in self._checkpoint.tensors if name not in self._allocation
        }
        if "output.bias" in tensors and not tensors["output.bias"].any():
            del tensors["output.bias"]  # the format takes an absent one for zeros
        matrices = {}
        for name, codes in self.codes(values).items():
            if settings.prefix:
                packed, matrices[name] = pack_progressive(name, values[name], codes[0])
            else:
                packed, matrices[name] = pack_specialised(name, values[name], self._allocation[name], codes)
            tensors |= packed
        request = Request(
            name=target.name,
            base=target.base,
            others=target.others if settings.prefix else (),
            kind="progressive" if settings.prefix else "specialised",
            depth=self._depth,
            solver=settings.solver,
            group_size=None,
        )
        write_coded(
            checkpoint,
            target.vocabulary,
            request,
            tensors,
            {name: matrices[name] for name in self._allocation},
            path,
            solver=f"{settings.method}, {'distilled' if self._recipe.distillation else 'retrained'}",
            texts=target.texts,
            notes=target.notes,
            overwrite=True,
        )


def divergence(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """Mean KL(teacher || student) over the places whose label counts; log probabilities [n, words]."""
    counted = (labels >= 0)[:, None]
    return (teacher.exp() * (teacher - student) * counted).sum() / counted.sum()


def _dequantized(codes: Sequence[bcq.BinaryCode], segments: Sequence[Segment]) -> Tensor:
    return torch.cat([code.dequantize(s.planes) for code, s in zip(codes, segments, strict=True)])


def coded_from(phases: Sequence[Phase], matrices: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Matrix -> the phase from which on it is coded."""
    first: dict[str, int] = {}
    for number, phase in enumerate(phases):
        for name in matching(matrices, *phase.code):
            first.setdefault(name, number)
    if missing := [name for name in matrices if name not in first]:
        raise RecipeError(f"No phase codes the matrix {missing[0]!r}.")
    return {name: first[name] for name in matrices}


def frozen_tensors(phase: Phase, parameters: Mapping[str, Tensor]) -> set[str]:
    """Names of the parameters that a phase freezes; a matrix takes its scales with it."""
    frozen: set[str] = set()
    for glob in phase.freeze:
        if not (found := matching(parameters, glob)):
            raise RecipeError(f"The phase {phase.name!r} freezes {glob!r}, which matches no tensor.")
        frozen |= set(found)
    return frozen


def retrain_recipe(
    recipe: RetrainRecipe, shared: Path, out: Path, *, notes: str = "", steps: int | None = None
) -> Progress:
    """Retrains as the recipe says; see `models.train.loop.train` for `steps` and the files in `out`.

    Args:
        recipe: what to do.
        shared: the folder of corpus/ and checkpoint/.
        out: the directory of the run; OUT/model is the model directory.
        notes: what its card says on data and licences.
        steps: as in `models.train.loop.train`.
    """
    checkpoint = read_checkpoint(shared / recipe.init.checkpoint)
    if recipe.init.fresh or recipe.init.shape or recipe.init.reverse:
        raise RecipeError("Retraining begins with a trained model: leave init.fresh, init.shape and init.reverse out.")
    texts = tuple(Source(name, "").path(shared / "corpus") for name in recipe.codes.text)
    base = find_config(recipe.codes.config)
    checkpoint, vocabulary = sort_rows(checkpoint, *word_counts(checkpoint, texts))
    target = Target(
        name="-".join((*checkpoint.source_languages, *checkpoint.target_languages)),
        base=base,
        others=tuple(config for config in shipped_configs().values() if config.name != base.name),
        vocabulary=vocabulary,
        texts=texts,
        notes=notes or licences(recipe.sources),
    )
    check_prefix(recipe.codes, base, checkpoint)
    corpus = recipe.corpus(checkpoint, shared)
    held_out = HeldOut(checkpoint, recipe.validation, recipe.batches.lengths, shared)
    begun = begin_with(recipe.codes, base, checkpoint, vocabulary, shared)
    return train(recipe, Retraining(recipe, checkpoint, target, begun), corpus, held_out, out, steps=steps)


def check_prefix(codes: Codes, base: BitConfig, checkpoint: Checkpoint) -> None:
    """Nested codes are of one depth."""
    allocation = base.allocation(checkpoint.architecture)
    if codes.prefix and len({segment.planes for segments in allocation.values() for segment in segments}) > 1:
        raise RecipeError(f"codes.prefix wants a flat configuration, which {base.name!r} is not.")


def licences(sources: Sequence[Source]) -> str:
    """What the card says of the data of a recipe."""
    rows = "\n".join(f"| {source.name} | {source.licence} |" for source in sources)
    return f"## Data and licences\n\nRetrained on these sources.\n\n| source | licence |\n| --- | --- |\n{rows}"
