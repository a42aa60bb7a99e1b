"""Bit allocation by search: what loses least for each byte, or each microsecond of decoding, gives way first.

For every sub-layer, and for the embedding, the validation loss is measured with this part alone in codes of 1 to 4
planes (Table 1 of Chung et al. 2020, sub-layer by sub-layer). The losses are taken for additive. From the most planes
everywhere the search goes to a cheaper option of some part, always the one with the least loss for what it saves, until
the budget is kept. Options that lie above the convex hull of their part are stepped over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from models.codes import bcq
from models.codes.bit_config import BitConfig, Rule
from models.format.directory import open_model
from models.format.layout import Vectors, matching, matrix_bytes, matrix_shapes, model_bytes, sub_layers
from models.format.schema import Allocation, Segment
from models.marian.checkpoint import Checkpoint

PLANES = (4, 3, 2, 1)
RATIOS = (1, 2, 4)  # of clusters of rows, beside flat planes
VOCABULARY = ("*embedding", "output")


class AllocationError(ValueError):
    """A budget that can't be kept. One sentence."""


class HeldOut(Protocol):
    """Held-out text, as `models.train.validation` measures on it."""

    def measure(self, tensors: Mapping[str, torch.Tensor], *, bleu: bool) -> dict[str, float]:
        """Measure the loss in nats a piece, and BLEU if asked, of a model with these tensors."""
        ...


@dataclass(frozen=True)
class Option:
    """One way to code a part of the model.

    Attributes:
        bytes: of its planes and scales.
        decode_bits: bits of planes that one decoding step goes through; the encoder runs once a sentence, so none.
        loss: by which the validation loss rises with this part alone in these codes, nats a piece.
    """

    rule: Rule
    bytes: int
    decode_bits: int
    loss: float


Options = Mapping[str, Sequence[Option]]
Cost = Callable[[Option], float]


def measure(checkpoint: Checkpoint, held_out: HeldOut) -> dict[str, list[Option]]:
    """Measure the options of each sub-layer and of "vocabulary"; the rows must be sorted by frequency."""
    torch.set_num_threads(1)
    shapes = matrix_shapes(checkpoint.architecture)
    parts = {
        name: [Rule((name,), planes, None, None) for planes in PLANES] for name in sub_layers(checkpoint.architecture)
    }
    clusters = [Rule(VOCABULARY, None, 4, ratio) for ratio in RATIOS]
    parts["vocabulary"] = [*(Rule(VOCABULARY, planes, None, None) for planes in PLANES), *clusters]
    plain = held_out.measure(checkpoint.tensors, bleu=False)["loss"]
    result: dict[str, list[Option]] = {}
    with tqdm(total=sum(map(len, parts.values())), desc="measuring", unit="option") as bar:
        for part, rules in parts.items():
            for rule in rules:
                names = matching(shapes, *rule.match)
                allocation = {name: rule.segments(shapes[name][0]) for name in names}
                replaced = {name: coded(checkpoint.tensors[name], allocation[name]) for name in names}
                loss = held_out.measure({**checkpoint.tensors, **replaced}, bleu=False)["loss"] - plain
                size = sum(matrix_bytes(allocation[name], shapes[name][1], None) for name in names)
                result.setdefault(part, []).append(Option(rule, size, _decode_bits(allocation, shapes), loss))
                bar.update()
    return result


def coded(weights: torch.Tensor, segments: Sequence[Segment]) -> torch.Tensor:
    """Round a matrix to its best codes, its rows in segments of planes."""
    return torch.cat([bcq.specialised(weights[s.begin : s.end], s.planes).dequantize(s.planes) for s in segments])


def _decode_bits(allocation: Allocation, shapes: Mapping[str, tuple[int, int]]) -> int:
    """Count the bits of planes that one decoding step reads.

    What runs once a sentence is left out: the encoder, the keys and values of its output, and the source embedding.
    """
    once = ("encoder.", "source_embedding")
    names = [
        name
        for name in allocation
        if not name.startswith(once) and not name.endswith((".encoder_attention.key", ".encoder_attention.value"))
    ]
    return sum((s.end - s.begin) * s.planes * shapes[name][1] for name in names for s in allocation[name])


