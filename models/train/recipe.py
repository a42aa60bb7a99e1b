"""Recipes: a TOML file says everything about a training, in the tables below; unknown fields are refused by name.

Paths are relative to the folder that holds `corpus/` and `checkpoint/`. `extends = "NAME"` takes over what another
recipe says: values stand for its values, tables add to its tables.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from models.format.typed_json import decode_json
from models.marian.checkpoint import Checkpoint
from models.train.dataset import Batches, Corpus, Source, read_corpus

RECIPES = Path(__file__).parents[1] / "configs/recipes"
MIXES = RECIPES / "mixes"
ModelRecipe = TypeVar("ModelRecipe", bound="Recipe")


class RecipeError(ValueError):
    """A recipe that can't be read or followed. One sentence."""


@dataclass(frozen=True)
class Init:
    """What a run starts from.

    Attributes:
        checkpoint: a Marian directory, or one that `import` wrote.
        fresh: take only its vocabulary, and random weights.
        shape: fields of the architecture that differ from the checkpoint's, of a fresh model.
        reverse: begin the other direction with it (models/train.py); see `Recipe.reverse_pairs`.
    """

    checkpoint: str
    fresh: bool = False
    reverse: bool = False
    shape: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Validation:
    """Held-out text.

    Attributes:
        set: `valid/tatoeba` stands for the files valid/tatoeba.en and .de, by the languages of the model.
        sentences: how many are read for the loss, and the first so many of them are translated for BLEU; 0 = none.
        every_tokens: target tokens between two validations.
        keep: which of the last phase is the result, the one with the least loss or the last; a model that learns
            another's translations is meant to leave those of the held-out text.
    """

    set: str
    sentences: int
    bleu_sentences: int
    every_tokens: int
    keep: Literal["least_loss", "last"] = "least_loss"


