"""The Transformer as a function of its tensors, and its loss on a batch: by bf16 products where the CPU has them."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor, nn
from torch.func import functional_call

from models.format.layout import matrix_shapes
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.train.loss import mean_loss
from models.train.sampled_softmax import Sample

# A CPU without bf16 products emulates them: a step takes 20 times as long on a Zen 3 as in fp32.
_CAPABILITIES = torch.cpu.get_capabilities()
BF16_PRODUCTS = any(_CAPABILITIES.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last: Arm


class _Decoded(nn.Module):
    """A Transformer whose output are the states of its decoder, at some places of the target."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, places: Tensor) -> Tensor:
        memory = self.model.encode(batch.source, batch.source_mask)
        states = self.model.decode(batch.target, memory, batch.source_mask, {})
        return states.flatten(0, 1).index_select(0, places)


class Network:
    """The Transformer as a function of its tensors."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        architecture = checkpoint.architecture
        model = Transformer.from_tensors(architecture, checkpoint.tensors).requires_grad_(False)
        self._decoded = _Decoded(model)
        matrices = matrix_shapes(architecture)
        self._names = {
            name: f"model.{name}.weight" if name in matrices else f"model.{name}" for name in checkpoint.tensors
        }
        tied = "embedding" if architecture.shared_vocabulary else "target_embedding"
        self._output = tied if architecture.tied_output else "output"
        bias = checkpoint.tensors.get("output.bias")
        self._bias = None if bias is None or not bias.any() else bias

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
        logits, taught = self._logits(tensors, batch, places, sample), None
        if share and teacher is not None:
            with torch.no_grad():
                taught = self._logits(teacher, batch, places, sample)
        labels = labels if sample is None else sample.places(labels)
        return mean_loss(logits, labels, smoothing=smoothing, teacher=taught, share=share)

    def _logits(self, tensors: Mapping[str, Tensor], batch: Batch, places: Tensor, sample: Sample | None) -> Tensor:
        """Return the logits of all pieces, or of a sample of them, at some places: float32 [places, pieces]."""
        named = {self._names[name]: tensor for name, tensor in tensors.items()}
        weight, bias = tensors[self._output], self._bias
        if sample is not None:
            weight = weight[sample.ids]
            bias = sample.log_weights if bias is None else bias[sample.ids] + sample.log_weights
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=BF16_PRODUCTS):
            states = functional_call(self._decoded, named, (batch, places))
            return F.linear(states, weight, bias).float()
