"""Prices of errors: what the rounding of each row costs, by the Fisher information of the fp32 model.

To the second order a change of the weights moves the predictions by KL = 1/2 sum_r G_r e_r H e_r^T, with e_r the error
of a row, H the moment of its matrix's inputs, and G_r the mean square of the gradient at the row's output for labels
that the model itself draws: the moment of these gradients is the Hessian of the divergence. Codes whose columns make up
for one another leave an e_r H e_r^T of about |e_r|^2 times the geometric mean of H's eigenvalues. A row of a vocabulary
has two prices, as a word that is read and as a word that is predicted.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.format.layout import is_vocabulary, output_matrix
from models.marian.batches import Batch, decoder_states
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.quantize.calibrate import DAMPING

PREDICTED_ROWS, PREDICTED = 512, 1 << 23  # positions, and chances, that are held at a time


@dataclass(frozen=True)
class Prices:
    """Prices of errors.

    Attributes:
        rows: matrix -> float32 [rows], nats a target token for a squared error of 1 of the row.
        states: moment of the inputs of the output layer, [d_model, d_model].
    """

    rows: Mapping[str, Tensor]
    states: Tensor


def prices(checkpoint: Checkpoint, batches: Iterable[Batch], *, seed: int = 0) -> Prices:
    """Run the fp32 model forth and back over text.

    Args:
        checkpoint: the model.
        batches: text, some thousand tokens.
        seed: of the labels that are drawn.
    """
    gathered = _Gathered(checkpoint)
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        gathered.add(batch, generator)
    found = gathered.prices()
    # The model's hooks and the sums refer to one another.
    gathered.close()
    return found


class _Gathered:
    """Sums of squared gradients of every output, and moments of inputs, over the batches so far."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors).requires_grad_(False)
        self._squares = {name: torch.zeros(len(t)) for name, t in checkpoint.tensors.items() if t.dim() == 2}
        self._moments: dict[str, Tensor] = {}
        self._tokens = 0
        architecture = checkpoint.architecture
        self._output = output_matrix(architecture)
        self._predicted = torch.zeros(architecture.target_vocab_size)
        self._masks: dict[str, Tensor] = {}
        for name, module in self._model.named_modules():
            if isinstance(module, nn.Linear) and name != "output":
                module.register_forward_hook(self._of_linear(name))
            elif isinstance(module, nn.Embedding):
                module.register_forward_hook(self._of_embedding(name))

    def add(self, batch: Batch, generator: torch.Generator) -> None:
        """Run a batch; each position's label is drawn from its prediction."""
        self._masks = {"source": batch.source_mask, "target": batch.target_mask}
        states = decoder_states(self._model, batch)
        inputs, gradient = states.detach(), torch.empty_like(states)
        weight, bias = self._model.output.weight.detach(), self._model.output.bias
        rows = min(PREDICTED_ROWS, max(1, PREDICTED // len(weight)))
        for begin in range(0, len(states), rows):
            part = slice(begin, begin + rows)
            chances = (inputs[part] @ weight.T + bias).softmax(1)
            self._predicted += (chances * (1 - chances)).sum(0)  # the mean over the labels, without a draw
            labels = torch.multinomial(chances, 1, generator=generator)
            gradient[part] = chances.scatter_add_(1, labels, -torch.ones(len(chances), 1)) @ weight
        states.backward(gradient)
        self._moments["output"] = self._moments.get("output", 0) + inputs.T @ inputs
        self._tokens += len(inputs)

    def close(self) -> None:
        """Let go of the model."""
        del self._model

    def prices(self) -> Prices:
        """Return the prices by all batches."""
        states = self._moments["output"].double() / self._tokens
        means = {name: _geometric_mean(self._moments.pop(name), self._tokens) for name in list(self._moments)}
        rows = {}
        for name, squares in self._squares.items():
            price = squares * (1.0 if is_vocabulary(name) else means[_reading(name)])
            if name == self._output:
                price = price + self._predicted * means["output"]
            rows[name] = price / (2 * self._tokens)
        return Prices(rows, states)

    def _of_linear(self, name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        of_source = name.startswith("encoder.") or name.endswith(("encoder_attention.key", "encoder_attention.value"))

        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            mask = self._masks["source" if of_source else "target"]
            if _reading(name) == name:
                x = inputs[0].detach()[mask]
                # As many inputs as predictions, so that one count serves all.
                share = self._masks["target"].sum() / len(x)
                self._moments[name] = self._moments.get(name, 0) + share * (x.T @ x)

            def add(gradient: Tensor) -> None:
                self._squares[name] += gradient.square().sum((0, 1))

            output.register_hook(add)

        return hook

    def _of_embedding(self, name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            ids = inputs[0].flatten()

            def add(gradient: Tensor) -> None:
                self._squares[name].index_add_(0, ids, gradient.square().mean(2).flatten())

            # Gradients end at what was read: those of two embeddings of 32,000 rows would be a quarter of a gigabyte.
            read = output.detach().requires_grad_(True)
            read.register_hook(add)
            return read

        return hook


def _reading(name: str) -> str:
    """Return the matrix that stands for all those with the same inputs."""
    if name.endswith((".key", ".value")):
        block = name.rpartition(".")[0]
        return f"{block}.key" if block.endswith("encoder_attention") else f"{block}.query"
    if name.endswith(".candidate"):
        return f"{name.rpartition('.')[0]}.forget"
    return name


def _geometric_mean(total: Tensor, count: int) -> float:
    """Return the geometric mean of the eigenvalues of a damped moment, the total of so many."""
    damped = total.double().div_(count)
    damped.diagonal().add_(DAMPING * damped.diagonal().mean().clamp_min(1e-12))
    return math.exp(2 * torch.linalg.cholesky(damped).diagonal().log().mean().item())
