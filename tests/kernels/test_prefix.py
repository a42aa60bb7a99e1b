"""Hypotheses that begin with given tokens: what follows is what the search would find there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.engine import Batch, InvalidRequest, Sentence

from .coded_model import IDS
from .test_constraints import has
from .test_engine import SOURCES, log_probabilities

PREFIX = st.lists(st.integers(2, 88), min_size=1, max_size=6)  # neither eos nor suppressed


@settings(max_examples=20, deadline=None)
@given(PREFIX, st.integers(0, 3))
def test_greedy_search_goes_on_where_the_prefix_ends(tiny, prefix, source):
    engine, reference = tiny
    longest = len(prefix) + 6
    ((found,),) = engine.translate([SOURCES[source]], max_lengths=[longest], prefixes=[prefix]).hypotheses
    expected, total = list(prefix), 0.0
    while len(expected) < longest:
        (scores,) = log_probabilities(reference, SOURCES[source], [expected])
        token = int(np.argmax(scores))
        total += scores[token]
        if token == IDS.eos:
            break
        expected.append(token)
    assert list(found.ids) == expected
    length = len(expected) + (len(expected) < longest)  # with eos
    np.testing.assert_allclose(found.score, total / length, rtol=2e-3, atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(PREFIX, st.sampled_from([1, 4, 10]), st.lists(PREFIX.filter(lambda phrase: len(phrase) < 3), max_size=2))
def test_every_hypothesis_begins_with_it_alone_and_in_a_batch(engine, prefix, beam_size, phrases):
    constraints = [[phrase] for phrase in phrases]
    longest = len(prefix) + sum(map(len, phrases)) + 6
    (alone,) = engine.translate(
        [SOURCES[2]],
        max_lengths=[longest],
        beam_size=beam_size,
        num_hypotheses=beam_size,
        constraints=[constraints],
        prefixes=[prefix],
    ).hypotheses
    assert alone
    for hypothesis in alone:
        assert list(hypothesis.ids[: len(prefix)]) == prefix
        assert all(has(hypothesis.ids, phrase) for phrase in phrases)
    batch = Batch(engine)
    search = Sentence(SOURCES[2], longest, beam_size, beam_size, constraints=constraints, prefix=prefix)
    batch.add({1: search, 2: search._replace(prefix=(), constraints=())})
    results = {}
    while len(batch):
        results |= {key: batch.take(key) for key in batch.step().ended}
    assert [(one.ids, one.score) for one in results[1].hypotheses] == [(one.ids, one.score) for one in alone]


def test_the_beginning_of_what_is_found_anyway_changes_nothing(engine):
    for source in SOURCES:
        ((free,),) = engine.translate([source], max_lengths=[9]).hypotheses
        for end in range(1, len(free.ids)):
            ((found,),) = engine.translate([source], max_lengths=[9], prefixes=[free.ids[:end]]).hypotheses
            assert found.ids == free.ids


@pytest.mark.parametrize("prefix", [[0], [2, 0], [90], [-1], [1 << 40], [2] * 8], ids=str)
def test_what_no_translation_begins_with_is_refused(engine, prefix):
    with pytest.raises(InvalidRequest):
        engine.translate([SOURCES[0]], max_lengths=[8], prefixes=[prefix])
    with pytest.raises(InvalidRequest):
        Batch(engine).add({1: Sentence(SOURCES[0], 8, prefix=prefix)})


def test_one_prefix_for_each_source_or_none(engine):
    with pytest.raises(InvalidRequest):
        engine.translate(SOURCES, max_lengths=[8] * 4, prefixes=[[2]])
