"""Second moments of the inputs of every matrix, from text: what an error of its weights costs.

A matrix W that is stored as W^ changes its output by (W^ - W) x. Over the inputs x of real sentences the mean square of
row r of that is e H e^T, with e = row r of W^ - W and H = E[x x^T]. `compensate` lowers it.

A row of an embedding that is the output layer too has two uses, and what each costs adds up in the divergence of the
words' probabilities (its second order is the Fisher information, Martens 2020, arXiv:1412.1193). As a row of the output
layer its error moves a logit by e x, which costs p (1 - p) (e x)^2 / 2; as a word's vector it costs (e g)^2 / 2, g the
gradient of the log-probability of a word that is drawn from the model.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor, nn
from tqdm import tqdm

from models.checkpoint import Checkpoint
from models.data import DataError, load_tokenizer, read_lines
from models.transformer import Transformer

BATCH_TOKENS = 4096


def input_moments(checkpoint: Checkpoint, texts: Sequence[Path], pairs: int) -> dict[str, Tensor]:
    """Runs the fp32 model over sentence pairs, the translation given.

    Args:
        checkpoint: the model, its rows in any order.
        texts: files of source TAB target; each gives the same share of the pairs, evenly spread over its lines.
        pairs: how many to read in all.

    Returns:
        matrix -> float64 [columns, columns]: the sum of x x^T over its inputs x, padding left out; for embeddings and
        the output layer weighted as above.
    """
    architecture = checkpoint.architecture
    model = Transformer.from_tensors(architecture, checkpoint.tensors).requires_grad_(False)
    tied = "embedding" if architecture.shared_vocabulary else "target_embedding"
    output = tied if architecture.tied_output else "output"
    moments: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}

    def add(name: str, x: Tensor) -> None:
        """X [tokens, columns]"""
        x = x.detach()
        moments[name] = moments.get(name, 0) + (x.T @ x).double()

    def watch_inputs(name: str, side: str) -> None:
        model.get_submodule(name).register_forward_pre_hook(lambda _, inputs: add(name, inputs[0][masks[side]]))

    def watch_gradients(name: str) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor], vectors: Tensor) -> None:
            vectors.requires_grad_().register_hook(lambda gradient: add(name, gradient.flatten(0, 1)))

        model.get_submodule(name).register_forward_hook(hook)

    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            watch_gradients(name)
        elif isinstance(module, nn.Linear) and name != "output":
            of_source = name.startswith("encoder.") or name.endswith(
                ("encoder_attention.key", "encoder_attention.value")
            )
            watch_inputs(name, "source" if of_source else "target")

    generator = torch.Generator().manual_seed(0)
    for source, target in tqdm(list(_batches(checkpoint, texts, pairs)), desc="calibrating", unit="batch"):
        (source_ids, masks["source"]), (target_ids, masks["target"]) = _pad(source), _pad(target)
        memory = model.encode(source_ids, masks["source"])
        states = model.decode(target_ids, memory, masks["source"], {})[masks["target"]]
        logits = model.output(states)
        probabilities = logits.detach().softmax(1)
        # p (1 - p), summed over the rows; what the gradients add is summed over the rows too.
        add(output, states * (1 - probabilities.square().sum(1, keepdim=True)).clamp_min(0).sqrt())
        words = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        F.cross_entropy(logits, words, reduction="sum").backward()
    return moments


def _batches(
    checkpoint: Checkpoint, texts: Sequence[Path], pairs: int
) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """Batches of source and target ids; sentences of like length go together."""
    ids, limit = checkpoint.ids, checkpoint.architecture.max_positions
    tokenize_source = _tokenizer(checkpoint.spm["source.spm"], checkpoint.source_pieces, ids.unk_source)
    target_pieces = checkpoint.source_pieces if checkpoint.target_pieces is None else checkpoint.target_pieces
    tokenize_target = _tokenizer(checkpoint.spm["target.spm"], target_pieces, ids.unk_target)
    sentences = []
    for path in texts:
        lines = list(read_lines(path))
        share = min(len(lines), -(-pairs // len(texts)))
        for n in range(share):
            line = lines[n * len(lines) // share]
            if line.target is None:
                raise DataError(f"{path}: text to calibrate on must be source TAB target.")
            source = [*tokenize_source(line.source), ids.eos]
            target = [ids.decoder_start, *tokenize_target(line.target)]
            if len(source) <= limit and len(target) <= limit:
                sentences.append((source, target))
    sentences.sort(key=lambda pair: (len(pair[0]), len(pair[1])))
    while sentences:
        size = max(1, BATCH_TOKENS // len(sentences[-1][0]))
        sentences, batch = sentences[:-size], sentences[-size:]
        yield [source for source, _ in batch], [target for _, target in batch]


def _tokenizer(spm: bytes, pieces: Sequence[str], unk: int) -> Callable[[str], list[int]]:
    tokenizer, number = load_tokenizer(spm), {piece: n for n, piece in enumerate(pieces)}
    return lambda text: [number.get(piece, unk) for piece in tokenizer.encode(text, out_type=str)]


def _pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids [batch, longest], and the mask that is true where there is a token."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    return ids, torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
