"""Prices of errors: what the rounding of each row costs, by the Fisher information of the fp32 model.

To the second order a change of the weights moves the predictions by KL = 1/2 sum_r G_r e_r H e_r^T, with e_r the error
of a row, H the moment of its matrix's inputs, and G_r the mean square of the gradient at the row's output for labels
that the model itself draws: the moment of these gradients is the Hessian of the divergence. Codes whose columns make up
for one another leave an e_r H e_r^T of about |e_r|^2 times the geometric mean of H's eigenvalues. A row of a vocabulary
has two prices, as a word that is read and as a word that is predicted.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.format.layout import is_vocabulary, output_matrix
from models.marian.batches import Batch, decoder_states
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer, visible, visible_before
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


def prices(checkpoint: Checkpoint, batches: Sequence[Batch], *, seed: int = 0) -> Prices:
    """Run the fp32 model forth over text for the moments, then forth and back for the gradients.

    Args:
        checkpoint: the model.
        batches: text, some thousand tokens.
        seed: of the labels that are drawn.
    """
    means = _Moments(checkpoint).means(batches)
    gathered = _Gathered(checkpoint)
    generator = torch.Generator().manual_seed(seed)
    for batch in tqdm(batches, desc="pricing errors", unit="batch"):
        gathered.add(batch, generator)
    found = gathered.prices(means)
    # The model's hooks and the sums refer to one another.
    gathered.close()
    return found


class _Moments:
    """Moments of the inputs of matrices, a layer at a time: of 240 M weights those of all layers are a gigabyte."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._architecture = checkpoint.architecture
        self._model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
        self._totals: dict[str, Tensor] = {}
        self._means: dict[str, float] = {}
        self._masks: dict[str, Tensor] = {}
        for name, module in self._model.named_modules():
            if isinstance(module, nn.Linear) and name != "output" and _reading(name) == name:
                module.register_forward_pre_hook(self._of(name))

    @torch.no_grad()
    def means(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Return the geometric mean of the eigenvalues, by the matrix that stands for all that read these inputs."""
        model = self._model
        hidden = [visible(batch.source_mask[:, None, None]) for batch in batches]
        future = [visible_before(batch.target) for batch in batches]
        states = [model.embed("source", batch.source) for batch in batches]
        self._through("encoder", batches, states, lambda n, i: model.encoder_layer(n, states[i], hidden[i]))
        memory = [model.ended("encoder", x) for x in states]
        states = [model.embed("target", batch.target) for batch in batches]
        self._through(
            "decoder",
            batches,
            states,
            lambda n, i: model.decoder_layer(n, states[i], memory[i], (future[i], hidden[i]), {}),
        )
        return self._means

    def _through(
        self, side: str, batches: Sequence[Batch], states: list[Tensor], layer: Callable[[int, int], Tensor]
    ) -> None:
        """Take the states through a side, all batches layer by layer; `layer` has the numbers of layer and batch."""
        tokens = sum(batch.tokens for batch in batches)
        layers = range(getattr(self._architecture, f"{side}_layers"))
        for n in tqdm(layers, desc=f"inputs of the {side}", unit="layer"):
            for i, batch in enumerate(batches):
                self._masks = {"source": batch.source_mask, "target": batch.target_mask}
                states[i] = layer(n, i)
            self._means |= {name: _geometric_mean(total, tokens) for name, total in self._totals.items()}
            self._totals.clear()

    def _of(self, name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        of_source = name.startswith("encoder.") or name.endswith("encoder_attention.key")

        def hook(_: nn.Module, inputs: tuple[Tensor]) -> None:
            x = inputs[0][self._masks["source" if of_source else "target"]]
            # As many inputs as predictions, so that one count serves all.
            share = self._masks["target"].sum() / len(x)
            self._totals[name] = self._totals.get(name, 0) + share * (x.T @ x)

        return hook


class _Gathered:
    """Sums of squared gradients of every output, and the moment of the output layer's inputs, over all batches."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors).requires_grad_(False)
        self._squares = {name: torch.zeros(len(t)) for name, t in checkpoint.tensors.items() if t.dim() == 2}
        architecture = checkpoint.architecture
        self._states = torch.zeros(architecture.d_model, architecture.d_model)
        self._tokens = 0
        self._output = output_matrix(architecture)
        self._predicted = torch.zeros(architecture.target_vocab_size)
        for name, module in self._model.named_modules():
            if isinstance(module, nn.Linear) and name != "output":
                module.register_forward_hook(self._of_linear(name))
            elif isinstance(module, nn.Embedding):
                module.register_forward_hook(self._of_embedding(name))

    def add(self, batch: Batch, generator: torch.Generator) -> None:
        """Run a batch; each position's label is drawn from its prediction."""
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
        self._states += inputs.T @ inputs
        self._tokens += len(inputs)

    def close(self) -> None:
        """Let go of the model."""
        del self._model

    def prices(self, means: Mapping[str, float]) -> Prices:
        """Return the prices by all batches.

        Args:
            means: geometric mean of the eigenvalues of the moment of each matrix's inputs.
        """
        rows, predicting = {}, _geometric_mean(self._states, self._tokens)
        for name, squares in self._squares.items():
            price = squares * (1.0 if is_vocabulary(name) else means[_reading(name)])
            if name == self._output:
                price = price + self._predicted * predicting
            rows[name] = price / (2 * self._tokens)
        return Prices(rows, self._states.double() / self._tokens)

    def _of_linear(self, name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def add(gradient: Tensor) -> None:
            self._squares[name] += gradient.square().sum((0, 1))

        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
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
