"""The Transformer as a function of its tensors, and its loss on a batch."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.format.layout import matrix_shapes, output_matrix
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.train.device import CPU, Device
from models.train.loss import Output, mean_loss
from models.train.sampled_softmax import Sample


class _Decoded(nn.Module):
    """A Transformer whose output are the states of its decoder, at some places of the target."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, source_mask: Tensor, target: Tensor, places: Tensor) -> Tensor:
        memory = self.model.encode(source, source_mask)
        states = self.model.decode(target, memory, source_mask, {})
        return states.flatten(0, 1).index_select(0, places)


class Network:
    """The Transformer as a function of its tensors."""

    def __init__(self, checkpoint: Checkpoint, device: Device = CPU) -> None:
        """Take the architecture of a checkpoint; tensors and batches that are given later lie on the device."""
        architecture = checkpoint.architecture
        model = Transformer.from_tensors(architecture, checkpoint.tensors).requires_grad_(False)
        self._decoded, self._device = _Decoded(model).to(device.torch), device
        self._compute = device.compiled(self._computed)
        matrices = matrix_shapes(architecture)
        self._names = {
            name: f"model.{name}.weight" if name in matrices else f"model.{name}" for name in checkpoint.tensors
        }
        self._output = output_matrix(architecture)
        bias = checkpoint.tensors.get("output.bias")
        self._bias = None if bias is None or not bias.any() else bias.to(device.torch)

    def loss(
        self,
        tensors: Mapping[str, Tensor],
        batch: Batch,
        *,
        smoothing: float = 0.0,
        teacher: Mapping[str, Tensor] | None = None,
        share: float = 0.0,
        sample: Sample | None = None,
    ) -> Tensor:
        """Return the mean loss of a label; only the places of labels reach the output layer.

        Args:
            tensors: of the student, by the names of a checkpoint.
            batch: the sentences.
            smoothing: of the labels, 0 to below 1.
            teacher: tensors of the fp32 model, for a share of more than 0.
            share: of the divergence from the teacher's predictions in the loss, 0 to 1.
            sample: stands for the vocabulary; each word for as many as its weight says.
        """
        labels = batch.labels.flatten()
        places = (labels >= 0).nonzero()[:, 0]
        labels = labels[places]
        student, taught = self._output_of(tensors, batch, places, sample), None
        if share and teacher is not None:
            with torch.no_grad():
                taught = self._output_of(teacher, batch, places, sample)
        labels = labels if sample is None else sample.places(labels)
        dtype = self._device.product_type
        return mean_loss(student, labels, smoothing=smoothing, teacher=taught, share=share, dtype=dtype)

    def _output_of(self, tensors: Mapping[str, Tensor], batch: Batch, places: Tensor, sample: Sample | None) -> Output:
        """Return the output layer at some places of the target, of all pieces or of a sample of them."""
        named = {self._names[name]: tensor for name, tensor in tensors.items()}
        weight, bias = tensors[self._output], self._bias
        if sample is not None:
            weight = weight[sample.ids]
            bias = sample.log_weights if bias is None else bias[sample.ids] + sample.log_weights
        states = self._compute(named, (batch.source, batch.source_mask, batch.target, places))
        return Output(states, weight, bias)

    def _computed(self, named: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        with self._device.products():
            states: Tensor = functional_call(self._decoded, dict(named), inputs)
            return states
