"""The loop of every training: batches, steps, validation, log, and states to resume from.

    OUT/state-STEP/     where the run is (state.py); written every few minutes
    OUT/model/          the result of the last phase, the one of least validation loss (of nested codes, the mean of all
                        widths) unless the recipe keeps the last
    OUT/log.jsonl       a line every few steps and for every validation
    OUT/loss.png        the log as a plot

Whatever is drawn at random is a function of the recipe's seed and of the step or epoch, so there is no generator to
save: a run that was killed and goes on makes the very numbers that it would have made.
"""

import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.marian.batches import Batch
from models.train.dataset import Corpus
from models.train.device import Device
from models.train.feed import Feed
from models.train.log import LOG, PLOT, Log, Meter
from models.train.recipe import Recipe
from models.train.schedule import Schedule
from models.train.state import Progress, TrainingError, TrainingState, newest_state

MODEL = "model"


class Until(NamedTuple):
    """What ends a call, with a state to go on from; None for the end of the run.

    Attributes:
        steps: that this call takes.
        minutes: from the first step on; the step, validation and state that are under way then are finished.
    """

    steps: int | None = None
    minutes: float | None = None


TO_THE_END = Until()


class Objective(Protocol):
    """An objective of training: the parameters and their loss.

    Attributes:
        parameters: by name; `M.scales.k` are scales, other names are those of a checkpoint's tensors.
        schedules: one a phase.
    """

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]: ...

    @property
    def schedules(self) -> Sequence[Schedule]: ...

    def enter(self, phase: int, *, resumed: bool) -> Iterable[str]:
        """Begin a phase, or go on with it; return the names of the parameters that this gave new values."""

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the mean loss of a label."""

    def after_step(self, step: int) -> None:
        """Follow step number `step`, from 1, of the optimizer."""

    def versions(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Yield label and float32 tensors of each model that these values stand for; the best first."""

    def write(self, values: Mapping[str, Tensor], path: Path) -> None:
        """Write the result, in place of an older one."""


class HeldOut(Protocol):
    """Held-out text, as `models.train.validation` and `models.evaluate.divergence` measure on it."""

    def measure(self, tensors: Mapping[str, Tensor], *, bleu: bool) -> dict[str, float]:
        """Measure a model with these tensors: `loss`, in nats a piece, and what else there is."""
        ...


