"""Bit configurations: TOML rules -> planes for each matrix and each cluster of rows.

A file has ordered rules; the last one that matches a matrix wins, and a matrix that none matches is an error:

    description = "one line"
    retrained = true                    # needs codes made for it: left out of what `quantize` writes; false if left out
    [[rules]]
    match = "encoder.*.ffn"             # glob over matrix names or blocks, or a list of globs
    planes = 4
    [[rules]]
    match = ["*embedding", "output"]    # rows are pieces
    clusters = 4                        # Algorithm 1 of the paper: 4, 3, 2, 1 planes by falling word frequency,
    ratio = 1                           # each cluster `ratio` times as large as the one before
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.format.layout import matching, matrix_shapes
from models.format.schema import MAX_PLANES, Architecture, Segment

CONFIGS = Path(__file__).parents[1] / "configs"


class BitConfigError(ValueError):
    """A bit configuration that can't be read or applied. One sentence."""


@dataclass(frozen=True)
class Rule:
    """Matrices and their planes: flat, or falling by word frequency from `clusters` to 1."""

    match: tuple[str, ...]
    planes: int | None
    clusters: int | None
    ratio: int | None

    def __str__(self) -> str:
        what = f"planes {self.planes}" if self.planes else f"clusters {self.clusters} ratio {self.ratio}"
        return f"{' '.join(self.match)}: {what}"

    def segments(self, rows: int) -> tuple[Segment, ...]:
        """Divide the rows of a matrix by planes."""
        if self.planes is not None:
            return (Segment(0, rows, self.planes),)
        assert self.clusters is not None
        assert self.ratio is not None
        segments, begin = [], 0
        for size, planes in zip(
            cluster_sizes(rows, self.clusters, self.ratio), range(self.clusters, 0, -1), strict=True
        ):
            if size:  # a small vocabulary may leave a cluster empty
                segments.append(Segment(begin, begin + size, planes))
                begin += size
        return tuple(segments)


@dataclass(frozen=True)
class BitConfig:
    """A named list of rules; `retrained` says that only codes retrained for it are of use."""

    name: str
    description: str
    rules: tuple[Rule, ...]
    retrained: bool = False

    @property
    def is_flat(self) -> bool:
        """Whether every matrix has the same number of planes."""
        return len(self.rules) == 1 and self.rules[0].match == ("*",) and self.rules[0].planes is not None

    def winners(self, architecture: Architecture) -> dict[str, Rule]:
        """Return matrix -> the rule that wins."""
        shapes = matrix_shapes(architecture)
        winners = {name: rule for rule in self.rules for name in matching(shapes, *rule.match)}
        if missing := [name for name in shapes if name not in winners]:
            raise BitConfigError(f"The configuration {self.name!r} has no rule for the matrix {missing[0]!r}.")
        return {name: winners[name] for name in shapes}

    def allocation(self, architecture: Architecture) -> dict[str, tuple[Segment, ...]]:
        """Return the planes of every matrix."""
        shapes = matrix_shapes(architecture)
        return {name: rule.segments(shapes[name][0]) for name, rule in self.winners(architecture).items()}


@dataclass(frozen=True)
class Apportioned:
    """A configuration that was made for one model: the segments of every matrix, instead of rules."""

    name: str
    segments: Mapping[str, tuple[Segment, ...]]

    def allocation(self, architecture: Architecture) -> dict[str, tuple[Segment, ...]]:
        """Return the planes of every matrix."""
        return dict(self.segments)


def cluster_sizes(rows: int, clusters: int, ratio: int) -> list[int]:
    """Size clusters by Algorithm 1: each `ratio` times the one before; the last takes what rounding leaves."""
    unit = rows / sum(ratio**k for k in range(clusters))
    sizes = [round(unit * ratio**k) for k in range(clusters - 1)]
    return [*sizes, rows - sum(sizes)]


def read_config(path: Path) -> BitConfig:
    """Read a TOML file; its stem is the name.

    Raises:
        BitConfigError: the file is missing, is not TOML, or breaks a rule of the module's docstring.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError:
        raise BitConfigError(f"{path}: the file is missing.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BitConfigError(f"{path}: this is not valid TOML ({error}).") from None
    if unknown := sorted(values.keys() - {"description", "rules", "retrained"}):
        raise BitConfigError(f"{path}: the field {unknown[0]!r} is unknown.")
    rules = values.get("rules")
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, dict) for rule in rules):
        raise BitConfigError(f"{path}: there must be at least one [[rules]] table.")
    description = values.get("description", "")
    if not isinstance(description, str):
        raise BitConfigError(f"{path}: description must be a string.")
    retrained = values.get("retrained", False)
    if not isinstance(retrained, bool):
        raise BitConfigError(f"{path}: retrained must be true or false.")
    parsed = tuple(_rule(path, n, rule) for n, rule in enumerate(rules, start=1))
    return BitConfig(path.stem, description, parsed, retrained)


def _rule(path: Path, number: int, values: Mapping[str, Any]) -> Rule:
    where = f"{path}: rule {number}"
    if unknown := sorted(values.keys() - {"match", "planes", "clusters", "ratio"}):
        raise BitConfigError(f"{where}: the field {unknown[0]!r} is unknown.")
    match = values.get("match")
    globs = (match,) if isinstance(match, str) else tuple(match or ()) if isinstance(match, list) else ()
    if not globs or not all(isinstance(glob, str) for glob in globs):
        raise BitConfigError(f"{where}: match must be a glob or a list of globs.")
    limits = {"planes": MAX_PLANES, "clusters": MAX_PLANES, "ratio": 1024}
    for name in limits.keys() & values.keys():
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limits[name]:
            raise BitConfigError(f"{where}: {name} must be a whole number from 1 to {limits[name]}, not {value!r}.")
    if ("planes" in values) == ("clusters" in values) or ("clusters" in values) != ("ratio" in values):
        raise BitConfigError(f"{where}: give either planes, or clusters with their ratio.")
    return Rule(globs, values.get("planes"), values.get("clusters"), values.get("ratio"))


def shipped_configs() -> dict[str, BitConfig]:
    """Read all configurations of models/configs, by name."""
    return {path.stem: read_config(path) for path in sorted(CONFIGS.glob("*.toml"))}


def find_config(name: str) -> BitConfig:
    """Return a shipped configuration by its name, or any TOML file by its path.

    Raises:
        BitConfigError: there is no such configuration.
    """
    if name.endswith(".toml"):
        return read_config(Path(name))
    shipped = shipped_configs()
    if name not in shipped:
        raise BitConfigError(f"There is no configuration {name!r}; models/configs has {', '.join(sorted(shipped))}.")
    return shipped[name]
