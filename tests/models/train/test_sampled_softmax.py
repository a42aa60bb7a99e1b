"""A sample of the vocabulary: what it holds, and that it stands for all pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.train.sampled_softmax import draw

LABELS = torch.tensor([3, 700, -100, 41, 3])


@given(st.integers(0, 1200), st.integers(0, 1200), st.integers(0, 9))
def test_what_it_holds(frequent: int, drawn: int, seed: int) -> None:
    sample = draw(LABELS, 1000, frequent, drawn, [seed])
    ids = sample.ids.tolist()
    assert ids == sorted(set(ids))
    assert set(range(min(frequent, 1000))) | {3, 41, 700} <= set(ids)
    assert sample.ids[sample.places(LABELS).clamp(min=0)].tolist() == [3, 700, ids[0], 41, 3]
    assert sample.places(LABELS)[2] == -100
    held = len(set(range(frequent)) & set(range(1000)) | {3, 41, 700})
    assert len(ids) == min(held + drawn, 1000)
    # together they stand for every piece, unless there is none for those that were left out
    represented = sample.log_weights.exp().sum().item()
    assert represented == pytest.approx(1000 if drawn or held == 1000 else held, rel=1e-4)


def test_the_sum_of_the_exponentials_is_that_of_all_pieces_on_average() -> None:
    logits = torch.from_numpy(np.random.default_rng(1).normal(0, 1.5, 1000))
    sums = []
    for seed in range(400):
        sample = draw(LABELS, 1000, 50, 100, [seed])
        sums.append((logits[sample.ids] + sample.log_weights).exp().sum().item())
    error = np.std(sums) / np.sqrt(len(sums))
    assert np.mean(sums) == pytest.approx(logits.exp().sum().item(), abs=4 * error)
    assert np.std(sums) > error > 0  # it was a sample


def test_a_sample_of_all_pieces_is_the_vocabulary() -> None:
    sample = draw(LABELS, 1000, 10, 1000, [0])
    assert sample.ids.tolist() == list(range(1000))
    assert not sample.log_weights.any()
    assert sample.places(LABELS).tolist() == LABELS.tolist()
