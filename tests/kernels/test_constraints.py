"""Phrases that a translation must have: an independent search of the same rule, and what holds whatever the phrases."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.engine import CONSTRAINED_ROWS, Batch, CancelFlag, Cancelled, InvalidRequest, Sentence

from .coded_model import IDS
from .test_engine import SOURCES

WORDS = range(2, 89)  # neither eos nor suppressed


def needed_of(constraints, met, started):
    """Count the fewest tokens still needed after `started`, the beginning of a phrase of an unmet constraint."""
    shortest = [min(map(len, phrases)) for phrases in constraints]
    unmet = sum(length for number, length in enumerate(shortest) if number not in met)
    if not started:
        return unmet
    return min(
        unmet - shortest[number] + len(phrase) - len(started)
        for number, phrases in enumerate(constraints)
        for phrase in phrases
        if number not in met and len(phrase) > len(started) and phrase[: len(started)] == started
    )


def read(constraints, tokens):
    """Return what has been met after the tokens, and the beginning of a phrase that they end with."""
    met, started = frozenset(), []
    for token in tokens:
        tail = [*started, token]
        started = []
        while tail:
            after = []
            for number, phrases in enumerate(constraints):
                for phrase in phrases:
                    if number not in met and phrase == tail:
                        after.append((met | {number}, []))
                    elif number not in met and phrase[: len(tail)] == tail:
                        after.append((met, tail))
            if after:
                met, started = min(after, key=lambda state: (needed_of(constraints, *state), len(state[1])))
                break
            tail = tail[1:]
    return met, started


def own_log_probabilities(engine, source, prefixes):
    """Return the engine's own, by teacher forcing, so that two nearly equal candidates rank alike in both searches."""
    scores = []
    for prefix in prefixes:
        target = [IDS.decoder_start, *prefix]
        logits = np.array(engine.logits(source, target)).reshape(len(target), -1)[-1].astype(np.float64)
        logits[list(IDS.suppressed)] = -np.inf
        logits -= logits.max()
        scores.append(logits - np.log(np.exp(logits).sum()))
    return scores


def plain_constrained_search(log_probabilities, source, constraints, beam_size, max_length):
    """Run the dynamic beam allocation of search.h over whole prefixes, without any cache or state."""
    rows = max(beam_size, CONSTRAINED_ROWS)

    def needed(prefix):
        return needed_of(constraints, *read(constraints, prefix))

    running, finished = [([], 0.0)], []
    for length in range(1, max_length + 1):
        candidates = []
        all_scores = log_probabilities(source, [prefix for prefix, _ in running])
        for (prefix, total), scores in zip(running, all_scores, strict=True):
            met, started = read(constraints, prefix)
            best = list(map(int, np.argsort(-scores)[: 2 * rows]))
            if best[0] == IDS.eos and needed(prefix) == 0:
                finished.append((prefix, (total + scores[IDS.eos]) / length))
                continue
            tokens = (set() if best[0] == IDS.eos else {*best} - {IDS.eos}) | {
                phrase[len(started)]
                for number, phrases in enumerate(constraints)
                for phrase in phrases
                if number not in met and len(phrase) > len(started) and phrase[: len(started)] == started
            }
            candidates += [(total + scores[token], prefix, token) for token in tokens]
        candidates.sort(key=lambda candidate: -candidate[0])
        finished = sorted(finished, key=lambda hypothesis: -hypothesis[1])[:beam_size]
        banks = {}
        for total, prefix, token in candidates:
            banks.setdefault(needed([*prefix, token]), []).append(([*prefix, token], total))
        if not banks:
            return finished
        least, *others = sorted(banks)
        order, running = [least, *reversed(others)], []
        while len(running) < rows and any(banks.values()):
            running += [banks[bank].pop(0) for bank in order if banks[bank]][: rows - len(running)]
        best = max(total for _, total in running)
        if len(finished) == beam_size and finished[-1][1] >= best / length:
            return finished
    most = 0 if finished else min(needed(prefix) for prefix, _ in running)
    finished += [(prefix, total / max_length) for prefix, total in running if needed(prefix) <= most]
    return sorted(finished, key=lambda hypothesis: -hypothesis[1])[:beam_size]


