"""The price of an error: what the rounding of each row costs, by the Fisher information of the fp32 model.

To the second order a change of the weights moves the predictions by KL = 1/2 sum_r G_r e_r H e_r^T, with e_r the error of
a row, H the moment of the matrix's inputs and G_r the mean square of the gradient at the row's output, for labels that
the model itself draws: then the gradients' moment is the Hessian of the divergence. Rows of a vocabulary have two prices,
as words that are read and as words that are predicted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.format.layout import matrix_shapes
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.quantize.calibrate import DAMPING


@dataclass(frozen=True)
class Prices:
    """What errors cost.

    Attributes:
        rows: matrix -> float32 [rows]: KL in nats a target token for each unit of squared error of a row, once columns
            are compensated for one another.
        states: moment [d_model, d_model] of the inputs of the output layer.
    """

    rows: Mapping[str, Tensor]
    states: Tensor


def prices(checkpoint: Checkpoint, batches: Sequence[Batch], seed: int = 0) -> Prices:
    """Run the fp32 model forth and back over text.

    Args:
        checkpoint: the model.
        batches: some thousand tokens.
        seed: of the labels that are drawn.
    """
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    model.requires_grad_(False)
    for name in ("embedding", "source_embedding", "target_embedding"):
        if hasattr(model, name):
            getattr(model, name).weight.requires_grad_(True)  # so that gradients flow; theirs are freed by the hooks
    watched = _Watched(model, checkpoint)
    generator = torch.Generator().manual_seed(seed)
    tokens = 0
    for batch in batches:
        watched.batch = batch
        memory = model.encode(batch.source, batch.source_mask)
        states = model.decode(batch.target, memory, batch.source_mask, {})[batch.target_mask]
        watched.predict(states, generator)
        model.zero_grad()
        tokens += batch.tokens
    return watched.prices(tokens)


class _Watched:
    """Hooks that gather moments of inputs and squares of gradients."""

    def __init__(self, model: Transformer, checkpoint: Checkpoint) -> None:
        self.batch: Any = None
        self._model, self._checkpoint = model, checkpoint
        self._gradients: dict[str, Tensor] = {}
        self._moments: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        architecture = checkpoint.architecture
        self._output = "output"
        if architecture.tied_output:
            self._output = "embedding" if architecture.shared_vocabulary else "target_embedding"
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and name != "output":
                module.register_forward_hook(self._linear(name))
            elif isinstance(module, nn.Embedding):
                module.register_forward_hook(self._embedding(name))

    def _linear(self, name: str) -> Any:
        source = name.startswith("encoder.") or name.endswith(("encoder_attention.key", "encoder_attention.value"))
        # What reads the same inputs as the query has the same moment.
        shared = name.replace(".value", ".key") if source and "encoder_attention" in name else name
        if "self_attention" in name:
            shared = name.replace(".value", ".query").replace(".key", ".query")

        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            if shared == name:
                x = inputs[0].detach()[self.batch.source_mask if source else self.batch.target_mask]
                self._add(self._moments, name, x.T @ x)
                self._counts[name] = self._counts.get(name, 0) + len(x)
            output.register_hook(lambda g: self._add(self._gradients, name, g.square().sum((0, 1))))

        self._shared = getattr(self, "_shared", {}) | {name: shared}
        return hook

    def _embedding(self, name: str) -> Any:
        rows, columns = self._model.get_submodule(name).weight.shape

        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            ids = inputs[0].flatten()
            output.register_hook(
                lambda g: self._add(
                    self._gradients,
                    name,
                    torch.zeros(rows).index_add_(0, ids, g.square().sum(2).flatten() / columns),
                )
            )

        return hook

    def _add(self, sums: dict[str, Tensor], name: str, value: Tensor) -> None:
        sums[name] = sums[name].add_(value) if name in sums else value

    def predict(self, states: Tensor, generator: torch.Generator) -> None:
        """Go back from labels that the model draws; of the output layer the prices are known without."""
        weight, bias = self._model.output.weight.detach(), self._model.output.bias
        gradient = torch.empty_like(states)
        spread = torch.zeros(len(weight))
        for begin in range(0, len(states), 512):
            part = states.detach()[begin : begin + 512]
            p = (part @ weight.T + bias).softmax(1)
            spread += (p * (1 - p)).sum(0)
            labels = torch.multinomial(p, 1, generator=generator)
            p.scatter_add_(1, labels, torch.full_like(labels, -1.0, dtype=p.dtype))
            gradient[begin : begin + 512] = p @ weight
        states.backward(gradient)
        self._add(self._gradients, "output", spread)
        x = states.detach()
        self._add(self._moments, "output", x.T @ x)
        self._counts["output"] = self._counts.get("output", 0) + len(x)

    def prices(self, tokens: int) -> Prices:
        """Return the prices after all batches."""
        states = self._moments["output"].double() / self._counts["output"]
        mean = {name: _geometric_mean(m.double() / self._counts[name]) for name, m in self._moments.items()}
        result = {}
        for name in matrix_shapes(self._checkpoint.architecture):
            gradient = torch.zeros(len(self._checkpoint.tensors[name]))
            if name in self._gradients and name != "output":
                scale = 1.0 if name.endswith("embedding") else mean[self._shared[name]]
                gradient += self._gradients[name] * scale
            if name == self._output:
                gradient += self._gradients["output"] * mean["output"]
            result[name] = gradient / (2 * tokens)
        return Prices(result, states)


def _geometric_mean(moment: Tensor) -> float:
    """Return the geometric mean of the eigenvalues: what a squared error costs that later columns compensate for."""
    damped = moment + DAMPING * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
    return math.exp(2 * torch.linalg.cholesky(damped).diagonal().log().mean().item())
