"""The Transformer in PyTorch, with the names of the model directory: the fp32 reference of the engine.

It takes the arithmetic of Marian: sinusoidal positions with the sines in the first half, embeddings scaled by
sqrt(d_model), layer norm after (post) or before (pre) each sub-layer, the output layer tied to the embedding, SSRUs in
the place of the decoder's self-attention where the architecture says so.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor, nn

from models.format.layout import output_matrix
from models.format.schema import Architecture, Ids

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "swish": F.silu, "gelu": F.gelu}
Cache = dict[str, tuple[Tensor, ...]]


def positions(length: int, d_model: int, kind: str = "marian") -> Tensor:
    """Return sinusoidal positions [length, d_model].

    tensor2tensor and Marian itself have other rates than the Marian models of transformers. fairseq has theirs, and
    begins behind <s> and <pad>.
    """
    half = d_model // 2
    steps, first = half if kind == "marian" else max(half - 1, 1), 2 if kind == "fairseq" else 0
    # In float64 as the checkpoints were made: float32 angles differ in the fifth digit at position 500.
    rate = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / steps)
    angle = torch.arange(first, first + length, dtype=torch.float64)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def sinusoidal(stored: Tensor, d_model: int, kind: str = "marian") -> bool:
    """Tell whether a stored table [length, d_model] holds these positions, up to its rounding."""
    expected = positions(len(stored), d_model, kind)
    # Sinusoids are off by so much once they are rounded; learned positions by tenths.
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 8e-3}.get(stored.dtype, 1e-4)
    return stored.shape == expected.shape and torch.allclose(stored.float(), expected, atol=tolerance)


def visible(mask: Tensor) -> Tensor:
    """Return what attention adds to its scores: 0 where the mask is true, -inf where nothing may be seen."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -math.inf)


def visible_before(target: Tensor, begin: int = 0) -> Tensor:
    """Return the same for target tokens [batch, length] from position `begin` on, which see those before them."""
    length = target.shape[1]
    return visible(torch.ones(length, begin + length, dtype=torch.bool, device=target.device).tril(begin))


class Norm(nn.Module):
    """Layer norm with a gain and a bias."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.gain, self.bias, self.epsilon = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.gain.shape, self.gain, self.bias, self.epsilon)


class Attention(nn.Module):
    """Multi-head attention; the keys and values of earlier steps, or of the encoder, wait in the cache."""

    def __init__(self, width: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.norm, self.heads = Norm(width, epsilon), heads

    def split(self, x: Tensor) -> Tensor:
        """Split [batch, length, width] into [batch, heads, length, head_dim]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Return the output layer's values of the context.

        Args:
            x: as of `context`.
            keys: as of `context`.
            values: as of `context`.
            bias: as of `context`.
        """
        return self.output(self.context(x, keys, values, bias))

    def context(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Return the means of the values, by the attention from each position of `x`: [batch, length, width].

        Args:
            x: [batch, length, width].
            keys: [batch, heads, keys, head_dim].
            values: [batch, heads, keys, head_dim].
            bias: broadcast to [batch, heads, length, keys] and added to the scores; -inf hides a key.
        """
        # Plain products: at the lengths of sentences the backward pass of the fused attention takes half the step.
        queries = self.split(self.query(x)) / math.sqrt(keys.shape[3])
        scores = queries @ keys.transpose(2, 3)
        return ((scores + bias.to(scores.dtype)).softmax(3) @ values).transpose(1, 2).flatten(2)


class Ssru(nn.Module):
    """A simpler simple recurrent unit: relu(c), where c = f * c + (1 - f) * candidate(x) and f = sigmoid(forget(x))."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.forget, self.candidate = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.norm = Norm(width, epsilon)

    def forward(self, x: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the outputs [batch, length, width], and c behind the last position: [batch, width].

        Args:
            x: [batch, length, width].
            before: c in front of the first position; None for zeros.
        """
        kept, candidate = self.forget(x).sigmoid(), self.candidate(x)
        new = (1 - kept) * candidate
        c = torch.zeros_like(new[:, 0]) if before is None else before
        states = []
        for kept_here, new_here in zip(kept.unbind(1), new.unbind(1), strict=True):
            c = kept_here * c + new_here
            states.append(c)
        return torch.stack(states, 1).relu(), c


class FeedForward(nn.Module):
    """Two linear layers around the activation.

    Args:
        width: of the model, d_model.
        ffn_dim: of the inner layer.
        activation: a name of ACTIVATIONS.
        epsilon: of the layer norm.
    """

    def __init__(self, width: int, ffn_dim: int, activation: str, epsilon: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, ffn_dim), nn.Linear(ffn_dim, width)
        self.norm, self.activation = Norm(width, epsilon), ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.activation(self.inner(x)))


