"""Calibration: codes that follow what the codes before them made of the text (sequential moments, Frantar et al. 2022).

A matrix W that is stored as W^ changes its output by (W^ - W) x. Over inputs x the mean square of row r of that is
e_r H e_r^T, with e = W^ - W and H = E[x x^T]; `models.codes.compensate` lowers it. Two streams go through the network, x of
the fp32 model and x^ of the codes so far. H is that of x^, about its mean since the bias takes the rest, and W^ shall
make W x of x^, not W x^:

    W* = (E[(W x + r - r^) x^^T] + d W) (H + d I)^-1        d = DAMPING of the mean of H's diagonal

is the matrix that does it best, and is what is coded. r - r^ is what the residual connection around a sub-layer lacks
by now: the last matrix of a sub-layer can restore a part of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Attention, Transformer, visible

BATCH_TOKENS = 4096
DAMPING = 0.01
# An embedding is read in two ways: as output layer it meets the decoder's states, as embedding a row is taken as it is,
# every column alike. This is the weight of the second, as a part of the mean of the diagonal of the first.
EMBEDDING_IDENTITY = 1.0

# matrix, its weights [rows, columns], moment of its inputs [columns, columns] -> what its codes stand for
Solve = Callable[[str, Tensor, Tensor], Tensor]


class Padded(NamedTuple):
    """Sentence pairs, each side padded to its longest: ids [pairs, length], and masks that are true for a token."""

    source: Tensor
    source_mask: Tensor
    target: Tensor
    target_mask: Tensor


@dataclass
class Stream:
    """The states of all batches in one of the two models.

    Attributes:
        states: [pairs, length, d_model] of each batch, before the sub-layer to come.
        memory: the encoder's output.
    """

    model: Transformer
    states: list[Tensor] = field(default_factory=list)
    memory: list[Tensor] = field(default_factory=list)


class Calibration:
    """The walk through all matrices in the order of the computation."""

    def __init__(self, checkpoint: Checkpoint, batches: Sequence[Padded], solve: Solve) -> None:
        self._solve, self._batches = solve, batches
        plain, coded = (Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors) for _ in range(2))
        self._streams = Stream(plain), Stream(coded)
        self.options = dict(seq=True, cross=1.0, residual=1.0, bias=True, centre=True)

    @torch.inference_mode()
    def run(self, embedding_moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
        plain, coded = self._streams
        for name, moment in embedding_moments.items():
            table = coded.model.get_submodule(name).weight.data
            table.copy_(self._solve(name, table.clone(), moment))
        architecture = plain.model.architecture
        for stream in self._streams:
            stream.states = [stream.model.embed("source", b.source) for b in self._batches]
        for n in range(architecture.encoder_layers):
            self._attention(f"encoder.{n}.self_attention", [visible(b.source_mask[:, None, None]) for b in self._batches])
            self._feed_forward(f"encoder.{n}.ffn")
        for stream in self._streams:
            norm = stream.model.encoder["norm"] if "norm" in stream.model.encoder else lambda x: x
            stream.memory = [norm(x) for x in stream.states]
            stream.states = [stream.model.embed("target", b.target) for b in self._batches]
        causal = [visible(torch.ones(b.target.shape[1], b.target.shape[1], dtype=torch.bool).tril()) for b in self._batches]
        cross = [visible(b.source_mask[:, None, None]) for b in self._batches]
        for n in range(architecture.decoder_layers):
            self._attention(f"decoder.{n}.self_attention", causal)
            self._attention(f"decoder.{n}.encoder_attention", cross, memory=True)
            self._feed_forward(f"decoder.{n}.ffn")
        return {}

    def _masks(self, source: bool) -> list[Tensor]:
        return [b.source_mask if source else b.target_mask for b in self._batches]

    def _inputs(self, part: str) -> list[list[Tensor]]:
        if self._streams[0].model.architecture.norm == "pre":
            return [[s.model.get_submodule(part).norm(x) for x in s.states] for s in self._streams]
        return [s.states for s in self._streams]

    def _attention(self, part: str, biases: Sequence[Tensor], memory: bool = False) -> None:
        source = part.startswith("encoder.")
        inputs = self._inputs(part)
        kv = [s.memory for s in self._streams] if memory else inputs
        if memory:
            self._stage([f"{part}.query"], inputs, self._masks(source))
            self._stage([f"{part}.key", f"{part}.value"], kv, self._masks(True))
        else:
            self._stage([f"{part}.{m}" for m in ("query", "key", "value")], inputs, self._masks(source))
        contexts = []
        for stream, xs, ms in zip(self._streams, inputs, kv, strict=True):
            a = stream.model.get_submodule(part)
            contexts.append([a.context(x, a.split(a.key(m)), a.split(a.value(m)), bias) for x, m, bias in zip(xs, ms, biases)])
        self._stage([f"{part}.output"], contexts, self._masks(source), residual=True)
        self._finish(part, "output", contexts)

    def _feed_forward(self, part: str) -> None:
        source = part.startswith("encoder.")
        inputs = self._inputs(part)
        self._stage([f"{part}.inner"], inputs, self._masks(source))
        mids = []
        for stream, xs in zip(self._streams, inputs, strict=True):
            ffn = stream.model.get_submodule(part)
            mids.append([ffn.activation(ffn.inner(x)) for x in xs])
        self._stage([f"{part}.outer"], mids, self._masks(source), residual=True)
        self._finish(part, "outer", mids)

    def _finish(self, part: str, last: str, mids: Sequence[Sequence[Tensor]]) -> None:
        pre = self._streams[0].model.architecture.norm == "pre"
        for stream, ys in zip(self._streams, mids, strict=True):
            module = stream.model.get_submodule(part)
            outputs = [x + getattr(module, last)(y) for x, y in zip(stream.states, ys)]
            stream.states = outputs if pre else [module.norm(x) for x in outputs]

    def _stage(self, names, inputs, masks, residual=False) -> None:
        o = self.options
        columns = inputs[0][0].shape[2]
        plain = [self._streams[0].model.get_submodule(name) for name in names]
        rows = sum(len(m.weight) for m in plain)
        H, Y = torch.zeros(columns, columns), torch.zeros(rows, columns)
        mc, my, count = torch.zeros(columns), torch.zeros(rows), 0
        for i, mask in enumerate(masks):
            p, c = inputs[0][i][mask], inputs[1][i][mask]
            if not o["seq"]: c = p
            y = torch.cat([m(p) for m in plain], 1)
            if residual:
                y = y + o["residual"] * (self._streams[0].states[i] - self._streams[1].states[i])[mask]
            H += c.T @ c
            Y += y.T @ c
            mc += c.sum(0); my += y.sum(0); count += len(c)
        for t in (H, Y, mc, my): t /= count
        if o["centre"]:
            H -= mc[:, None] * mc; Y -= my[:, None] * mc
        d = DAMPING * H.diagonal().mean() + 1e-12
        H, Y = H.double(), Y.double()
        W = torch.cat([m.weight.data for m in plain]).double()
        best = torch.linalg.solve(H + d * torch.eye(columns), (Y + d * W).T).T
        target = (W * (1 - o["cross"]) + o["cross"] * best).float()
        for name, t, y in zip(names, target.split([len(m.weight) for m in plain]), my.split([len(m.weight) for m in plain])):
            module = self._streams[1].model.get_submodule(name)
            module.weight.data = self._solve(name, t, H)
            if o["bias"]:
                module.bias.data = y - module.weight.data @ mc
