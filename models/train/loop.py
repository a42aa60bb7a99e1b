"""The loop of every training: batches, steps, checkpoints that resume to the same state, validation, log and plot.

    OUT/state-STEP/     weights, their average, the optimizer (safetensors) and where the run is (JSON): written every
                        few minutes under a new name and renamed; a run goes on from the newest
    OUT/model/          the result of the last phase, the one of least validation loss (of nested codes, mean of all)
                        unless the recipe keeps the last
    OUT/log.jsonl       a line every few steps and for every validation
    OUT/loss.png        the log as a plot

Whatever is drawn at random is a function of the recipe's seed and of the step or epoch, so there is no generator to
save: a run that was killed and goes on makes the very numbers that it would have made.
"""

import hashlib
import json
import math
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from models.evaluate.evaluate import read_test_set, translate
from models.evaluate.quality import scores
from models.format.atomic import replaced_directory
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.train.dataset import Batch, Batches, Corpus, Encoder, Part
from models.train.recipe import Optimizer, Recipe, Schedule, Validation

STATE, LOG, PLOT, MODEL = "state", "log.jsonl", "loss.png", "model"
VALIDATION_BATCH = 50


class TrainingError(ValueError):
    """A training that can't begin, resume or go on. One sentence."""


class Objective(Protocol):
    """What is trained, for what.

    Attributes:
        parameters: by name; `M.scales.k` are scales, other names are those of a checkpoint's tensors.
        schedules: one a phase.
    """

    parameters: Mapping[str, nn.Parameter]
    schedules: Sequence[Schedule]

    def enter(self, phase: int, *, resumed: bool) -> Sequence[str]:
        """A phase begins, or goes on; returns the names of the parameters that this gave new values."""

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Mean loss of a label."""

    def after_step(self, step: int) -> None:
        """The optimizer has made step number `step`, from 1."""

    def versions(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Label and float32 tensors of each model that these values of the parameters stand for; the best first."""

    def write(self, values: Mapping[str, Tensor], path: Path) -> None:
        """Writes the result, in place of an older one."""


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        batch: of the epoch, the next to take.
        best: least validation loss of this phase, the mean of its versions'.
        recipe: digest of what the run was started with.
    """

    step: int
    tokens: int
    epoch: int
    batch: int
    phase: int
    best: float | None
    recipe: str


def rate(schedule: Schedule, tokens: int) -> float:
    """Learning rate after so many tokens of a phase."""
    warm = min(1.0, (tokens + 1) / schedule.warmup_tokens) if schedule.warmup_tokens else 1.0
    part = min(1.0, tokens / schedule.tokens)
    return schedule.rate * warm * (schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * part)) / 2)


def label_loss(log_probabilities: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross entropy with label smoothing over the labels that are not -100: log_probabilities [n, words]."""
    counted = labels >= 0
    right = log_probabilities.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    loss = -right if not smoothing else -(1 - smoothing) * right - smoothing * log_probabilities.mean(1)
    return (loss * counted).sum() / counted.sum()


class HeldOut:
    """Validation: loss on all sentences, BLEU of the first of them translated greedily; in fp32."""

    def __init__(self, checkpoint: Checkpoint, what: Validation, lengths: Sequence[int], shared: Path) -> None:
        paths = [
            shared / "corpus" / f"{what.set}.{language}"
            for language in (checkpoint.source_languages[0], checkpoint.target_languages[0])
        ]
        self._sources, self._references = read_test_set(*paths, what.sentences)
        part = Part(*Encoder(checkpoint)(self._sources, self._references))
        self._batches = Corpus(checkpoint.ids, Batches(1, tuple(lengths)), 0, [part]).in_order(VALIDATION_BATCH)
        self._checkpoint, self._bleu_sentences = checkpoint, what.bleu_sentences

    @torch.inference_mode()
    def measure(self, tensors: Mapping[str, Tensor], *, bleu: bool) -> dict[str, float]:
        """Loss in nats a piece, and BLEU if asked and the recipe has sentences for it."""
        model = Transformer.from_tensors(self._checkpoint.architecture, tensors)
        total = count = 0.0
        for batch in self._batches:
            logits = model(batch.source, batch.target, batch.source_mask)
            total += F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum").item()
            count += batch.tokens
        result = {"loss": total / count}
        if bleu and (sentences := self._bleu_sentences):
            translations = translate(model, self._checkpoint, self._sources[:sentences])
            result["bleu"] = scores(translations, self._references[:sentences])["bleu"]
        return result


