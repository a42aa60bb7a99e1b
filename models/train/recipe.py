"""Recipes: a TOML file describes a training completely, in the tables below; unknown fields are refused by name.

Paths that begin with `runs/` or `models/` are folders of this repository, other relative ones lie in the shared folder,
which holds `corpus/` and `checkpoint/`. `extends = "NAME"` takes over the fields of another recipe, one level deep:
values replace its values, tables add to its tables.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from models.train.schedule import STRICT, Schedule

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "models/configs/recipes"
MIXES = RECIPES / "mixes"
ModelRecipe = TypeVar("ModelRecipe", bound="Recipe")

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class RecipeError(ValueError):
    """A recipe that can't be read or followed. One sentence."""


def located(path: str, shared: Path) -> Path:
    """Return the place of a recipe's path: in the repository (`runs/`, `models/`) or in the shared folder."""
    return (ROOT if path.startswith(("runs/", "models/")) else shared) / path


# --- tables of every recipe -------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=STRICT)
class Source:
    """One corpus of the mix.

    Attributes:
        name: `NAME.tsv.xz` in the corpus's train directory, or the path of a file of source TAB target.
        licence: of its text, for the card of a model that ships.
        cap: pairs that an epoch takes, drawn again each time; None for all.
        repeat: times that an epoch takes them.
    """

    name: str
    licence: str
    cap: Positive | None = None
    repeat: Positive = 1

    def path(self, corpus: Path) -> Path:
        """Return the file of the text."""
        return Path(self.name) if self.name.endswith((".tsv", ".tsv.xz")) else corpus / f"train/{self.name}.tsv.xz"


@dataclass(frozen=True, config=STRICT)
class Batches:
    """Size of the batches.

    Attributes:
        tokens: places of the target side in a batch, padding included.
        lengths: rising; a pair goes to the batches of the least of these that holds both of its sides.
        multiple: so many times as many sentences in a batch. A step has the mean gradient of that many batches.
    """

    tokens: Positive
    lengths: tuple[int, ...]
    multiple: Positive = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        lengths = list(self.lengths)
        if not lengths or lengths != sorted(set(lengths)) or lengths[0] < 2:
            raise ValueError("batches.lengths must rise, from 2 or more")
        return self


@dataclass(frozen=True, config=STRICT)
class Init:
    """The start of a run.

    Attributes:
        checkpoint: a Marian directory, one that `import` wrote, or a model directory.
        run: directory of another `train` run; its newest state gives weights, optimizer moments and average.
        fresh: take only the checkpoint's vocabulary, and random weights.
        shape: fields of the architecture that differ from the checkpoint's, of a fresh model: numbers, and
            autoregression.
        reverse: exchange the languages, to train the other direction; see `Recipe.reverse_pairs`.
    """

    checkpoint: str
    run: str | None = None
    fresh: bool = False
    reverse: bool = False
    shape: Mapping[str, int | Literal["self_attention", "ssru"]] = field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.shape and not self.fresh:
            raise ValueError("init.shape belongs to a fresh model (init.fresh = true)")
        return self


@dataclass(frozen=True, config=STRICT)
class Validation:
    """Held-out text.

    Attributes:
        set: `valid/tatoeba` stands for the files valid/tatoeba.en and .de, by the languages of the model.
        sentences: number that the loss is measured on.
        bleu_sentences: the first so many of them are translated for BLEU; 0 = none.
        every_tokens: target tokens between two validations.
        keep: which weights of the last phase are the result, those of the least loss or the last ones; a student of
            sequence-level distillation is meant to move away from the references of the held-out text.
    """

    set: str
    sentences: Positive
    bleu_sentences: int
    every_tokens: Positive
    keep: Literal["least_loss", "last"] = "least_loss"


