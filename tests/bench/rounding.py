"""How many greedy translations change when the weights are rounded, whatever rounds them.

    python -m tests.bench.rounding      # writes docs/results/rounding.json

Each matrix gets Gaussian noise of a relative variance a row. 2^-2b is the least mean squared error that any code of b
bits a weight can have for Gaussian weights (Shannon's rate-distortion function), so 2^-16 is about the best thinkable
code of eight bits, as long as it is not fitted to text.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from models.evaluate.evaluate import translate
from models.format.layout import matrix_shapes
from models.marian.checkpoint import Checkpoint
from models.marian.read import read_checkpoint
from models.marian.transformer import Transformer

RESULTS = Path("docs/results/rounding.json")
# 4.2e-5 is the error of eight planes (models/bcq.py) on the checkpoint's rows.
VARIANCES = (4.2e-5, 2.0**-16, 2.0**-17, 2.0**-18, 2.0**-19, 2.0**-20)


def noisy(checkpoint: Checkpoint, variance: float, seed: int) -> Checkpoint:
    """Add noise to each matrix of a checkpoint, of `variance` times the mean square of its row."""
    generator = torch.Generator().manual_seed(seed)
    tensors = dict(checkpoint.tensors)
    for name in matrix_shapes(checkpoint.architecture):
        weights = tensors[name]
        size = (variance * weights.square().mean(dim=1, keepdim=True)).sqrt()
        tensors[name] = weights + size * torch.randn(weights.shape, generator=generator)
    return replace(checkpoint, tensors=tensors)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are small
    checkpoint = read_checkpoint(options.shared / "checkpoint/en-de-small")
    text = options.shared / "corpus/test/tatoeba.en"
    sources = text.read_text(encoding="utf-8").splitlines()[: options.sentences]

    def output(of: Checkpoint) -> list[str]:
        with torch.inference_mode():
            return translate(Transformer.from_tensors(of.architecture, of.tensors), of, sources)

    plain = output(checkpoint)
    rows = []
    for variance in VARIANCES:
        equal = [
            sum(a == b for a, b in zip(plain, output(noisy(checkpoint, variance, seed)), strict=True)) / len(sources)
            for seed in range(options.seeds)
        ]
        rows.append({"relative_variance": variance, "equal": equal})
        print(f"{variance:.2e}  " + "  ".join(f"{share:.1%}" for share in equal), flush=True)
    document = {
        "command": "python -m tests.bench.rounding",
        "checkpoint": "en-de-small, fp32, torch, greedy",
        "text": f"Tatoeba test, first {len(sources)} sentences",
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
