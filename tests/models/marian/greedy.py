"""Whole greedy translations of random models, and where each of their choices is a clear one."""

from collections.abc import Sequence

import torch

from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer

CLEAR = 0.3  # standard deviations of the logits; those of eight planes are off by about 0.05


def greedy(
    checkpoint: Checkpoint, sources: Sequence[Sequence[int]], steps: int, first: int | None = None
) -> list[tuple[list[int], bool]]:
    """Translate by torch in fp32; return each translation, and whether each of its steps had a clear best piece."""
    model, ids = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors), checkpoint.ids
    firsts = [] if first is None else [first] * len(sources)
    found = []
    for source, rows in zip(sources, model.greedy(sources, ids, [steps] * len(sources), firsts), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([source]), torch.tensor([[ids.decoder_start, *rows]]))[0, :steps]
        chosen = logits[len(firsts[:1]) :, [n for n in range(logits.shape[1]) if n not in ids.suppressed]]
        best, second = chosen.topk(2, 1).values.unbind(1)
        found.append((rows, bool(((best - second) / chosen.std(1)).min() > CLEAR)))
    return found
