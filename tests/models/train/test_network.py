"""The network as a function of its tensors: its loss is that of all logits at the places of labels."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its customary name

from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.train.dataset import Corpus, Encoder, Part
from models.train.device import BF16_PRODUCTS
from models.train.network import Network
from models.train.recipe import Batches
from tests.models.conftest import random_tensors, sentences


@pytest.fixture(params=["self_attention", "ssru"])
def tiny_checkpoint(request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint) -> Checkpoint:
    architecture = dataclasses.replace(tiny_checkpoint.architecture, autoregression=request.param)
    return dataclasses.replace(tiny_checkpoint, architecture=architecture, tensors=random_tensors(architecture))


@pytest.fixture
def batch(tiny_checkpoint: Checkpoint) -> Batch:
    part = Part(*Encoder(tiny_checkpoint)(sentences(24, 1), sentences(24, 2)))
    corpus = Corpus(tiny_checkpoint.ids, Batches(600, (64,)), 1, [part])
    return corpus.batch(corpus.epoch(0)[0])


def test_the_loss_is_that_of_the_whole_output_layer(tiny_checkpoint, batch):
    """And so are the gradients; padding never reaches the output layer, whose bias of this model is not 0."""
    assert (batch.labels < 0).any()
    tensors = {name: t.clone().requires_grad_(name != "output.bias") for name, t in tiny_checkpoint.tensors.items()}
    mine = Network(tiny_checkpoint).loss(tensors, batch, smoothing=0.1)
    mine.backward()
    model = Transformer.from_tensors(tiny_checkpoint.architecture, tiny_checkpoint.tensors)
    logits = model(batch.source, batch.target, batch.source_mask).flatten(0, 1)
    expected = F.cross_entropy(logits, batch.labels.flatten(), label_smoothing=0.1)
    expected.backward()
    tolerance = {"rtol": 0.05, "atol": 0.01} if BF16_PRODUCTS else {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(mine, expected, **tolerance)
    gradients = {name.removesuffix(".weight"): p.grad for name, p in model.named_parameters()}
    past = "ssru.forget.bias" if "decoder.0.ssru.forget" in tensors else "self_attention.query"
    for name in ("embedding", "encoder.0.ffn.inner", "decoder.0.encoder_attention.query.bias", f"decoder.0.{past}"):
        torch.testing.assert_close(tensors[name].grad, gradients[name], **tolerance)


def test_a_batch_without_padding_or_with_it_has_the_same_loss(tiny_checkpoint, batch):
    network, more = Network(tiny_checkpoint), 6
    wide = Batch(
        F.pad(batch.source, (0, more)),
        F.pad(batch.source_mask, (0, more)),
        F.pad(batch.target, (0, more)),
        F.pad(batch.labels, (0, more), value=-100),
        batch.tokens,
    )
    narrow_loss, wide_loss = (network.loss(tiny_checkpoint.tensors, each) for each in (batch, wide))
    torch.testing.assert_close(narrow_loss, wide_loss, rtol=1e-2 if BF16_PRODUCTS else 1e-5, atol=1e-6)
