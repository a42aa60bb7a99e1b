"""Calibration: second moments of the inputs of every matrix, which tell what an error of a weight costs.

A matrix W that is stored as W^ changes its output by (W^ - W) x. Over the inputs x of real sentences the mean square of
row r of that is e_r H e_r^T, with e = W^ - W and H = E[x x^T]. `compensate` lowers it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.text.lines import DataError, read_lines

BATCH_TOKENS = 4096
# An embedding is read in two ways: as output layer it meets the decoder's states, as embedding a row is taken as it is,
# every column alike. This is the weight of the second, as a part of the mean of the diagonal of the first.
EMBEDDING_IDENTITY = 1.0


def input_moments(checkpoint: Checkpoint, texts: Sequence[Path], pairs: int) -> dict[str, Tensor]:
    """Run the fp32 model over sentence pairs, the translation given.

    Args:
        checkpoint: the model, its rows in any order.
        texts: files of source TAB target; each gives the same share of the pairs, evenly spread over its lines.
        pairs: how many to read in all.

    Returns:
        matrix -> float64 [columns, columns], the mean of x x^T over its inputs x. For an embedding that is the output
        layer too the inputs are the decoder's states, and the identity is added; other embeddings get the identity.
    """
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    names = {f"{name}.weight": name for name in checkpoint.tensors}
    tied = "embedding" if checkpoint.architecture.shared_vocabulary else "target_embedding"
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    masks: dict[str, Tensor] = {}
    for module_name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            from_encoder = module_name.startswith("encoder.") or module_name.endswith(
                ("encoder_attention.key", "encoder_attention.value")
            )
            side = "source" if from_encoder else "target"
            name = names.get(f"{module_name}.weight", tied)

            def add(_: nn.Module, inputs: tuple[Tensor], name: str = name, side: str = side) -> None:
                x = inputs[0][masks[side]]
                sums[name] = sums.get(name, 0) + (x.T @ x).double()
                counts[name] = counts.get(name, 0) + len(x)

            module.register_forward_pre_hook(add)
    with torch.inference_mode():
        for source, target in _batches(checkpoint, texts, pairs):
            (source_ids, masks["source"]), (target_ids, masks["target"]) = _pad(source), _pad(target)
            model(source_ids, target_ids, masks["source"])
    moments = {name: total / counts[name] for name, total in sums.items()}
    width = checkpoint.architecture.d_model
    for name in ("embedding", "source_embedding", "target_embedding"):
        if name in checkpoint.tensors:
            moment = moments.get(name, torch.zeros(width, width, dtype=torch.float64))
            share = EMBEDDING_IDENTITY * moment.diagonal().mean() if name in moments else 1.0
            moments[name] = moment + share * torch.eye(width, dtype=torch.float64)
    return moments


def _batches(
    checkpoint: Checkpoint, texts: Sequence[Path], pairs: int
) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """Yield batches of source and target ids; sentences of like length go together."""
    ids, limit = checkpoint.ids, checkpoint.architecture.max_positions
    source_tokenizer, target_tokenizer = checkpoint.source_tokenizer(), checkpoint.target_tokenizer()
    sentences = []
    for path in texts:
        lines = list(read_lines(path))
        share = min(len(lines), -(-pairs // len(texts)))
        for n in range(share):
            line = lines[n * len(lines) // share]
            if line.target is None:
                raise DataError(f"{path}: text to calibrate on must be source TAB target.")
            source = [*source_tokenizer.encode(line.source), ids.eos]
            target = [ids.decoder_start, *target_tokenizer.encode(line.target)]
            if len(source) <= limit and len(target) <= limit:
                sentences.append((source, target))
    sentences.sort(key=lambda pair: (len(pair[0]), len(pair[1])))
    while sentences:
        size = max(1, BATCH_TOKENS // len(sentences[-1][0]))
        sentences, batch = sentences[:-size], sentences[-size:]
        yield [source for source, _ in batch], [target for _, target in batch]


def _pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids [batch, longest], and the mask that is true where there is a token."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    return ids, torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