class Transformer(nn.Module):
    """Encoder and decoder; state_dict() has exactly the names of the model directory, `M.weight` for matrix `M`."""

    positions: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        width, epsilon = a.d_model, a.norm_epsilon

        def layer(side: str) -> nn.ModuleDict:
            heads, ffn_dim = getattr(a, f"{side}_heads"), getattr(a, f"{side}_ffn_dim")
            parts: dict[str, nn.Module] = {}
            if side == "decoder" and a.autoregression == "ssru":
                parts["ssru"] = Ssru(width, epsilon)
            else:
                parts["self_attention"] = Attention(width, heads, epsilon)
            if side == "decoder":
                parts["encoder_attention"] = Attention(width, heads, epsilon)
            return nn.ModuleDict(parts | {"ffn": FeedForward(width, ffn_dim, a.activation, epsilon)})

        def stack(side: str) -> nn.ModuleDict:
            layers: dict[str, nn.Module] = {str(n): layer(side) for n in range(getattr(a, f"{side}_layers"))}
            return nn.ModuleDict(layers | ({"norm": Norm(width, epsilon)} if a.norm == "pre" else {}))

        self.encoder, self.decoder = stack("encoder"), stack("decoder")
        if a.shared_vocabulary:
            self.embedding = nn.Embedding(a.target_vocab_size, width)
        else:
            self.source_embedding = nn.Embedding(a.source_vocab_size, width)
            self.target_embedding = nn.Embedding(a.target_vocab_size, width)
        self.output = nn.Linear(width, a.target_vocab_size)
        if a.tied_output:
            self.output.weight = (self.embedding if a.shared_vocabulary else self.target_embedding).weight
        self.register_buffer("positions", positions(a.max_positions, width, a.positions), persistent=False)

    @classmethod
    def from_tensors(cls, architecture: Architecture, tensors: Mapping[str, Tensor]) -> "Transformer":
        """Make a model that shares float32 tensors by the names of the model directory: matrix `M`, vector `M.bias`."""
        with torch.device("meta"):
            model = cls(architecture)
        predicting = output_matrix(architecture)
        state = {
            name: tensors[name.removesuffix(".weight")]
            for name in model.state_dict()
            if name != "output.weight"
            if name != "output.bias"
        }
        state["output.weight"] = tensors[predicting]
        state["output.bias"] = tensors.get("output.bias", torch.zeros(architecture.target_vocab_size))
        model.load_state_dict(state, assign=True)
        if architecture.tied_output:
            model.output.weight = getattr(model, predicting).weight
        model.positions = positions(architecture.max_positions, architecture.d_model, architecture.positions)
        return model.eval()

    def embed(self, side: str, ids: Tensor, begin: int = 0) -> Tensor:
        """Embed ids [batch, length] at positions from `begin`; return [batch, length, d_model]."""
        table = self.embedding if self.architecture.shared_vocabulary else getattr(self, f"{side}_embedding")
        scale = math.sqrt(self.architecture.d_model) if self.architecture.scale_embedding else 1.0
        return table(ids) * scale + self.positions[begin : begin + ids.shape[1]]

    def encode(self, source: Tensor, source_mask: Tensor) -> Tensor:
        """Encode source [batch, source length], mask true = a token; return [batch, source length, d_model]."""
        x = self.embed("source", source)
        bias = visible(source_mask[:, None, None])
        for n in range(self.architecture.encoder_layers):
            x = self.encoder_layer(n, x, bias)
        return self.ended("encoder", x)

    def encoder_layer(self, n: int, x: Tensor, bias: Tensor) -> Tensor:
        """Run one layer of the encoder.

        Args:
            n: of the layer, from 0.
            x: [batch, source length, d_model].
            bias: as `visible` makes it of the sources' tokens.
        """
        layer: Any = self.encoder[str(n)]
        a: Attention = layer["self_attention"]
        x = self.sub_layer(x, a, lambda y: a(y, a.split(a.key(y)), a.split(a.value(y)), bias))
        return self.sub_layer(x, layer["ffn"], layer["ffn"])

    def ended(self, side: str, x: Tensor) -> Tensor:
        """Return what a side gives, of what its last layer does: normed, if the norms stand before."""
        layers: Any = getattr(self, side)
        normed: Tensor = layers["norm"](x) if "norm" in layers else x
        return normed

    def sub_layer(self, x: Tensor, part: Any, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Add the residual connection around a sub-layer, with its norm before or after."""
        if self.architecture.norm == "pre":
            return x + function(part.norm(x))
        return part.norm(x + function(x))

    def decode(self, target: Tensor, memory: Tensor, source_mask: Tensor, cache: Cache, begin: int = 0) -> Tensor:
        """Run the decoder over target tokens and fill the KV cache; return [batch, length, d_model].

        Args:
            target: [batch, length], ids.
            memory: [batch, source length, d_model], the output of `encode`.
            source_mask: [batch, source length], true = a token.
            cache: by layer the keys and values of the positions before `begin`, or c of an SSRU; empty at first.
            begin: the position of the first target token.
        """
        x = self.embed("target", target, begin)
        causal = visible_before(target, begin)
        bias = visible(source_mask[:, None, None])
        for n in range(self.architecture.decoder_layers):
            x = self.decoder_layer(n, x, memory, (causal, bias), cache, begin)
        return self.ended("decoder", x)

    def decoder_layer(
        self, n: int, x: Tensor, memory: Tensor, biases: tuple[Tensor, Tensor], cache: Cache, begin: int = 0
    ) -> Tensor:
        """Run one layer of the decoder.

        Args:
            n: of the layer, from 0.
            x: [batch, length, d_model].
            memory: as of `decode`.
            biases: of self-attention, as `visible_before` makes it, and of the sources' tokens.
            cache: as of `decode`.
            begin: as of `decode`.
        """
        layer: Any = self.decoder[str(n)]
        name = str(n)

        def self_attention(y: Tensor) -> Tensor:
            a = layer["self_attention"]
            keys, values = a.split(a.key(y)), a.split(a.value(y))
            if begin:
                keys, values = torch.cat([cache[name][0], keys], 2), torch.cat([cache[name][1], values], 2)
            cache[name] = keys, values
            return a(y, keys, values, biases[0])

        def ssru(y: Tensor) -> Tensor:
            output, state = layer["ssru"](y, *cache.get(name, ()))
            cache[name] = (state,)
            return output

        def encoder_attention(y: Tensor) -> Tensor:
            a, kept = layer["encoder_attention"], f"{name}.encoder"
            if kept not in cache:
                cache[kept] = a.split(a.key(memory)), a.split(a.value(memory))
            return a(y, *cache[kept], biases[1])

        if "ssru" in layer:
            x = self.sub_layer(x, layer["ssru"], ssru)
        else:
            x = self.sub_layer(x, layer["self_attention"], self_attention)
        x = self.sub_layer(x, layer["encoder_attention"], encoder_attention)
        return self.sub_layer(x, layer["ffn"], layer["ffn"])

    def forward(self, source: Tensor, target: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Return the logits under teacher forcing.

        Args:
            source: [batch, source length], each row ended by eos.
            target: [batch, target length], each row starts with decoder_start.
            source_mask: [batch, source length], true = a token, false = padding; None for no padding.

        Returns:
            logits [batch, target length, target_vocab_size]; row t after reading target[0 .. t].
        """
        mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        return self.output(self.decode(target, self.encode(source, mask), mask, {}))

    @torch.inference_mode()
    def greedy(
        self, sources: Sequence[Sequence[int]], ids: Ids, max_lengths: Sequence[int], firsts: Sequence[int] = ()
    ) -> list[list[int]]:
        """Translate one batch by greedy search; results are without eos. A sentence that ended leaves the batch.

        Args:
            sources: rows of each source, eos included where the model reads it.
            ids: of the model.
            max_lengths: of each translation, eos included.
            firsts: the row that each translation begins with; none for what is likeliest.
        """
        source_length = max(map(len, sources))
        device = self.positions.device
        source = torch.tensor([[*s, *[0] * (source_length - len(s))] for s in sources], device=device)
        mask = torch.tensor([[True] * len(s) + [False] * (source_length - len(s)) for s in sources], device=device)
        memory = self.encode(source, mask)
        cache: Cache = {}
        results: list[list[int]] = [[] for _ in sources]
        active, last = list(range(len(sources))), torch.full((len(sources), 1), ids.decoder_start, device=device)
        for step in range(max(max_lengths)):
            logits = self.output(self.decode(last, memory, mask, cache, step))[:, -1]
            logits[:, list(ids.suppressed)] = -math.inf
            best = torch.tensor(firsts, device=device) if firsts and step == 0 else logits.argmax(1)
            for row, token in zip(active, best.tolist(), strict=True):
                if token != ids.eos:
                    results[row].append(token)
            going = [n for n, row in enumerate(active) if best[n] != ids.eos and step + 1 < max_lengths[row]]
            if not going:
                break
            active, last = [active[n] for n in going], best[going][:, None]
            if len(going) < len(mask):
                memory, mask = memory[going], mask[going]
                cache = {name: tuple(each[going] for each in kept) for name, kept in cache.items()}
        return results
