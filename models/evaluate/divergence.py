"""Divergence of a model from the fp32 model that it was made of: needs text, but no references."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor
from tqdm import tqdm

from models.format.directory import ModelDirectory
from models.marian.batches import Batch, decoder_states, encode, in_order
from models.marian.checkpoint import Checkpoint
from models.marian.coded import dequantize
from models.marian.transformer import Transformer
from models.text.lines import read_lines

PREDICTED_ROWS, PREDICTED = 512, 1 << 23  # positions, and predictions, that are held at a time
PAIRS, BATCH_TOKENS = 200, 1024


class Divergence:
    """KL(fp32 || model) in nats a target token, and the share of tokens on whose likeliest word both agree.

    Both read the same words of the target (teacher forcing).
    """

    def __init__(self, checkpoint: Checkpoint, batches: Iterable[Batch]) -> None:
        """Run the fp32 model over held-out text; its decoder's states are kept."""
        self._architecture = checkpoint.architecture
        self._model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
        with torch.inference_mode():
            bar = tqdm(batches, desc="fp32 on held-out text", unit="batch", leave=False)
            self._held = [(batch, decoder_states(self._model, batch)) for batch in bar]

    @torch.inference_mode()
    def measure(self, tensors: Mapping[str, Tensor], *, bleu: bool = False) -> dict[str, float]:
        """Return the divergence as `loss`, and `agreement` from 0 to 1, of a model with these tensors.

        Args:
            tensors: matrices and vectors in float32.
            bleu: is not measured; here for `models.train.loop`.
        """
        model = Transformer.from_tensors(self._architecture, tensors)
        rows = min(PREDICTED_ROWS, max(1, PREDICTED // self._architecture.target_vocab_size))
        total, agreed, count = 0.0, 0, 0
        for batch, states in tqdm(self._held, desc="divergence from fp32", unit="batch", leave=False):
            other = decoder_states(model, batch)
            for begin in range(0, len(states), rows):
                part = slice(begin, begin + rows)
                wanted = self._model.output(states[part]).log_softmax(1)
                found = model.output(other[part]).log_softmax(1)
                total += F.kl_div(found, wanted, log_target=True, reduction="sum").item()
                agreed += int((wanted.argmax(1) == found.argmax(1)).sum())
            count += len(states)
        return {"loss": total / count, "agreement": agreed / count}


def diverging(checkpoint: Checkpoint, text: Path, model: ModelDirectory) -> dict[str, float]:
    """Measure the default configuration of a model directory on 200 pairs of a text, evenly spread over its lines.

    Args:
        checkpoint: the fp32 model, its rows in the order of the directory.
        text: source TAB target.
        model: made of the checkpoint.
    """
    lines = list(read_lines(text))
    count = min(PAIRS, len(lines))
    # the middle of each stretch, where `read_batches` takes its beginning to calibrate on
    some = [lines[(2 * n + 1) * len(lines) // (2 * count)] for n in range(count)]
    divergence = Divergence(checkpoint, in_order(encode(checkpoint, some), checkpoint.ids, BATCH_TOKENS))
    return divergence.measure(dequantize(model, model.allocation(model.config.default_configuration)))
