"""Calibration: codes of each matrix that make up for the codes before it (GPTQ's moments, Frantar et al. 2022).

A matrix W that is stored as W^ changes its output by (W^ - W) x. Over inputs x the mean square of row r of that is
e_r H e_r^T, with e = W^ - W and H = E[x x^T]; `models.codes.compensate` lowers it. Text goes through the network twice:
as x through the fp32 model, and as x^ through the codes so far. What W^ x^ shall be is y = W x, plus a part of what the
residual connection around the sub-layer has lost by now. So the matrix to be coded is not W but

    W* = (E[y x^^T] + d W) (H + d I)^-1        H = E[x^ x^^T],  d = DAMPING of the mean of H's diagonal

with all moments about the means where there is a bias, since it takes the rest. On the shared checkpoint with two
planes everywhere the divergence from fp32 is 0.63 with the moments of fp32 and 0.46 with these.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.format.layout import is_vocabulary, output_matrix
from models.marian.batches import Batch, decoder_states, encode, in_order
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer, visible
from models.text.lines import DataError, Line, read_lines

# Part of the mean of H's diagonal that is added to it, here and in the codes themselves.
DAMPING = 0.01
BATCH_TOKENS = 2048
# The part of the residual connection's loss that the last matrix of a sub-layer shall restore: 0 and 1 diverge by 0.48,
# a half by 0.46.
RESTORED = 0.5
# An embedding is read in two ways: as output layer it meets the decoder's states, as embedding a row is taken as it is,
# every column alike. This is the weight of the second, as a part of the mean of the diagonal of the first.
EMBEDDING_IDENTITY = 1.0

# name of a matrix, the matrix to code [rows, columns], moment of its inputs [columns, columns] -> what its codes are
Solve = Callable[[str, Tensor, Tensor], Tensor]
# The two streams: a tensor for each batch in the fp32 model, and in the codes.
Streams = tuple[list[Tensor], list[Tensor]]


def read_batches(checkpoint: Checkpoint, texts: Sequence[Path], pairs: int) -> list[Batch]:
    """Read sentence pairs to calibrate on.

    Args:
        checkpoint: its pieces number the text.
        texts: files of source TAB target; each gives the same share of the pairs, evenly spread over its lines.
        pairs: how many to read in all.

    Raises:
        DataError: a file can't be read or has no translations.
    """
    taken: list[Line] = []
    for path in texts:
        lines = list(read_lines(path))
        if any(line.target is None for line in lines):
            raise DataError(
                f"{path}: text to calibrate on must be source TAB target; `compress` translates plain text itself."
            )
        share = min(len(lines), -(-pairs // len(texts)))
        taken += [lines[n * len(lines) // share] for n in range(share)]
    return in_order(encode(checkpoint, taken), checkpoint.ids, BATCH_TOKENS)


def output_moment(checkpoint: Checkpoint, batches: Sequence[Batch]) -> Tensor:
    """Return the mean of x x^T over the inputs x of the output layer, in fp32: [d_model, d_model]."""
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    width = checkpoint.architecture.d_model
    total, count = torch.zeros(width, width, dtype=torch.float64), 0
    with torch.inference_mode():
        for batch in batches:
            states = decoder_states(model, batch)
            total += states.T @ states
            count += len(states)
    return total / count


@torch.inference_mode()
def calibrate(checkpoint: Checkpoint, batches: Sequence[Batch], states: Tensor, solve: Solve) -> dict[str, Tensor]:
    """Code all matrices in the order of the computation.

    Args:
        checkpoint: the fp32 model.
        batches: text, some thousand tokens.
        states: the moment that `output_moment` returns.
        solve: codes a matrix.

    Returns:
        The biases that go with these codes, by name.
    """
    walk = _Walk(checkpoint, batches, solve)
    for name in checkpoint.tensors:
        if is_vocabulary(name):
            walk.vocabulary(name, states)
    walk.embed("source")
    for n in range(checkpoint.architecture.encoder_layers):
        walk.attention(f"encoder.{n}.self_attention", walk.hidden_sources)
        walk.feed_forward(f"encoder.{n}.ffn")
    walk.end_encoder()
    walk.embed("target")
    for n in range(checkpoint.architecture.decoder_layers):
        if checkpoint.architecture.autoregression == "ssru":
            walk.recurrence(f"decoder.{n}.ssru")
        else:
            walk.attention(f"decoder.{n}.self_attention", walk.hidden_future)
        walk.attention(f"decoder.{n}.encoder_attention", walk.hidden_sources, of_memory=True)
        walk.feed_forward(f"decoder.{n}.ffn")
    return walk.biases


class _Walk:
    """Both streams on their way through the network."""

    def __init__(self, checkpoint: Checkpoint, batches: Sequence[Batch], solve: Solve) -> None:
        self._solve, self._batches = solve, batches
        plain, coded = (Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors) for _ in range(2))
        self._models = plain, coded
        self._architecture = checkpoint.architecture
        self._states: Streams = [], []
        self._memory: Streams = [], []
        self._masks = [batch.source_mask for batch in batches]
        self.biases: dict[str, Tensor] = {}
        self.hidden_sources = [visible(batch.source_mask[:, None, None]) for batch in batches]
        lengths = [batch.target.shape[1] for batch in batches]
        self.hidden_future = [visible(torch.ones(length, length, dtype=torch.bool).tril()) for length in lengths]

    def vocabulary(self, name: str, states: Tensor) -> None:
        """Code an embedding, or the output layer."""
        weights: Any = self._models[0].get_submodule(name).weight
        width, output = self._architecture.d_model, output_matrix(self._architecture)
        moment = states if name == output else torch.zeros(width, width, dtype=torch.float64)
        share = EMBEDDING_IDENTITY * states.diagonal().mean() if name == output else 1.0
        if name != "output":
            moment = moment + share * torch.eye(width, dtype=torch.float64)
        self._models[1].get_submodule(name).weight = _fixed(self._solve(name, weights.data, moment))

    def embed(self, side: str) -> None:
        """Begin a side."""
        self._masks = [b.source_mask if side == "source" else b.target_mask for b in self._batches]
        for model, states in zip(self._models, self._states, strict=True):
            states[:] = [model.embed(side, getattr(batch, side)) for batch in self._batches]
        name = "embedding" if self._architecture.shared_vocabulary else f"{side}_embedding"
        if name != "embedding" or side == "target":  # read for the last time, as in `_end`
            plain, coded = (model.get_submodule(name) for model in self._models)
            coded.weight = plain.weight

    def end_encoder(self) -> None:
        """Keep the states as memory of the decoder."""
        for model, memory, states in zip(self._models, self._memory, self._states, strict=True):
            norm: Any = model.encoder["norm"] if self._architecture.norm == "pre" else nn.Identity()
            memory[:] = [norm(x) for x in states]

    def attention(self, name: str, hidden: Sequence[Tensor], *, of_memory: bool = False) -> None:
        """Code the four matrices of a sub-layer, and go on to its output."""
        inputs = self._inputs(name)
        if of_memory:
            self._code([f"{name}.query"], inputs, self._masks)
            attended = self._memory
            self._code([f"{name}.key", f"{name}.value"], attended, [batch.source_mask for batch in self._batches])
        else:
            attended = inputs
            self._code([f"{name}.{part}" for part in ("query", "key", "value")], inputs, self._masks)
        contexts: Streams = [], []
        for model, xs, ys, result in zip(self._models, inputs, attended, contexts, strict=True):
            a: Any = model.get_submodule(name)
            for x, y, bias in zip(xs, ys, hidden, strict=True):
                result.append(a.context(x, a.split(a.key(y)), a.split(a.value(y)), bias))
        plain: Any = self._models[0].get_submodule(name)
        self._end(name, "output", [plain.output(x) for x in contexts[0]], contexts[1])

    def recurrence(self, name: str) -> None:
        """Code the two matrices of an SSRU, and go on to its output."""
        inputs = self._inputs(name)
        for part in ("forget", "candidate"):  # one by one: the second has no bias
            self._code([f"{name}.{part}"], inputs, self._masks)
        plain, coded = (
            [model.get_submodule(name)(x)[0] for x in xs] for model, xs in zip(self._models, inputs, strict=True)
        )
        self._add(name, plain, coded)

    def feed_forward(self, name: str) -> None:
        """Code the two matrices of a sub-layer, and go on to its output."""
        inputs = self._inputs(name)
        self._code([f"{name}.inner"], inputs, self._masks)
        parts: list[Any] = [model.get_submodule(name) for model in self._models]
        plain, coded = parts
        # Only one stream's inner layer is held: of 16,000 tokens and 4,096 columns it is a quarter of a gigabyte.
        outputs = [plain(x) for x in inputs[0]]
        self._end(name, "outer", outputs, [coded.activation(coded.inner(x)) for x in inputs[1]])

    def _inputs(self, name: str) -> Streams:
        """Return what a sub-layer reads."""
        if self._architecture.norm == "post":
            return self._states
        parts: list[Any] = [model.get_submodule(name) for model in self._models]
        plain, coded = ([part.norm(x) for x in states] for part, states in zip(parts, self._states, strict=True))
        return plain, coded

    def _end(self, name: str, last: str, outputs: list[Tensor], inputs: list[Tensor]) -> None:
        """Code the last matrix of a sub-layer, and add its residual connection.

        Args:
            name: of the sub-layer.
            last: of its last matrix.
            outputs: what the sub-layer gives in fp32.
            inputs: what its last matrix reads in the codes.
        """

        def restored(n: int) -> Tensor:
            lost = self._states[0][n] - self._states[1][n]
            return (outputs[n] + RESTORED * lost)[self._masks[n]]

        self._fit([f"{name}.{last}"], inputs, restored, self._masks)
        coded_last: Any = self._models[1].get_submodule(f"{name}.{last}")
        self._add(name, outputs, (coded_last(x) for x in inputs))

    def _add(self, name: str, plain_outputs: Iterable[Tensor], coded_outputs: Iterable[Tensor]) -> None:
        """Add what a sub-layer gives to both streams."""
        for n, outputs in enumerate(zip(plain_outputs, coded_outputs, strict=True)):
            for model, states, output in zip(self._models, self._states, outputs, strict=True):
                part: Any = model.get_submodule(name)
                total = states[n] + output
                states[n] = total if self._architecture.norm == "pre" else part.norm(total)
        plain, coded = (model.get_submodule(name) for model in self._models)
        for key, module in coded.named_children():
            if isinstance(module, nn.Linear):  # read for the last time: of 240 M weights a gigabyte
                original: Any = plain.get_submodule(key)
                module.weight = original.weight

    def _code(self, names: Sequence[str], inputs: Streams, masks: Sequence[Tensor]) -> None:
        """Code matrices that read the same inputs, for what they give in fp32."""
        plain: list[Any] = [self._models[0].get_submodule(name) for name in names]

        def given(n: int) -> Tensor:
            return torch.cat([module(inputs[0][n][masks[n]]) for module in plain], dim=1)

        self._fit(names, inputs[1], given, masks)

    def _fit(
        self,
        names: Sequence[str],
        inputs: Sequence[Tensor],
        wanted_of: Callable[[int], Tensor],
        masks: Sequence[Tensor],
    ) -> None:
        """Code matrices for given outputs.

        Args:
            names: of matrices that read the same inputs, all with a bias or all without.
            inputs: of each batch, in the codes: [sentences, length, columns].
            wanted_of: number of a batch -> outputs of all matrices, side by side: [tokens, rows].
            masks: true where a batch has a token.
        """
        plain: list[Any] = [self._models[0].get_submodule(name) for name in names]
        columns, sizes = inputs[0].shape[2], [len(module.weight) for module in plain]
        H, Y = torch.zeros(columns, columns), torch.zeros(sum(sizes), columns)
        x_sum, y_sum, count = torch.zeros(columns), torch.zeros(sum(sizes)), 0
        for n, mask in enumerate(masks):
            x, y = inputs[n][mask], wanted_of(n)
            H += x.T @ x
            Y += y.T @ x
            x_sum, y_sum, count = x_sum + x.sum(0), y_sum + y.sum(0), count + len(x)
        biased = plain[0].bias is not None
        x_mean, y_mean = (total / count if biased else torch.zeros_like(total) for total in (x_sum, y_sum))
        H, Y = (H / count - x_mean[:, None] * x_mean).double(), (Y / count - y_mean[:, None] * x_mean).double()
        damping = DAMPING * H.diagonal().mean().clamp_min(1e-12)
        weights = torch.cat([module.weight for module in plain]).double()
        damped = H + damping * torch.eye(columns, dtype=torch.float64)
        wanted = torch.linalg.solve(damped, (Y + damping * weights).T).T.float()
        del Y, damped, weights  # of 4,096 columns an eighth of a gigabyte each
        for name, each, mean in zip(names, wanted.split(sizes), y_mean.split(sizes), strict=True):
            module: Any = self._models[1].get_submodule(name)
            module.weight = _fixed(self._solve(name, each.contiguous(), H))
            if biased:
                module.bias = _fixed(mean - module.weight @ x_mean)
                self.biases[f"{name}.bias"] = module.bias.data


def _fixed(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
