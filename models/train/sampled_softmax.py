"""Sampled softmax: a sample of the vocabulary stands for all of it in a step of training.

It saves a part of the output layer and of the softmax over it; docs/training.md has how much. A sample holds for
certain the words that the batch asks for and the most frequent ones, and some of the rest, drawn uniformly, each of
which then counts for as many as it stands for: log(rest / drawn) is added to its logit, so the sum of the exponentials
is what it would be over all words, on average (Jean et al. 2015, arXiv 1412.2007).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Sample(NamedTuple):
    """Words of the vocabulary.

    Attributes:
        ids: [n], rising.
        log_weights: [n], logarithm of how many words each stands for.
    """

    ids: Tensor
    log_weights: Tensor

    def places(self, labels: Tensor) -> Tensor:
        """Return the places of labels in the sample, which holds all of them; negative ones stay as they are."""
        return torch.where(labels < 0, labels, torch.searchsorted(self.ids, labels))


def draw(labels: Tensor, vocabulary: int, frequent: int, drawn: int, seed: list[int]) -> Sample:
    """Draw a sample of a vocabulary whose ids are sorted by frequency.

    Args:
        labels: ids that it must hold; negative ones are passed over.
        vocabulary: number of words.
        frequent: so many of the first words are held for certain.
        drawn: so many of the others are drawn, or all of them if they are no more.
        seed: of the draw.
    """
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
    return Sample(ids, log_weights[ids])
