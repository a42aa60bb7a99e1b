"""The state of a run: parameters, their average, the optimizer's moments and the progress, in memory and on disk.

    OUT/state-STEP/     tensors.safetensors and state.json, with the recipe; written under a new name and renamed

A run goes on from its newest state, to the same bits, with the recipe that it was started with. Some fields may change:

    always                                      name, description, run but for its seed
    while the rate has not begun to decay       sources, batches.multiple, schedule: tokens, decay_tokens, shape, floor

under both the old schedule and the new one: until then the past would have been the same, but for the sources and the
size of the batches. Where these change, the epoch ends and the next begins with the new ones.

Another run may begin from a state too (`init.run`): it takes over the weights, the average and the moments, and counts
steps and epochs on, so that the average stays as old as it is and no order of the text comes twice; its tokens, its
schedule and its phases start again.
"""

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.format.atomic import replaced_directory
from models.train.recipe import Optimizer, Recipe, Run, TrainRecipe, recipe_of
from models.train.schedule import Schedule

STATE, TENSORS, NUMBERS = "state", "tensors.safetensors", "state.json"
MAY_CHANGE = {"name", "description", *(f"run.{field}" for field in Run.__dataclass_fields__ if field != "seed")}
OTHER_BATCHES = {"sources", "batches.multiple"}
STABLE_MAY_CHANGE = {*OTHER_BATCHES, *(f"schedule.{field}" for field in ("tokens", "decay_tokens", "shape", "floor"))}


class TrainingError(ValueError):
    """A training that can't begin, resume or go on. One sentence."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        step: steps since the weights were fresh or imported, those of runs that it began from included.
        tokens: target tokens of this run.
        epoch: over the mix of sources.
        batch: of the epoch, the next to take.
        phase: of the recipe.
        best: least validation loss of this phase, the mean of its versions'.
    """

    step: int = 0
    tokens: int = 0
    epoch: int = 0
    batch: int = 0
    phase: int = 0
    best: float | None = None