class Training:
    """One run of a recipe: its state, its log, and the way through its phases."""

    def __init__(
        self, recipe: Recipe, objective: Objective, held_out: HeldOut, out: Path, begin: Path | None = None
    ) -> None:
        """Go on from the newest state in `out`, or begin, with the newest state of the run `begin` if it is given.

        Args:
            recipe: of the run.
            objective: what is trained.
            held_out: text to measure on.
            out: the directory of the run.
            begin: the directory of another run.

        Raises:
            TrainingError: a state belongs to another recipe or model, or the folder `begin` has none.
        """
        out.mkdir(parents=True, exist_ok=True)
        self._recipe, self._objective, self._held_out, self._out = recipe, objective, held_out, out
        self._ends = list(accumulate(schedule.tokens for schedule in objective.schedules))
        self._device = Device(recipe.run).torch
        for parameter in objective.parameters.values():
            parameter.data = parameter.data.to(self._device)
        self.state = TrainingState(recipe, objective.parameters)
        newest = newest_state(out)
        if newest:
            self.state.resume(newest)
            objective.enter(self.state.progress.phase, resumed=True)
        else:
            if begin:
                if (state := newest_state(begin)) is None:
                    raise TrainingError(f"{begin}: there is no state of a run to begin with.")
                self.state.take_over(state)
            self._enter(0)
        self._log = Log(out / LOG, self.state.progress if newest else None)
        self._meter = Meter(self.state.progress.tokens)
        self._saved = time.monotonic()
        if not newest:
            self.validate()

    @property
    def total(self) -> int:
        """Return the target tokens of all phases."""
        return self._ends[-1]

    def run(self, corpus: Corpus, until: Until, stop: Sequence[int], bar: "tqdm[object]") -> Progress:
        """Step to the end of the last phase, or until asked to stop, with a state then.

        Args:
            corpus: text to train on.
            until: ends this call.
            stop: not empty once the run shall stop.
            bar: counts tokens.
        """
        first, begun = self.state.progress.step, time.monotonic()
        with Feed(corpus, self._recipe.run.parts, self._device) as feed:
            while self.state.progress.tokens < self.total:
                if self.state.progress.tokens >= self._phase_end:
                    self._enter(self.state.progress.phase + 1)
                    self.validate()
                before = self.state.progress
                count = feed.batches(before.epoch)
                rate = self._step(feed.take(before.batch))
                bar.update(self.state.progress.tokens - before.tokens)
                if before.batch + 1 == count:
                    self.state.progress = replace(self.state.progress, epoch=before.epoch + 1, batch=0)
                self._report(rate, bar)
                self._validate_if_due(before.tokens)
                asked = (
                    bool(stop)
                    or (until.steps is not None and self.state.progress.step - first >= until.steps)
                    or (until.minutes is not None and time.monotonic() - begun >= 60 * until.minutes)
                )
                self._save_if_due(asked)
                if asked:
                    break
        return self.state.progress

    @property
    def _phase_end(self) -> int:
        """Return the tokens at which this phase ends."""
        return self._ends[self.state.progress.phase]

    def _enter(self, phase: int) -> None:
        self.state.restart_average(self._objective.enter(phase, resumed=False))
        self.state.progress = replace(self.state.progress, phase=phase, best=None)

    def _step(self, parts: Sequence[Batch]) -> float:
        """Take one step with the parts of a batch; return its learning rate."""
        now, tokens = self.state.progress, sum(part.tokens for part in parts)
        schedule = self._objective.schedules[now.phase]
        rate = schedule.rate_after(now.tokens - (self._phase_end - schedule.tokens))
        losses = (self._objective.loss(part, now.step) * (part.tokens / tokens) for part in parts)
        self._meter.losses.append(self.state.step(losses, rate, tokens))
        self._objective.after_step(self.state.progress.step)
        self.state.move_average()
        return rate

    def _report(self, rate: float, bar: "tqdm[object]") -> None:
        now = self.state.progress
        if now.step % self._recipe.run.log_steps == 0:
            figures = self._meter.read(now.tokens)
            self._log.add(now, "training", {**figures, "rate": rate})
            bar.set_postfix(phase=now.phase + 1, loss=f"{figures['loss']:.3f}", refresh=False)

    def _validate_if_due(self, tokens_before: int) -> None:
        tokens, every = self.state.progress.tokens, self._recipe.validation.every_tokens
        if tokens // every > tokens_before // every or tokens >= self._phase_end:
            self.validate()
            self._log.plot(self._out / PLOT)
            self._meter.restart(tokens)

    def validate(self) -> None:
        """Measure every version, and write the result if it is the one to keep of the last phase so far."""
        losses: list[float] = []
        for label, tensors in self._objective.versions(self.state.values()):
            figures = self._held_out.measure(tensors, bleu=not losses)
            self._log.add(self.state.progress, "validation", {"version": label, **figures})
            shown = " ".join(f"{name} {value:.4f}" for name, value in figures.items())
            tqdm.write(f"step {self.state.progress.step} {label} {shown}")
            losses.append(figures["loss"])
        mean = sum(losses) / len(losses)
        best = self.state.progress.best
        least = best is None or mean < best
        if least:
            self.state.progress = replace(self.state.progress, best=mean)
        kept = least or self._recipe.validation.keep == "last"
        if kept and self.state.progress.phase == len(self._ends) - 1:
            self._objective.write(self.state.values(), self._out / MODEL)

    def _save_if_due(self, asked: bool) -> None:
        due = time.monotonic() - self._saved > 60 * self._recipe.run.checkpoint_minutes
        if asked or due or self.state.progress.tokens >= self.total:
            self.state.save(self._out)
            self._saved = time.monotonic()


def train(
    recipe: Recipe,
    objective: Objective,
    corpus: Corpus,
    held_out: HeldOut,
    out: Path,
    *,
    begin: Path | None = None,
    until: Until = TO_THE_END,
) -> Progress:
    """Run to the end of the last phase, from the newest state in `out` if there is one.

    Args:
        recipe: of the run.
        objective: what is trained.
        corpus: text to train on.
        held_out: text to measure on.
        out: the directory of the run.
        begin: the directory of another run, from whose newest state this one begins.
        until: ends this call.

    Raises:
        TrainingError: a state is one of another recipe or model, or a loss is not finite.
    """
    torch.set_num_threads(recipe.run.threads)
    training = Training(recipe, objective, held_out, out, begin)
    bar = tqdm(total=training.total, initial=training.state.progress.tokens, unit="token", unit_scale=True)
    with _signals() as stop, _flushed_denormals(), bar:
        return training.run(corpus, until, stop, bar)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Flush denormal numbers to 0: gradients of rare pieces become some, and a CPU adds them a hundred times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield a list, empty until SIGINT or SIGTERM asks the run to end after its step, with a state."""
    asked: list[int] = []
    old = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
