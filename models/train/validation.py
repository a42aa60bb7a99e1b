"""Validation of a training: loss on held-out sentences, and BLEU of the first of them, in fp32."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor

from models.evaluate.evaluate import read_test_set, translate
from models.evaluate.quality import scores
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.train.dataset import Corpus, Encoder, Part
from models.train.device import CPU, Device
from models.train.recipe import Batches, Validation

VALIDATION_BATCH = 50


class HeldOut:
    """Held-out sentences with their references, encoded once."""

    def __init__(
        self, checkpoint: Checkpoint, what: Validation, lengths: Sequence[int], shared: Path, device: Device = CPU
    ) -> None:
        """Read and encode the sentences.

        Args:
            checkpoint: its pieces number the text.
            what: the set, and how much of it.
            lengths: rising; longer sentences than the last are left out of the loss.
            shared: the folder of corpus/.
            device: that measures.
        """
        source, target = (
            shared / "corpus" / f"{what.set}.{language}"
            for language in (checkpoint.source_languages[0], checkpoint.target_languages[0])
        )
        self._sources, self._references = read_test_set(source, target, what.sentences)
        part = Part(*Encoder(checkpoint)(self._sources, self._references))
        self._batches = Corpus(checkpoint.ids, Batches(1, tuple(lengths)), 0, [part]).in_order(VALIDATION_BATCH)
        self._checkpoint, self._bleu_sentences, self._device = checkpoint, what.bleu_sentences, device.torch

    @torch.inference_mode()
    def measure(self, tensors: Mapping[str, Tensor], *, bleu: bool) -> dict[str, float]:
        """Return the loss in nats a piece, and greedy BLEU if asked and the recipe has sentences for it."""
        model = Transformer.from_tensors(self._checkpoint.architecture, tensors).to(self._device)
        total = count = 0.0
        for batch in (each.to(self._device) for each in self._batches):
            logits = model(batch.source, batch.target, batch.source_mask)
            total += F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum").item()
            count += batch.tokens
        result = {"loss": total / count}
        if bleu and (sentences := self._bleu_sentences):
            translations = translate(model, self._checkpoint, self._sources[:sentences])
            result["bleu"] = scores(translations, self._references[:sentences])["bleu"]
        return result