@dataclass(frozen=True)
class Optimizer:
    """AdamW. `adamw8bit` keeps its two moments in 8 bits a block (bitsandbytes), for a quarter of their memory.

    Attributes:
        weight_decay: of matrices only.
        clip: the largest norm of all gradients together.
        ema: of the average of the weights that is validated and written; 0 = the weights themselves.
        scale_rate: learning rate of the scales of learned codes, as a part of that of the weights.
    """

    kind: Literal["adamw", "adamw8bit"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-9
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.0
    scale_rate: float = 1.0


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine from `rate` to `floor * rate`; lengths in target tokens."""

    tokens: int
    warmup_tokens: int
    rate: float
    floor: float = 0.02


@dataclass(frozen=True)
class Run:
    """Threads of torch, minutes between two checkpoints, steps between two lines of the log."""

    seed: int = 1
    threads: int = 2
    checkpoint_minutes: float = 5.0
    log_steps: int = 50


@dataclass(frozen=True)
class Codes:
    """What `retrain` ends at.

    Attributes:
        config: a bit configuration, by its name or path.
        method: "ste" learns scales with straight-through gradients (models/learned.py); "pnr" replaces the weights by
            their codes every `period` steps (the paper).
        solver: of the codes of pnr; ste begins with the best scales in any case.
        clip: of ste, see models/learned.py.
        prefix: of ste; train nested codes, each step at a random number of planes up to those of `config`, which must
            be flat; the file serves every width up to it.
        text: where words are counted, as names of sources; rows are sorted by it.
        begin: of ste; a model directory with codes of this configuration, from which learning goes on, or the directory
            of a run, whose averages it goes on from; it begins with the checkpoint's weights without.
        begin_config: of these codes, if they are of another configuration, whose values are then the first weights.
        begin_teacher: the checkpoint that they were distilled from, if it was another: what the two checkpoints differ
            by is added to the first weights (models/begun.py).
    """

    config: str
    method: Literal["ste", "pnr"]
    text: tuple[str, ...]
    solver: Literal["greedy", "refined", "alternating"] = "alternating"
    period: int = 1000
    clip: float = 1.0
    prefix: bool = False
    begin: str | None = None
    begin_config: str | None = None
    begin_teacher: str | None = None


@dataclass(frozen=True)
class Phase:
    """A part of the curriculum.

    Attributes:
        code: globs over matrices or blocks; from this phase on they are coded too.
        freeze: globs over tensors or blocks; in this phase they stay as they are.
    """

    name: str
    code: tuple[str, ...]
    schedule: Schedule
    freeze: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What both kinds of training have in common.

    Attributes:
        name: the stem of the file.
        sources: [[sources]] tables; in the file also the name of a mix, a TOML file of such tables in `MIXES`, or its
            path, or a list of several.
        reverse_pairs: learn to translate the second text of each pair into the first.
    """

    name: str
    description: str
    init: Init
    sources: tuple[Source, ...]
    batches: Batches
    validation: Validation
    label_smoothing: float
    optimizer: Optimizer
    run: Run
    reverse_pairs: bool = field(default=False, kw_only=True)

    def corpus(self, checkpoint: Checkpoint, shared: Path) -> Corpus:
        """The text that the recipe trains on, as ids of the checkpoint."""
        return read_corpus(
            checkpoint, self.sources, shared / "corpus", self.batches, self.run.seed, reverse=self.reverse_pairs
        )

    def beginning_with(self, checkpoint: Path | None) -> Self:
        """The recipe with another checkpoint, None for its own."""
        if checkpoint is None:
            return self
        return replace(self, init=replace(self.init, checkpoint=str(checkpoint.resolve())))


@dataclass(frozen=True)
class TrainRecipe(Recipe):
    """A training in fp32 (bf16 products)."""

    schedule: Schedule


@dataclass(frozen=True)
class RetrainRecipe(Recipe):
    """A training of codes.

    Attributes:
        distillation: share of the loss that is the divergence from the fp32 model's words.
        sampled_words: of the words that no label of a batch names, so many are predicted against, half of them the most
            frequent, half drawn at random (models/sampled_words.py); 0 = all.
    """

    codes: Codes
    distillation: float
    phases: tuple[Phase, ...]
    sampled_words: int = 0


def read_recipe(kind: type[ModelRecipe], name: str) -> ModelRecipe:
    """A recipe of models/configs/recipes by its name, or any TOML file by its path."""
    path = _path(name, RECIPES)
    values = _read_extended(path, ())
    mixes = values.get("sources")
    if isinstance(mixes, str):
        mixes = [mixes]
    if isinstance(mixes, list) and all(isinstance(mix, str) for mix in mixes):
        values["sources"] = [source for mix in mixes for source in _read_mix(mix)]
    if "name" in values:
        raise RecipeError(f"{path}: the field name is unknown.")
    try:
        recipe: ModelRecipe = decode_json(kind, _complete(kind, {**values, "name": path.stem}), "the document")
    except ValueError as error:
        raise RecipeError(f"{path}: {error}.") from None
    if fault := _fault(recipe):
        raise RecipeError(f"{path}: {fault}.")
    return recipe


def _path(name: str, folder: Path) -> Path:
    """Of a file by its path, or by the name that it has in a folder of ours."""
    return Path(name) if name.endswith(".toml") else folder / f"{name}.toml"


def _read_extended(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """What a recipe says, with what it takes over; `extending` are those that take over from it."""
    if path in extending:
        raise RecipeError(f"{path}: it extends itself.")
    values = _read_toml(path)
    extended = values.pop("extends", None)
    if extended is None:
        return values
    if not isinstance(extended, str):
        raise RecipeError(f"{path}: extends must be the name of a recipe.")
    return _merged(_read_extended(_path(extended, RECIPES), (*extending, path)), values)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `over` where they differ."""
    tables = {
        name: _merged(base[name], value)
        for name, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **over, **tables}


def _read_mix(name: str) -> list[Any]:
    """The tables of a mix of MIXES by its name, or of any TOML file by its path."""
    path = _path(name, MIXES)
    sources = _read_toml(path).get("sources", [])
    if not isinstance(sources, list):
        raise RecipeError(f"{path}: sources must be [[sources]] tables.")
    return sources


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.toml"))) or "none"
        raise RecipeError(f"{path}: there is no such file; its folder has {known}.") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: this is not valid TOML ({error}).") from None


def _complete(kind: Any, value: Any) -> Any:
    """The value with the defaults of the dataclasses that it stands for."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        return [_complete(arguments[0], item) for item in value]
    if not is_dataclass(kind) or not isinstance(value, dict):
        return value
    hints = get_type_hints(kind)
    result = {name: _complete(hints.get(name), item) for name, item in value.items()}
    for each in fields(kind):
        if each.name in result:
            continue
        if each.default is not MISSING:
            default = each.default
            result[each.name] = list(default) if isinstance(default, tuple) else default
        elif each.default_factory is not MISSING:
            result[each.name] = each.default_factory()
        elif is_dataclass(hints[each.name]) and isinstance(each.type, type):
            result[each.name] = _complete(each.type, {})
    return result


def _fault(recipe: Recipe) -> str | None:
    """What is wrong with the numbers, without a full stop; None if nothing."""
    lengths = recipe.batches.lengths
    schedules = [recipe.schedule] if isinstance(recipe, TrainRecipe) else []
    if isinstance(recipe, RetrainRecipe):
        schedules = [phase.schedule for phase in recipe.phases]
        if not schedules:
            return "there must be at least one [[phases]] table"
        if not 0 <= recipe.distillation <= 1:
            return "distillation must be from 0 to 1"
        if recipe.sampled_words < 0:
            return "sampled_words must be 0 or more"
        if recipe.codes.method == "pnr" and recipe.optimizer.ema:
            return "an average (optimizer.ema) of weights that pnr replaces makes no sense; leave it out"
        if recipe.codes.method == "pnr" and (recipe.codes.prefix or recipe.codes.begin):
            return "codes.prefix and codes.begin need the method ste"
        if recipe.codes.prefix and recipe.codes.begin:
            return "codes.begin takes specialised codes, which codes.prefix does not make"
    if not recipe.sources:
        return "there must be at least one [[sources]] table"
    if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 2:
        return "batches.lengths must rise, from 2 or more"
    positive = {
        "batches.tokens": recipe.batches.tokens,
        "validation.sentences": recipe.validation.sentences,
        "validation.every_tokens": recipe.validation.every_tokens,
        "run.threads": recipe.run.threads,
        "run.log_steps": recipe.run.log_steps,
        "run.checkpoint_minutes": recipe.run.checkpoint_minutes,
        "optimizer.clip": recipe.optimizer.clip,
    }
    for schedule in schedules:
        positive |= {"schedule.tokens": schedule.tokens, "schedule.rate": schedule.rate}
    for source in recipe.sources:
        positive |= {"sources.repeat": source.repeat, "sources.cap": 1 if source.cap is None else source.cap}
        if min(positive.values()) <= 0:
            break
    if wrong := [name for name, number in positive.items() if number <= 0]:
        return f"{wrong[0]} must be more than 0"
    if not 0 <= recipe.optimizer.ema < 1 or not 0 <= recipe.label_smoothing < 1:
        return "optimizer.ema and label_smoothing must be from 0 to below 1"
    return None