@dataclass(frozen=True, config=STRICT)
class Optimizer:
    """AdamW. `adamw8bit` keeps its two moments in 8 bits (bitsandbytes), for a quarter of their memory.

    Attributes:
        weight_decay: of matrices only.
        clip: largest norm of all gradients together.
        ema: decay of the average of the weights that is validated and written; 0 = the weights themselves.
        scale_rate: learning rate of the scales of learned codes, as a share of that of the weights.
    """

    kind: Literal["adamw", "adamw8bit"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-9
    weight_decay: float = 0.01
    clip: Annotated[float, Field(gt=0)] = 1.0
    ema: BelowOne = 0.0
    scale_rate: float = 1.0


@dataclass(frozen=True, config=STRICT)
class Run:
    """The settings of a run; beyond rounding, only the seed changes its numbers.

    Attributes:
        seed: of the order of the data and of all draws.
        threads: of torch.
        checkpoint_minutes: between two states on disk.
        log_steps: steps between two lines of the log.
        device: that computes the steps.
        precision: of the products; `auto` takes bf16 where the device has such products.
        compiled: let torch.compile make the kernels of a step, once for all shapes; worth its minute on a GPU.
        parts: a step is computed in so many parts, one after the other, for less memory: the same gradient.
    """

    seed: int = 1
    threads: Positive = 2
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    log_steps: Positive = 50
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compiled: bool = False
    parts: Positive = 1


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """The fields of both kinds of training.

    Attributes:
        name: the stem of the file.
        sources: [[sources]] tables; in the file also the name of a mix, a TOML file of such tables in `MIXES`, or its
            path, or a list of several.
        reverse_pairs: learn to translate the second text of each pair into the first.
    """

    name: str
    description: str
    init: Init
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    batches: Batches
    validation: Validation
    label_smoothing: BelowOne
    optimizer: Optimizer
    run: Run
    reverse_pairs: bool = field(default=False, kw_only=True)

    def beginning_with(self, *, checkpoint: Path | None = None, run: Path | None = None) -> Self:
        """Return the recipe with another checkpoint or run to begin with, None for its own."""
        init = self.init
        if checkpoint:
            init = replace(init, checkpoint=str(checkpoint.resolve()))
        if run:
            init = replace(init, run=str(run.resolve()))
        return replace(self, init=init)


# --- the two kinds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=STRICT)
class TrainRecipe(Recipe):
    """A training in fp32 (bf16 products where the device has them)."""

    schedule: Schedule


@dataclass(frozen=True, config=STRICT)
class Codes:
    """The binary codes that `retrain` makes.

    Attributes:
        config: a bit configuration, by its name or path.
        method: "ste" learns weights and scales by a straight-through estimator; "pnr" (the
            paper's) replaces the weights by their codes every `period` steps.
        text: names of sources whose pieces are counted; rows are sorted by the counts.
        solver: of the codes of pnr; ste begins with the scales of least error in any case.
        period: of pnr, steps between two replacements.
        clip: of ste, see models/codes/straight_through.py.
        prefix: of ste: nested codes, each step at a random number of planes up to those of `config`, which must be
            flat; the file serves every width up to it.
        learn: of nested codes: "all" learns weights and scales, "scales" only the scales of those that they begin with.
        begin: of ste, warm start: a model directory with codes of this configuration (progressive ones for `prefix`),
            or a run, whose averages are taken; the checkpoint's weights without.
        begin_config: configuration of those codes, if it is another; their values are the first weights.
        spread: noise on the first weights of rows that get more planes than those codes have, a share of their smallest
            scale; without it the further planes begin at a scale of 0 (models/train/warm_start.py).
        begin_teacher: the checkpoint that they were distilled from, if it was another; the difference between the two
            teachers is added to the first weights (models/train/warm_start.py).
    """

    config: str
    method: Literal["ste", "pnr"]
    text: tuple[str, ...]
    solver: Literal["greedy", "refined", "alternating"] = "alternating"
    period: Positive = 1000
    clip: float = 1.0
    prefix: bool = False
    learn: Literal["all", "scales"] = "all"
    begin: str | None = None
    begin_config: str | None = None
    spread: float = 0.0
    begin_teacher: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.method == "pnr" and (self.prefix or self.begin):
            raise ValueError("codes.prefix and codes.begin need the method ste")
        if self.learn == "scales" and not self.prefix:
            raise ValueError("codes.learn can be 'scales' only for nested codes, codes.prefix")
        return self


@dataclass(frozen=True, config=STRICT)
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


@dataclass(frozen=True, config=STRICT)
class RetrainRecipe(Recipe):
    """A training of codes.

    Attributes:
        distillation: share of the loss that is the divergence from the predictions of the fp32 model.
        sampled_words: size of the sample of the vocabulary that is predicted against, beside the labels of the batch,
            half of it the most frequent pieces, half drawn at random (models/train/sampled_softmax.py); 0 = all.
    """

    codes: Codes
    distillation: Share
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    sampled_words: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.codes.method == "pnr" and self.optimizer.ema:
            raise ValueError("an average (optimizer.ema) of weights that pnr replaces makes no sense; leave it out")
        if self.init.fresh or self.init.reverse or self.init.run:
            raise ValueError("retraining begins with a trained model: leave init.fresh, init.reverse and init.run out")
        return self


# --- reading ----------------------------------------------------------------------------------------------------------


def read_recipe(kind: type[ModelRecipe], name: str, changes: Sequence[str] = ()) -> ModelRecipe:
    """Read a recipe of models/configs/recipes by its name, or any TOML file by its path.

    Args:
        kind: of the recipe.
        name: its name, or a path that ends in .toml.
        changes: lines of TOML, such as `run.threads = 1`, that replace its fields.

    Raises:
        RecipeError: it can't be read, or a field is wrong.
    """
    path = _path(name, RECIPES)
    values = _read_extended(path)
    values = changed(values, changes)
    mixes = values.get("sources")
    if isinstance(mixes, str):
        mixes = [mixes]
    if isinstance(mixes, list) and all(isinstance(mix, str) for mix in mixes):
        values["sources"] = [source for mix in mixes for source in _read_mix(mix)]
    if "name" in values:
        raise RecipeError(f"{path}: the field name is unknown.")
    # Tables that may be left out because all of their fields may.
    values = {"optimizer": {}, "run": {}, **values, "name": path.stem}
    return recipe_of(kind, values, path)


def changed(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a recipe, some of them changed by lines of TOML.

    Raises:
        RecipeError: a line is not TOML.
    """
    result = dict(values)
    for line in changes:
        try:
            result = _merged(result, tomllib.loads(line))
        except tomllib.TOMLDecodeError:
            raise RecipeError(f"{line!r} is not TABLE.FIELD=VALUE; a string has quotes: run.device='cuda'.") from None
    return result


def recipe_of(kind: type[ModelRecipe], values: Mapping[str, Any], path: Path) -> ModelRecipe:
    """Return the recipe of these fields; those that are missing have their defaults.

    Args:
        kind: of the recipe.
        values: as JSON has them.
        path: where they were read, for the sentence.

    Raises:
        RecipeError: a field is unknown or wrong.
    """
    try:
        # As JSON, since strict validation takes lists for tuples and tables for dataclasses only there.
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        # A misspelt table is unknown and missing: the first helps more.
        first = min(error.errors(), key=lambda each: each["type"] != "unexpected_keyword_argument")
        raise RecipeError(f"{path}: {_fault(first)}.") from None


def _path(name: str, folder: Path) -> Path:
    """Return the file of a path, or of the name that it has in a folder of ours."""
    return Path(name) if name.endswith(".toml") else folder / f"{name}.toml"


def _read_extended(path: Path) -> dict[str, Any]:
    """Read the fields of a recipe and of the one that it extends."""
    values = _read_toml(path)
    extended = values.pop("extends", None)
    if extended is None:
        return values
    if not isinstance(extended, str):
        raise RecipeError(f"{path}: extends must be the name of a recipe.")
    base_path = _path(extended, RECIPES)
    base = _read_toml(base_path)
    if "extends" in base:
        raise RecipeError(f"{path}: {base_path.stem} extends a recipe itself; only one level is read.")
    return _merged(base, values)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables; where both have a value, that of `over` stays."""
    tables = {
        name: _merged(base[name], value)
        for name, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **over, **tables}


def _read_mix(name: str) -> list[Any]:
    """Read the tables of a mix of MIXES by its name, or of any TOML file by its path."""
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


_NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "string": "a string",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a table",
    "mapping": "a table",
    "dataclass": "a table",
}


def _fault(error: ErrorDetails) -> str:
    """Return a sentence, without a full stop, that names the field of a validation error."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "too_short":
        return f"there must be at least one [[{place}]] table"
    if noun := _NOUNS.get(kind.rpartition("_")[0]):
        return f"{place} must be {noun}, not {error['input']!r}"
    sentences = {
        "unexpected_keyword_argument": "the field {place} is unknown",
        "missing": "the field {place} is missing",
        "literal_error": "{place} must be one of {expected}",
        "greater_than": "{place} must be more than {gt:g}",
        "greater_than_equal": "{place} must be {ge:g} or more",
        "less_than": "{place} must be below {lt:g}",
        "less_than_equal": "{place} must be at most {le:g}",
        "finite_number": "{place} must be finite",
        "int_from_float": "{place} must be a whole number",
    }
    return sentences.get(kind, "{place}: {message}").format(place=place, message=error["msg"], **context)