def train(
    recipe: Recipe, objective: Objective, corpus: Corpus, held_out: HeldOut, out: Path, *, steps: int | None = None
) -> Progress:
    """Runs to the end of the last phase, from the newest state in `out` if there is one.

    Args:
        recipe: what to do.
        objective: what is trained.
        corpus: what it is trained on.
        held_out: what it is measured on.
        out: the directory of the run.
        steps: stop, with a checkpoint, after so many steps of this call.
    """
    torch.set_num_threads(recipe.run.threads)
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, objective, out)
    phases_end = [sum(s.tokens for s in objective.schedules[: n + 1]) for n in range(len(objective.schedules))]
    total = phases_end[-1]
    log = Log(out / LOG, run.progress)
    plan = corpus.epoch(run.progress.epoch)
    if run.progress.step == 0:
        run.validate(held_out, log)
    saved, first_step, meter = time.monotonic(), run.progress.step, Meter(run.progress.tokens)
    bar = tqdm(total=total, initial=run.progress.tokens, unit="token", unit_scale=True)
    with _signals() as stop, _flushed_denormals(), bar:
        while run.progress.tokens < total:
            now = run.progress
            if now.tokens >= phases_end[now.phase]:
                run.enter(now.phase + 1)
                run.validate(held_out, log)
            begin = phases_end[run.progress.phase] - objective.schedules[run.progress.phase].tokens
            lr = rate(objective.schedules[run.progress.phase], now.tokens - begin)
            batch = corpus.batch(plan[now.batch])
            meter.losses.append(run.step(batch, lr))
            bar.update(batch.tokens)
            if now.batch + 1 == len(plan):
                plan = corpus.epoch(now.epoch + 1)
                run.progress = replace(run.progress, epoch=now.epoch + 1, batch=0)
            done, asked = run.progress, stop or (steps is not None and run.progress.step - first_step >= steps)
            if done.step % recipe.run.log_steps == 0:
                figures = meter.read(done.tokens)
                log.add(done, "training", {**figures, "rate": lr})
                bar.set_postfix(phase=done.phase + 1, loss=f"{figures['loss']:.3f}", refresh=False)
            every = recipe.validation.every_tokens
            if done.tokens // every > now.tokens // every or done.tokens >= phases_end[done.phase]:
                run.validate(held_out, log)
                log.plot(out / PLOT)
                meter.restart(done.tokens)
            if asked or done.tokens >= total or time.monotonic() - saved > 60 * recipe.run.checkpoint_minutes:
                run.save()
                saved = time.monotonic()
            if asked:
                break
    return run.progress


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Gradients of rare words become denormal numbers, which the CPU adds a hundred times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Meter:
    """Mean loss and tokens per second since it was last read; a restart leaves out the time of a validation."""

    def __init__(self, tokens: int) -> None:
        self.losses: list[float] = []
        self.restart(tokens)

    def restart(self, tokens: int) -> None:
        """The clock begins again."""
        self._tokens, self._time = tokens, time.monotonic()

    def read(self, tokens: int) -> dict[str, float]:
        """Figures of the steps up to so many tokens."""
        speed = (tokens - self._tokens) / (time.monotonic() - self._time)
        figures = {"loss": sum(self.losses) / len(self.losses), "tokens_per_second": round(speed)}
        self.losses.clear()
        self.restart(tokens)
        return figures


