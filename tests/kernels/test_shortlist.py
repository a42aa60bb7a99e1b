"""Shortlists: a search with the same weights where all other words are masked, and what holds whatever the lexicon."""

from __future__ import annotations

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.engine import Batch, InvalidModel, InvalidRequest, Sentence

from .coded_model import IDS, TINY, code, random_tensors
from .test_constraints import CONSTRAINTS, plain_constrained_search, random_constraints
from .test_engine import SOURCES, log_probabilities, plain_beam_search

SIZE = TINY.target_vocab_size


def lexicon(always, rows) -> dict[str, np.ndarray]:
    offsets = np.cumsum([0, *map(len, rows)])
    arrays = (("always", always), ("offsets", offsets), ("rows", [row for each in rows for row in each]))
    return {f"shortlist.{name}": np.array(values, np.uint32) for name, values in arrays}


def random_lexicon(choose: random.Random):
    return choose.sample(range(SIZE), 8), [choose.sample(range(SIZE), choose.randint(0, 12)) for _ in range(SIZE)]


ALWAYS, ROWS = random_lexicon(random.Random(5))


def candidates_of(source, constraints=()):
    found = {IDS.eos, *ALWAYS}.union(*(ROWS[token] for token in source))
    return found.union(*(phrase for phrases in constraints for phrase in phrases)) - {*IDS.suppressed}


@pytest.fixture(scope="module")
def tiny():
    return code(TINY, random_tensors(TINY, 3, eos_bias=2.0), lambda name: 5, shortlist=lexicon(ALWAYS, ROWS))


def masked(reference, candidates):
    """Return the reference with a mask over the logits of what is no candidate."""
    mask = torch.full((SIZE,), -math.inf)
    mask[sorted(candidates)] = 0.0
    return lambda source, target: reference(source, target) + mask


@pytest.mark.parametrize("beam_size", [1, 4])
def test_it_equals_a_search_over_masked_logits(tiny, beam_size):
    engine, reference = tiny
    result = engine.translate(
        SOURCES, max_lengths=[8] * 4, beam_size=beam_size, num_hypotheses=beam_size, shortlist=True
    )
    for source, found in zip(SOURCES, result.hypotheses, strict=True):
        expected = plain_beam_search(masked(reference, candidates_of(source)), source, beam_size, 8, 1.0)
        assert [hypothesis.ids for hypothesis in found] == [ids for ids, _ in expected]
        np.testing.assert_allclose([h.score for h in found], [score for _, score in expected], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("constraints", CONSTRAINTS[1:4])
def test_phrases_are_candidates_whatever_the_lexicon(tiny, constraints):
    engine, reference = tiny
    result = engine.translate(SOURCES, max_lengths=[8] * 4, constraints=[constraints] * 4, shortlist=True)
    for source, found in zip(SOURCES, result.hypotheses, strict=True):
        search = masked(reference, candidates_of(source, constraints))
        expected = plain_constrained_search(partial(log_probabilities, search), source, constraints, 1, 8)
        assert [hypothesis.ids for hypothesis in found] == [ids for ids, _ in expected]
        np.testing.assert_allclose([h.score for h in found], [score for _, score in expected], rtol=2e-3, atol=2e-3)


def test_every_word_as_a_candidate_changes_no_bit():
    tensors = random_tensors(TINY, 3, eos_bias=2.0)
    engine = code(TINY, tensors, lambda name: 3, shortlist=lexicon(range(SIZE), [[1]] * SIZE))[0]
    for beam_size in (1, 4):
        options = {"max_lengths": [12] * 4, "beam_size": beam_size, "num_hypotheses": beam_size}
        assert engine.translate(SOURCES, **options, shortlist=True)[0] == engine.translate(SOURCES, **options)[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 88), min_size=1, max_size=12))
def test_greedy_words_that_are_all_candidates_are_found_again(engine, tokens):
    source = [*tokens, IDS.eos]
    ((whole,), (listed,)) = (
        engine.translate([source], max_lengths=[12], shortlist=shortlist).hypotheses[0] for shortlist in (False, True)
    )
    candidates = candidates_of(source)
    assert candidates >= {*listed.ids}
    assert (whole.ids == listed.ids) == (candidates >= {*whole.ids})
    if whole.ids == listed.ids:
        assert listed.score >= whole.score  # normalised over fewer words


@pytest.mark.parametrize("seed", range(2))
def test_whoever_else_is_in_the_batch_a_sentence_gets_the_same_bits(engine, seed):
    """Sentences with and without a shortlist, with and without constraints, join at different steps."""
    choose = random.Random(seed)
    sentences = {}
    for key in range(20):
        beam_size = choose.choice([1, 1, 3])
        sentences[key] = Sentence(
            ids=[*choose.choices(range(2, 80), k=choose.randint(1, 20)), 0],
            max_length=choose.randint(1, 20),
            beam_size=beam_size,
            num_hypotheses=beam_size,
            alignment_layer=choose.choice([0, 2]),
            constraints=random_constraints(choose) if choose.random() < 0.3 else (),
            shortlist=choose.random() < 0.6,
        )
    batch, results, waiting = Batch(engine), {}, list(sentences)
    while waiting or len(batch):
        if joining := [waiting.pop() for _ in range(min(len(waiting), choose.choice([0, 1, 3])))]:
            batch.add({key: sentences[key] for key in joining})
        results |= {key: batch.take(key) for key in batch.step().ended}
    for key, sentence in sentences.items():
        alone = Batch(engine)
        alone.add({0: sentence})
        while not (progress := alone.step(100)).ended:
            pass
        assert results[key].hypotheses == alone.take(0).hypotheses
        if sentence.shortlist:
            candidates = candidates_of(sentence.ids, sentence.constraints)
            assert all(candidates >= {*hypothesis.ids} for hypothesis in results[key].hypotheses)
        assert progress.steps > 0


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("rows", [SIZE], "outside the target vocabulary"),
        ("always", [2**32 - 1], "outside the target vocabulary"),
        ("offsets", [0] * (SIZE + 1), "does not divide"),
        ("offsets", [1] * (SIZE + 1), "does not divide"),
        ("offsets", [0, 2, *[1] * (SIZE - 1)], "does not divide"),
        ("offsets", [0] * SIZE, "an entry more than the source vocabulary"),
    ],
)
def test_a_bad_lexicon_is_no_model(name, values, words):
    arrays = lexicon([5], [[7], *[[]] * (SIZE - 1)]) | {f"shortlist.{name}": np.array(values, np.uint32)}
    with pytest.raises(InvalidModel, match=words):
        code(TINY, random_tensors(TINY, 3), lambda name: 1, shortlist=arrays)


def test_a_model_without_a_lexicon_refuses(tiny):
    engine = code(TINY, random_tensors(TINY, 3), lambda name: 1)[0]
    assert (engine.has_shortlist, tiny[0].has_shortlist) == (False, True)
    with pytest.raises(InvalidRequest, match="no shortlist"):
        engine.translate([[5, 0]], max_lengths=[5], shortlist=True)
    batch = Batch(engine)
    with pytest.raises(InvalidRequest, match="no shortlist"):
        batch.add({0: Sentence([5, 0], 5, shortlist=True)})