def has(ids, phrase):
    return any(ids[begin : begin + len(phrase)] == phrase for begin in range(len(ids)))


CONSTRAINTS = [
    [[[17]]],
    [[[7, 8, 9]], [[40]]],
    [[[7, 8]], [[7, 9], [50, 51, 52]]],  # one beginning, and alternatives
    [[[3, 4, 5, 6]], [[4, 5]]],  # one within another
    [[[7, 8, 9]], [[7, 8]]],  # one the beginning of another: where both would do, it is the shorter that is met
    [[[5]], [[5]], [[5]]],  # the same, thrice
]


@pytest.mark.parametrize("constraints", CONSTRAINTS)
@pytest.mark.parametrize("beam_size", [1, 10])
def test_it_equals_a_search_without_cache_or_state(engine, constraints, beam_size):
    result = engine.translate(
        SOURCES, max_lengths=[8] * 4, beam_size=beam_size, num_hypotheses=beam_size, constraints=[constraints] * 4
    )
    for source, found in zip(SOURCES, result.hypotheses, strict=True):
        expected = plain_constrained_search(partial(own_log_probabilities, engine), source, constraints, beam_size, 8)
        assert [hypothesis.ids for hypothesis in found] == [ids for ids, _ in expected]
        np.testing.assert_allclose([h.score for h in found], [score for _, score in expected], rtol=2e-3, atol=2e-3)