def choose(options: Options, cost: Cost, budget: float) -> dict[str, Option]:
    """Search for the option of each part; costs are summed.

    Raises:
        AllocationError: the cheapest options together cost more than the budget.
    """
    chosen = {part: max(each, key=lambda option: (cost(option), -option.loss)) for part, each in options.items()}
    total = sum(map(cost, chosen.values()))
    while total > budget:
        steps = [
            ((option.loss - now.loss) / (cost(now) - cost(option)), part, option)
            for part, now in chosen.items()
            for option in options[part]
            if cost(option) < cost(now)
        ]
        if not steps:
            raise AllocationError(f"The budget is {budget:g}, but the least that these options cost is {total:g}.")
        _, part, option = min(steps, key=lambda step: step[0])
        total += cost(option) - cost(chosen[part])
        chosen[part] = option
    return chosen


def configuration(name: str, description: str, chosen: Mapping[str, Option]) -> BitConfig:
    """Make a configuration of the chosen options' rules."""
    return BitConfig(name, description, tuple(option.rule for option in chosen.values()))


def toml(config: BitConfig) -> str:
    """Write the configuration as a file that `models.codes.bit_config` reads.

    The planes that most parts have are the rule for whatever no other rule names, so the file suits other models too.
    """
    grouped: dict[str, list[str]] = {}
    for rule in config.rules:
        value = f"planes = {rule.planes}" if rule.planes else f"clusters = {rule.clusters}\nratio = {rule.ratio}"
        grouped.setdefault(value, []).extend(rule.match)
    usual = max((value for value in grouped if value.startswith("planes")), key=lambda value: len(grouped[value]))
    rules = [f'[[rules]]\nmatch = "*"\n{usual}\n']
    for value, globs in grouped.items():
        if value != usual:
            lines = "".join(f'  "{glob}",\n' for glob in globs)
            rules.append(f"[[rules]]\nmatch = [\n{lines}]\n{value}\n")
    return f'description = "{config.description}"\n\n' + "\n".join(rules)


def fixed_bytes(checkpoint: Checkpoint) -> int:
    """Count the bytes that no option changes: biases and layer norms."""
    shapes = matrix_shapes(checkpoint.architecture)
    flat = {name: (Segment(0, rows, 1),) for name, (rows, _) in shapes.items()}
    matrices = sum(matrix_bytes(flat[name], columns, None) for name, (_, columns) in shapes.items())
    bias = checkpoint.tensors.get("output.bias")
    vectors = Vectors(output_bias=bias is not None and bool(bias.any()), half=True)
    whole = model_bytes(checkpoint.architecture, None, flat, vectors)
    return whole - matrices


def microseconds_per_bit(directory: Path, *, tokens: int = 32, runs: int = 40) -> float:
    """Measure the engine's decoding time for each bit of planes that a step goes through, from flat-4 less flat-1."""
    model = open_model(directory)
    shapes = matrix_shapes(model.config.architecture)
    engines, bits = [], []
    for planes in (4, 1):
        allocation = {name: (Segment(0, rows, planes),) for name, (rows, _) in shapes.items()}
        engines.append(model.engine(allocation))
        bits.append(_decode_bits(allocation, shapes))
    source = [*range(2, 25), model.config.ids.eos]
    times: list[list[float]] = [
        [engine.translate([source], max_lengths=[tokens], min_length=tokens).decode_ms for engine in engines]
        for _ in range(runs)
    ]
    many, few = np.median(np.array(times), axis=0).tolist()
    return float(1000 * (many - few) / tokens / (bits[0] - bits[1]))


def together(checkpoint: Checkpoint, held_out: HeldOut, config: BitConfig) -> dict[str, float]:
    """Measure validation loss and BLEU with the whole model in the codes of a configuration, nothing retrained."""
    allocation = config.allocation(checkpoint.architecture)
    replaced = {name: coded(checkpoint.tensors[name], segments) for name, segments in allocation.items()}
    return held_out.measure({**checkpoint.tensors, **replaced}, bleu=True)


def recorded(options: Options) -> dict[str, list[dict[str, Any]]]:
    """Return the measured options as JSON."""
    return {
        part: [
            {"rule": str(o.rule), "bytes": o.bytes, "decode_bits": o.decode_bits, "loss": round(o.loss, 5)}
            for o in each
        ]
        for part, each in options.items()
    }
