"""Sampled softmax: a sample of the vocabulary stands for all of it in a step of training.

It saves a part of the output layer and of the softmax over it; docs/training.md has how much. A sample always
has the labels of the batch and the most frequent pieces. Some of the rest are drawn uniformly. Each of those stands for
several: log(rest / drawn) is added to its logit, so the expected sum of the exponentials is that over all pieces (Jean
et al. 2015, arXiv 1412.2007).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Sample(NamedTuple):
    """A sample of the vocabulary.

    Attributes:
        ids: [n], rising.
        log_weights: [n], logarithm of how many pieces each stands for.
    """

    ids: Tensor
    log_weights: Tensor

    def places(self, labels: Tensor) -> Tensor:
        """Return the places of labels in the sample, which holds all of them; negative ones stay as they are."""
        return torch.where(labels < 0, labels, torch.searchsorted(self.ids, labels))


def draw(labels: Tensor, vocabulary: int, frequent: int, drawn: int, seed: list[int]) -> Sample:
    """Draw a sample of a vocabulary whose ids are sorted by frequency.

    Args:
        labels: ids that the sample must have; negative ones are ignored. The sample is on their device.
        vocabulary: number of pieces.
        frequent: so many of the first pieces are always in the sample.
        drawn: how many of the other pieces are drawn, at most all of them.
        seed: of the draw.
    """
    device, labels = labels.device, labels.cpu()
    held = torch.zeros(vocabulary, dtype=torch.bool)
    held[:frequent] = True
    held[labels[labels >= 0]] = True
    rest = (~held).nonzero()[:, 0]
    drawn = min(drawn, len(rest))
    chosen = rest[torch.from_numpy(np.random.default_rng(seed).choice(len(rest), drawn, replace=False))]
    log_weights = torch.zeros(vocabulary)
    if drawn:
        log_weights[chosen] = float(np.log(len(rest) / drawn))
    held[chosen] = True
    ids = held.nonzero()[:, 0]
    return Sample(ids.to(device), log_weights[ids].to(device))
