"""Measure ways to code a model in few bits, without training: docs/results/methods.json.

`make methods` runs all; `--methods` and `--bits` some, whose figures replace those of the file.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.evaluate.divergence import Divergence
from models.evaluate.evaluate import conditions, read_test_set, translate
from models.evaluate.quality import paired_bootstrap, scores
from models.format.layout import bits_per_weight, matrix_shapes
from models.format.schema import Allocation
from models.marian.batches import Batch, encode, in_order
from models.marian.checkpoint import Checkpoint
from models.marian.read import read_checkpoint
from models.marian.rows import piece_counts, sort_rows
from models.marian.transformer import Transformer
from models.quantize.apportion import apportion, curves
from models.quantize.calibrate import calibrate, output_moment, read_batches
from models.quantize.fisher import prices
from models.text.lines import Line
from tests.bench.methods.coders import CODERS, Coder
from tests.bench.methods.page import render
from tests.conftest import ROOT, SHARED

BITS = (1.3, 2.0, 2.5, 3.0, 4.0)
CALIBRATED, PRICED = 500, 200
# Of the checkpoint's other sets multi30k has 7.9 BLEU in fp32 and FLORES 1.5: too little to tell methods apart.
SETS = ("tatoeba",)
TRANSLATED = 500


@dataclass
class Bench:
    """The fp32 model, the text that codes are fitted to, and the text that judges them."""

    checkpoint: Checkpoint
    batches: list[Batch]
    states: Tensor
    divergence: Divergence
    sets: dict[str, tuple[list[str], list[str]]]
    baseline: dict[str, list[str]]

    def allocation(self, bits: float, found: Any) -> Allocation:
        """Apportion so many planes a weight by the fp32 model's Fisher information."""
        architecture = self.checkpoint.architecture
        return apportion(found, lambda each: bits_per_weight(architecture, each) <= bits)

    def measure(self, coder: Coder, allocation: Allocation) -> dict[str, Any]:
        """Code all matrices in turn, each fitted to what those before it made of the text, and judge the result."""
        began, total = time.process_time(), 0.0
        tensors = dict(self.checkpoint.tensors)

        def solve(name: str, wanted: Tensor, moment: Tensor) -> Tensor:
            nonlocal total
            parts = []
            for segment in allocation[name]:
                coded, bits = coder(wanted[segment.begin : segment.end], segment.planes, moment)
                parts.append(coded)
                total += bits
            tensors[name] = torch.cat(parts)
            return tensors[name]

        tensors |= calibrate(self.checkpoint, self.batches, self.states, solve)
        # `calibrate` makes tensors of inference mode, which no model takes.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        minutes = (time.process_time() - began) / 60
        weights = sum(rows * columns for rows, columns in matrix_shapes(self.checkpoint.architecture).values())
        return {
            "bits": round(total / weights, 3),
            "bytes": round(total / 8),
            "minutes": round(minutes, 2),
            **{name: round(value, 4) for name, value in self.divergence.measure(tensors).items()},
            "sets": self.quality(tensors),
        }

    def quality(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Translate the test sets greedily; BLEU and chrF, and the difference to fp32 with its interval."""
        model = Transformer.from_tensors(self.checkpoint.architecture, tensors)
        figures = {}
        for name, (sources, references) in self.sets.items():
            found = translate(model, self.checkpoint, sources)
            loss = paired_bootstrap(found, self.baseline[name], references) if name in self.baseline else None
            self.baseline.setdefault(name, found)
            both = scores(found, references)
            figures[name] = {"bleu": both["bleu"], "chrf": both["chrf"], "loss": loss and loss._asdict()}
        return figures


def main() -> None:
    """Run the methods asked for, and write what they gave after each."""
    arguments = _arguments()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    checkpoint, batches, few = _read(arguments)
    found = curves(checkpoint, prices(checkpoint, few).rows)
    bench = _bench(checkpoint, batches, arguments.shared / "corpus" / "test")
    report = {
        "conditions": conditions() | {"command": f"make methods ARGS='{shlex.join(sys.argv[1:])}'"},
        "checkpoint": arguments.checkpoint,
        "fp32": bench.quality(checkpoint.tensors),
        "rows": json.loads(arguments.out.read_text())["rows"] if arguments.out.exists() else [],
    }
    order = list(CODERS)
    for method in arguments.methods:
        for bits in arguments.bits:
            row = {"method": method, "budget": bits, **bench.measure(CODERS[method], bench.allocation(bits, found))}
            others = [r for r in report["rows"] if (r["method"], r["budget"]) != (method, bits)]
            report["rows"] = sorted([*others, row], key=lambda r: (r["budget"], order.index(r["method"])))
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")
            render(report, arguments.page)
            print(method, bits, row["bits"], row["loss"], row["sets"]["tatoeba"]["bleu"], row["minutes"], flush=True)


def _read(arguments: argparse.Namespace) -> tuple[Checkpoint, list[Batch], list[Batch]]:
    """Return the fp32 model, text to fit codes to, and less of it to price errors by."""
    text = arguments.shared / "corpus" / "train" / arguments.text
    plain = read_checkpoint(arguments.shared / "checkpoint" / arguments.checkpoint)
    checkpoint, _ = sort_rows(plain, *piece_counts(plain, [text]))
    return checkpoint, read_batches(checkpoint, [text], CALIBRATED), read_batches(checkpoint, [text], PRICED)


def _bench(checkpoint: Checkpoint, batches: list[Batch], tests: Path) -> Bench:
    sets = {name: read_test_set(tests / f"{name}.en", tests / f"{name}.de", TRANSLATED) for name in SETS}
    judged = encode(checkpoint, [Line(*pair) for pair in zip(*sets["tatoeba"], strict=True)])
    divergence = Divergence(checkpoint, in_order(judged, checkpoint.ids, 1024))
    return Bench(checkpoint, batches, output_moment(checkpoint, batches), divergence, sets, {})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(CODERS), choices=list(CODERS))
    parser.add_argument("--bits", nargs="+", type=float, default=list(BITS))
    parser.add_argument("--checkpoint", default="en-de-small")
    parser.add_argument("--text", default="tatoeba.tsv.xz")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/methods.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/methods.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