class _Run:
    """Parameters, optimizer, average and progress: what a checkpoint holds."""

    def __init__(self, recipe: Recipe, objective: Objective, out: Path) -> None:
        self._recipe, self._objective, self._out = recipe, objective, out
        self._parameters = dict(objective.parameters)
        self._groups = _groups(self._parameters, recipe.optimizer)
        self._optimizer = _optimizer(self._groups, recipe.optimizer)
        self._average: dict[str, Tensor] = {}
        if recipe.optimizer.ema:
            self._average = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.progress = Progress(0, 0, 0, 0, 0, None, digest(recipe))
        if state := _newest_state(out):
            self._load(state)
            objective.enter(self.progress.phase, resumed=True)
        else:
            self.enter(0)

    def enter(self, phase: int) -> None:
        """Begins a phase."""
        for name in self._objective.enter(phase, resumed=False):
            if name in self._average:
                self._average[name].copy_(self._parameters[name].detach())
        self.progress = replace(self.progress, phase=phase, best=None)

    def step(self, batch: Batch, lr: float) -> float:
        """One step; returns its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        loss = self._objective.loss(batch, self.progress.step)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"The loss is {value} at step {self.progress.step}; a lower rate may help.")
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters.values(), self._recipe.optimizer.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        step = self.progress.step + 1
        self._objective.after_step(step)
        if self._average:
            # An average that is young forgets faster: the first weights are the worst.
            decay = min(self._recipe.optimizer.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self._average.values()), list(self._parameters.values()), 1 - decay)
        self.progress = replace(
            self.progress, step=step, tokens=self.progress.tokens + batch.tokens, batch=self.progress.batch + 1
        )
        return value

    def values(self) -> Mapping[str, Tensor]:
        """What is validated and written: the average, or the parameters where there is none."""
        return self._average or {name: p.detach() for name, p in self._parameters.items()}

    def validate(self, held_out: HeldOut, log: "Log") -> None:
        """Measures every version, and writes the result if it is the one to keep of the last phase so far."""
        losses: list[float] = []
        for label, tensors in self._objective.versions(self.values()):
            figures = held_out.measure(tensors, bleu=not losses)
            log.add(self.progress, "validation", {"version": label, **figures})
            tqdm.write(f"step {self.progress.step} {label} " + " ".join(f"{k} {v:.4f}" for k, v in figures.items()))
            losses.append(figures["loss"])
        mean = sum(losses) / len(losses)
        least = self.progress.best is None or mean < self.progress.best
        if least:
            self.progress = replace(self.progress, best=mean)
        kept = least or self._recipe.validation.keep == "last"
        if kept and self.progress.phase == len(self._objective.schedules) - 1:
            self._objective.write(self.values(), self._out / MODEL)

    def save(self) -> None:
        """Write a checkpoint, then remove the older ones, and what a killed run began to write."""
        target = self._out / f"{STATE}-{self.progress.step:09d}"
        if target.exists():  # resumed and stopped at once
            return
        tensors = {f"parameters/{name}": p.detach() for name, p in self._parameters.items()}
        tensors |= {f"average/{name}": value for name, value in self._average.items()}
        numbers: dict[str, Any] = {}
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    # bitsandbytes shares its tables of codes between tensors; a file may not
                    tensors[f"optimizer/{name}/{key}"] = value.detach().clone()
                else:
                    numbers[f"{name}/{key}"] = value
        state = {"progress": asdict(self.progress), "optimizer": numbers}
        with replaced_directory(target) as new:
            save_file(tensors, new / "tensors.safetensors")
            (new / "state.json").write_text(json.dumps(state, indent=1) + "\n")
        for old in (*self._out.glob(f"{STATE}-*"), *self._out.glob(f".{STATE}-*")):
            if old != target:
                shutil.rmtree(old)

    def _load(self, path: Path) -> None:
        state = json.loads((path / "state.json").read_text())
        progress = Progress(**state["progress"])
        if progress.recipe != self.progress.recipe:
            raise TrainingError(
                f"{path.parent}: this run was started with another recipe; give a new directory, "
                f"and {MODEL}/ of the old one as the checkpoint to begin with."
            )
        tensors = load_file(path / "tensors.safetensors")
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"parameters/{name}"])
                if self._average:
                    self._average[name].copy_(tensors[f"average/{name}"])
        for full, value in {**tensors, **{f"optimizer/{k}": v for k, v in state["optimizer"].items()}}.items():
            kind, _, rest = full.partition("/")
            name, _, key = rest.rpartition("/")
            if kind == "optimizer":
                self._optimizer.state[self._parameters[name]][key] = value
        self.progress = progress


def _newest_state(out: Path) -> Path | None:
    return max(out.glob(f"{STATE}-*"), default=None)


def averages(out: Path) -> dict[str, Tensor] | None:
    """What a run had come to at its newest state, by the names of its parameters; None if there is no state."""
    if (state := _newest_state(out)) is None:
        return None
    with safe_open(state / "tensors.safetensors", framework="pt") as tensors:  # without the optimizer's, half of them
        names = tensors.keys()
        kind = "average/" if any(name.startswith("average/") for name in names) else "parameters/"
        return {name.removeprefix(kind): tensors.get_tensor(name) for name in names if name.startswith(kind)}


def digest(recipe: Recipe) -> str:
    """Tells recipes apart, but for their names and for how a run goes on; the seed matters."""
    values = {**asdict(recipe), "name": None, "description": None, "run": recipe.run.seed}
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _groups(parameters: Mapping[str, nn.Parameter], settings: Optimizer) -> list[dict[str, Any]]:
    """Matrices decay, vectors and scales do not; scales have a rate of their own."""
    groups: dict[str, list[nn.Parameter]] = {"matrix": [], "vector": [], "scale": []}
    for name, p in parameters.items():
        groups["scale" if ".scales." in name else "matrix" if p.dim() == 2 else "vector"].append(p)
    return [
        {
            "params": members,
            "factor": settings.scale_rate if kind == "scale" else 1.0,
            "weight_decay": settings.weight_decay if kind == "matrix" else 0.0,
        }
        for kind, members in groups.items()
        if members
    ]


def _optimizer(groups: list[dict[str, Any]], settings: Optimizer) -> torch.optim.Optimizer:
    if settings.kind == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit  # only where a recipe asks: it takes seconds to load

        return AdamW8bit(groups, lr=0.0, betas=settings.betas, eps=settings.epsilon)
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.epsilon, fused=True)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list, empty until SIGINT or SIGTERM asks the run to end after its step, with a checkpoint."""
    asked: list[int] = []
    old = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class Log:
    """JSON lines. What a killed run wrote after its last checkpoint is dropped, since it will be written again."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() and progress.step else []
        # The last line of a killed run may be half a line.
        parsed = [line for line in map(_parsed, lines) if line is not None]
        self._lines = [line for line in parsed if (line["phase"], line["step"]) <= (progress.phase, progress.step)]
        new = path.with_suffix(".new")
        new.write_text("".join(json.dumps(line) + "\n" for line in self._lines))
        new.replace(path)

    def add(self, progress: Progress, kind: str, figures: Mapping[str, Any]) -> None:
        """Appends a line."""
        line = {"kind": kind, "step": progress.step, "tokens": progress.tokens, "phase": progress.phase, **figures}
        self._lines.append(line)
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def plot(self, path: Path) -> None:
        """Losses against tokens, and BLEU where it was measured."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        series: dict[str, list[tuple[float, float]]] = {}
        for line in self._lines:
            label = "training" if line["kind"] == "training" else f"validation {line['version']}".strip()
            series.setdefault(label, []).append((line["tokens"] / 1e6, line["loss"]))
        for label, points in series.items():
            style = "-" if label == "training" else "o-"
            axes.plot(*zip(*points, strict=True), style, markersize=3, linewidth=1, label=label)
        axes.set(xlabel="million target tokens", ylabel="nats a piece")
        if bleu := [(line["tokens"] / 1e6, line["bleu"]) for line in self._lines if "bleu" in line]:
            right = axes.twinx()
            right.plot(*zip(*bleu, strict=True), "s--", color="grey", markersize=3, linewidth=1)
            right.set_ylabel("validation BLEU (dashed)")
        axes.legend()
        figure.savefig(path, dpi=120)
        pyplot.close(figure)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        parsed: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return parsed