class TrainingState:
    """Everything that a step changes.

    Attributes:
        parameters: by name; `M.scales.k` are scales, other names are those of a checkpoint's tensors.
        average: exponential moving average of the parameters; empty without one.
    """

    def __init__(self, recipe: Recipe, parameters: Mapping[str, nn.Parameter]) -> None:
        self._recipe = recipe
        self.parameters = dict(parameters)
        self._optimizer = _optimizer(_groups(self.parameters, recipe.optimizer), recipe.optimizer)
        self.average: dict[str, Tensor] = {}
        if recipe.optimizer.ema:
            self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.progress = Progress()

    def step(self, losses: Iterable[Tensor], rate: float, tokens: int) -> float:
        """Take one step of the optimizer and return the value of the loss.

        Args:
            losses: scalars whose sum is the loss of the parameters. Each is made after the one before is done with.
            rate: learning rate.
            tokens: labels that the loss is the mean of.

        Raises:
            TrainingError: the loss is not finite.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        parts = []
        for loss in losses:
            parts.append(loss.detach())
            loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), self._recipe.optimizer.clip)
        value = torch.stack(parts).sum().item()  # a GPU has computed the gradients by the time that this waits for it
        if not math.isfinite(value):
            raise TrainingError(f"The loss is {value} at step {self.progress.step}; a lower rate may help.")
        self._optimizer.step()
        self._optimizer.zero_grad()
        now = self.progress
        self.progress = replace(now, step=now.step + 1, tokens=now.tokens + tokens, batch=now.batch + 1)
        return value

    def move_average(self) -> None:
        """Move the average towards the parameters, after a step."""
        if self.average:
            # An average that is young forgets faster: the first weights are the worst.
            step = self.progress.step
            decay = min(self._recipe.optimizer.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - decay)

    def restart_average(self, names: Iterable[str]) -> None:
        """Let the average of parameters that were given new values begin with these."""
        for name in names:
            if name in self.average:
                self.average[name].copy_(self.parameters[name].detach())

    def values(self) -> Mapping[str, Tensor]:
        """Return what is validated and written, on the CPU: the average, or the parameters where there is none."""
        return {name: value.detach().cpu() for name, value in (self.average or self.parameters).items()}

    # --- on disk ------------------------------------------------------------------------------------------------------

    def save(self, out: Path) -> None:
        """Write a state, then remove the older ones, and what a killed run began to write."""
        target = out / f"{STATE}-{self.progress.step:09d}"
        if target.exists():  # resumed and stopped at once
            return
        tensors = {f"parameters/{name}": p.detach().cpu() for name, p in self.parameters.items()}
        tensors |= {f"average/{name}": value.cpu() for name, value in self.average.items()}
        numbers: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    # bitsandbytes shares its tables of codes between tensors; a file may not
                    tensors[f"optimizer/{name}/{key}"] = value.detach().cpu().clone()
                else:
                    numbers[f"{name}/{key}"] = value
        state = {"progress": asdict(self.progress), "recipe": _as_json(self._recipe), "optimizer": numbers}
        with replaced_directory(target) as new:
            save_file(tensors, new / TENSORS)
            (new / NUMBERS).write_text(json.dumps(state, indent=1) + "\n")
        for old in (*out.glob(f"{STATE}-*"), *out.glob(f".{STATE}-*")):
            if old != target:
                shutil.rmtree(old)

    def resume(self, path: Path) -> None:
        """Go on from a state of this run.

        Raises:
            TrainingError: the run was started with another recipe.
        """
        state = json.loads((path / NUMBERS).read_text())
        progress = Progress(**{name: state["progress"][name] for name in Progress.__dataclass_fields__})
        if (started_with := state.get("recipe")) is None:
            raise TrainingError(f"{path}: its recipe was not recorded; begin a new run from it with --continue.")
        started_with = _as_json(
            recipe_of(type(self._recipe), started_with, path / NUMBERS)
        )  # fields of now, as defaults
        changed = set(_differences(started_with, _as_json(self._recipe)))
        stable = _is_stable(self._recipe, started_with, progress)
        if refused := sorted(changed - MAY_CHANGE - (STABLE_MAY_CHANGE if stable else set())):
            raise TrainingError(
                f"{path.parent}: this run was started with another recipe ({', '.join(refused)} changed); "
                "give a new directory, and --continue with the old one."
            )
        self._load(path, state)
        if OTHER_BATCHES & changed:
            progress = replace(progress, epoch=progress.epoch + 1, batch=0)
        self.progress = progress

    def take_over(self, path: Path) -> None:
        """Begin with a state of another run.

        Raises:
            TrainingError: it is the state of another model or optimizer.
        """
        state = json.loads((path / NUMBERS).read_text())
        kind = state.get("recipe", {}).get("optimizer", {}).get("kind", self._recipe.optimizer.kind)
        if kind != self._recipe.optimizer.kind:
            raise TrainingError(f"{path}: the state is one of {kind}, not of {self._recipe.optimizer.kind}.")
        self._load(path, state)
        self.progress = Progress(step=state["progress"]["step"], epoch=state["progress"]["epoch"] + 1)

    def _load(self, path: Path, state: Mapping[str, Any]) -> None:
        tensors = load_file(path / TENSORS)
        shapes = {name: value.shape for name, value in _of_kind(tensors, "parameters").items()}
        if shapes != {name: p.shape for name, p in self.parameters.items()}:
            raise TrainingError(f"{path}: the state is one of another model, its parameters are others.")
        averages = _of_kind(tensors, "average")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"parameters/{name}"])
                if self.average:
                    self.average[name].copy_(averages.get(name, parameter))
        for full, value in {**_of_kind(tensors, "optimizer"), **state["optimizer"]}.items():
            name, _, key = full.rpartition("/")
            parameter = self.parameters[name]
            self._optimizer.state[parameter][key] = value.to(parameter.device) if isinstance(value, Tensor) else value


def _of_kind(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return the parameters, the average or the optimizer's part of a state, by their names."""
    return {name.removeprefix(f"{kind}/"): t for name, t in tensors.items() if name.startswith(f"{kind}/")}


def newest_state(out: Path) -> Path | None:
    """Return the newest state of a run, None if there is none."""
    return max(out.glob(f"{STATE}-*"), default=None)


def averages(out: Path) -> dict[str, Tensor] | None:
    """Return the averages of a run's newest state, or its parameters if it has none; None if there is no state."""
    if (state := newest_state(out)) is None:
        return None
    with safe_open(state / TENSORS, framework="pt") as tensors:  # without the optimizer's, half of them
        names = tensors.keys()
        kind = "average/" if any(name.startswith("average/") for name in names) else "parameters/"
        return {name.removeprefix(kind): tensors.get_tensor(name) for name in names if name.startswith(kind)}


def _as_json(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe as a file of JSON has them."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return fields


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], table: str = "") -> Iterator[str]:
    """Yield the dotted names of fields that differ; lists are compared as a whole."""
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name), new.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{table}{name}.")
        elif one != other:
            yield f"{table}{name}"


def _is_stable(recipe: Recipe, started_with: Mapping[str, Any], progress: Progress) -> bool:
    """Tell whether the rate has not begun to decay, by the old schedule and by the new one."""
    if not isinstance(recipe, TrainRecipe):
        return False
    until = min(recipe.schedule.stable_until, Schedule(**started_with["schedule"]).stable_until)
    return progress.tokens <= until


def _groups(parameters: Mapping[str, nn.Parameter], settings: Optimizer) -> list[dict[str, Any]]:
    """Group parameters: matrices decay, vectors and scales do not, and scales have a rate of their own."""
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
        from bitsandbytes.optim.adamw import AdamW8bit  # only where a recipe asks: it takes seconds to load

        kind: Any = AdamW8bit  # its constructor has no types
        optimizer: torch.optim.Optimizer = kind(groups, lr=0.0, betas=settings.betas, eps=settings.epsilon)
        return optimizer
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.epsilon, fused=True)
