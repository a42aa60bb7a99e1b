"""Learning-rate schedules: warm-up, stable, decay (WSD), and the cosine as the case that decays all the way.

    rate(t) = rate * min(1, (t + 1) / warmup_tokens) * (floor + (1 - floor) * shape(x))
    x       = (t - stable_until) / decay_tokens, from 0 to 1;    stable_until = tokens - decay_tokens

A stable run has no end of its own: any of its states can decay in a run of its own (Hu et al. 2024, arXiv 2404.06395;
the shape `sqrt`, and a decay over about a fifth of the tokens: Hägele et al. 2024, arXiv 2405.18392).
"""

import math
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

Shape = Literal["cosine", "linear", "sqrt"]
# Of every table of a recipe: fields that it does not know are refused, and so is "1" for a number.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """Learning rate of one phase; lengths in target tokens.

    Attributes:
        tokens: length of the phase.
        warmup_tokens: over which the rate rises linearly; the shape begins with the decay, not after the warm-up.
        rate: the highest rate.
        floor: the last rate, as a share of `rate`.
        shape: of the decay: half a cosine, a straight line, or 1 - sqrt(x).
        decay_tokens: length of the decay, the end of the phase; None for the whole phase, 0 for a constant rate.
    """

    tokens: Annotated[int, Field(gt=0)]
    warmup_tokens: Annotated[int, Field(ge=0)]
    rate: Annotated[float, Field(gt=0)]
    floor: Annotated[float, Field(ge=0, le=1)] = 0.02
    shape: Shape = "cosine"
    decay_tokens: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.decay_tokens is not None and self.decay_tokens > self.tokens:
            raise ValueError("schedule.decay_tokens must be at most schedule.tokens")
        return self

    @property
    def stable_until(self) -> int:
        """Return the tokens after which the rate decays."""
        return self.tokens - (self.tokens if self.decay_tokens is None else self.decay_tokens)

    def rate_after(self, tokens: int) -> float:
        """Return the learning rate after so many target tokens of the phase."""
        warm = min(1.0, (tokens + 1) / self.warmup_tokens) if self.warmup_tokens else 1.0
        decay_tokens = self.tokens - self.stable_until
        x = min(1.0, max(0.0, (tokens - self.stable_until) / decay_tokens)) if decay_tokens else 0.0
        return self.rate * warm * (self.floor + (1 - self.floor) * _shape(self.shape, x))


def _shape(shape: Shape, x: float) -> float:
    """Return the share of the way down that is left at x, 1 at 0 and 0 at 1."""
    if shape == "cosine":
        return (1 + math.cos(math.pi * x)) / 2
    return 1 - x if shape == "linear" else 1 - math.sqrt(x)