# Few words, so that phrases share beginnings and stand in one another.
PHRASE = st.lists(st.integers(2, 5), min_size=1, max_size=5)
SENTENCE_CONSTRAINTS = st.lists(st.lists(PHRASE, min_size=1, max_size=3), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(SENTENCE_CONSTRAINTS, st.sampled_from([1, 2, 10]), st.integers(0, 10), st.integers(0, 3))
def test_every_constraint_is_met_where_all_fit(engine, constraints, beam_size, room, source):
    shortest = sum(min(map(len, phrases)) for phrases in constraints)
    (hypotheses,) = engine.translate(
        [SOURCES[source]],
        max_lengths=[shortest + room],
        beam_size=beam_size,
        num_hypotheses=beam_size,
        constraints=[constraints],
    ).hypotheses
    assert hypotheses
    for hypothesis in hypotheses:
        assert len(hypothesis.ids) <= shortest + room
        for phrases in constraints:
            assert any(has(hypothesis.ids, phrase) for phrase in phrases)


@settings(max_examples=50, deadline=None)
@given(SENTENCE_CONSTRAINTS, st.integers(1, 4))
def test_where_they_do_not_fit_every_token_counts(engine, constraints, max_length):
    (hypotheses,) = engine.translate([SOURCES[0]], max_lengths=[max_length], constraints=[constraints]).hypotheses
    ids = hypotheses[0].ids
    assert len(ids) <= max_length
    shortest = sum(min(map(len, phrases)) for phrases in constraints)
    assert needed_of(constraints, *read(constraints, ids)) <= max(0, shortest - max_length)


def random_constraints(choose: random.Random):
    return [
        [choose.choices(WORDS, k=choose.randint(1, 3)) for _ in range(choose.randint(1, 2))]
        for _ in range(choose.randint(1, 3))
    ]


@pytest.mark.parametrize("seed", range(3))
def test_whoever_else_is_in_the_batch_a_sentence_gets_the_same_bits(engine, seed):
    """Sentences with and without constraints join at different steps, and some leave."""
    choose = random.Random(seed)
    sentences = {}
    for key in range(24):
        beam_size = choose.choice([1, 1, 4, 10])
        sentences[key] = Sentence(
            ids=[*choose.choices(range(2, 80), k=choose.randint(1, 20)), 0],
            max_length=choose.randint(1, 30),
            beam_size=beam_size,
            num_hypotheses=beam_size,
            alignment_layer=choose.choice([0, 2]),
            constraints=random_constraints(choose) if choose.random() < 0.6 else (),
        )
    batch, results, waiting = Batch(engine), {}, list(sentences)
    gone = set(choose.sample(waiting, 3))
    while waiting or len(batch):
        joining = [waiting.pop() for _ in range(min(len(waiting), choose.choice([0, 1, 3])))]
        if joining:
            batch.add({key: sentences[key] for key in joining})
        for key in set(joining) & gone:
            batch.remove(key)
        progress = batch.step()
        assert progress.rows <= sum(sentences[key].rows for key in sentences)
        results |= {key: batch.take(key) for key in progress.ended}
    assert results.keys() == sentences.keys() - gone
    for key, result in results.items():
        sentence = sentences[key]
        ((*expected,),) = engine.translate(
            [sentence.ids],
            max_lengths=[sentence.max_length],
            beam_size=sentence.beam_size,
            num_hypotheses=sentence.num_hypotheses,
            alignment_layer=sentence.alignment_layer,
            constraints=[sentence.constraints],
        ).hypotheses
        assert [(h.ids, h.score) for h in result.hypotheses] == [(h.ids, h.score) for h in expected]
        for ours, theirs in zip(result.hypotheses, expected, strict=True):
            assert (ours.alignment is None) == (sentence.alignment_layer == 0)
            assert ours.alignment == theirs.alignment


def test_without_constraints_nothing_changes(engine):
    """Neither beside sentences that have some, nor for a sentence with an empty list."""
    for beam_size in (1, 4):
        options = {"max_lengths": [12] * 4, "beam_size": beam_size, "num_hypotheses": beam_size}
        plain = engine.translate(SOURCES, **options)
        empty = engine.translate(SOURCES, **options, constraints=[[]] * 4)
        beside = engine.translate(SOURCES, **options, constraints=[[], [[[7, 8]]], [], []])
        assert plain.hypotheses == empty.hypotheses
        assert plain.workspace_peak_bytes == empty.workspace_peak_bytes
        assert [plain.hypotheses[n] for n in (0, 2, 3)] == [beside.hypotheses[n] for n in (0, 2, 3)]


def test_cancelling_holds_with_constraints(engine):
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        engine.translate(SOURCES, max_lengths=[12] * 4, constraints=[[[[7, 8]]]] * 4, cancel=flag)


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        ([[[]]], "from 1 to 64 tokens"),
        ([[[5] * 65]], "from 1 to 64 tokens"),
        ([[[90]]], "outside the vocabulary"),
        ([[[-1]]], "outside the vocabulary"),
        ([[[2**40]]], "out of range"),
        ([[[IDS.eos]]], "eos or a suppressed"),
        ([[[7, IDS.pad]]], "eos or a suppressed"),
        ([[[5]]] * 65, "below 64"),
        ([[[5]] * 513], "at most 512"),
    ],
)
def test_phrases_out_of_range_are_refused_with_a_sentence(engine, constraints, words):
    with pytest.raises(InvalidRequest, match=words):
        engine.translate([[5, 0]], max_lengths=[5], constraints=[constraints])
    batch = Batch(engine)
    batch.add({0: Sentence([5, 0], 5)})
    with pytest.raises(InvalidRequest, match=words):
        batch.add({1: Sentence([5, 0], 5, constraints=constraints)})
    assert len(batch) == 1


def test_constraints_are_of_each_source_or_of_none(engine):
    with pytest.raises(InvalidRequest, match="of each source"):
        engine.translate([[5, 0]] * 2, max_lengths=[5] * 2, constraints=[[[[7]]]])
