"""A running batch against one translation at a time: the same bits whoever else is in it, and the cost shared out."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from kernels.engine import Batch, Engine, EngineError, Interrupt, InvalidRequest, Sentence, SentenceResult
from models.format.schema import Architecture

from .coded_model import TINY, code, random_tensors
from .conftest import RANDOM_SSRU, SSRU
from .test_engine import LONG


@pytest.fixture(scope="module", params=[TINY, SSRU], ids=["self-attention", "ssru"])
def architecture(request) -> Architecture:
    return request.param


@pytest.fixture(scope="module")
def engine(architecture) -> Engine:
    """Return an engine with hypotheses that end by themselves and others that end at their maximum length."""
    tensors = RANDOM_SSRU if architecture == SSRU else random_tensors(TINY, 3, eos_bias=2.0)
    return code(architecture, tensors, lambda name: 4)[0]


def alone(engine: Engine, sentence: Sentence):
    (hypotheses,) = engine.translate(
        [sentence.ids],
        max_lengths=[sentence.max_length],
        beam_size=sentence.beam_size,
        num_hypotheses=sentence.num_hypotheses,
        length_penalty=sentence.length_penalty,
        min_length=sentence.min_length,
        alignment_layer=sentence.alignment_layer,
    ).hypotheses
    return hypotheses


def random_sentence(choose: random.Random) -> Sentence:
    beam_size = choose.choice([1, 1, 2, 4, 8])
    max_length = choose.randint(1, 40)
    return Sentence(
        ids=[*choose.choices(range(2, 80), k=choose.randint(0, 30)), 0],
        max_length=max_length,
        beam_size=beam_size,
        num_hypotheses=choose.randint(1, beam_size),
        length_penalty=choose.choice([0.0, 0.6, 1.0]),
        min_length=choose.choice([0, 0, max_length // 2]),
        alignment_layer=choose.choice([0, 0, 1, 2]),
    )


def run_to_the_end(batch: Batch) -> dict[int, SentenceResult]:
    results = {}
    while len(batch):
        results |= {key: batch.take(key) for key in batch.step().ended}
    return results


@pytest.mark.parametrize("seed", range(6))
def test_whoever_else_is_in_the_batch_a_sentence_gets_the_same_bits(engine, seed):
    choose = random.Random(seed)
    sentences = {key: random_sentence(choose) for key in range(40)}
    batch = Batch(engine)
    waiting, running, removed, results = list(sentences), set(), set(), {}
    while waiting or running:
        joining = [waiting.pop() for _ in range(min(len(waiting), choose.choice([0, 0, 1, 1, 2, 7])))]
        if joining:
            batch.add({key: sentences[key] for key in joining})
            running |= set(joining)
        if running and choose.random() < 0.1:
            leaving = choose.choice(sorted(running))
            batch.remove(leaving)
            running.remove(leaving)
            removed.add(leaving)
        progress = batch.step(choose.choice([1, 3]))
        assert (progress.steps > 0) == bool(running)
        results |= {key: batch.take(key) for key in progress.ended}
        running -= set(progress.ended)
    assert removed
    assert results.keys() == sentences.keys() - removed
    for key, result in results.items():
        assert result.hypotheses == alone(engine, sentences[key])
    idle = batch.step()
    assert (idle.steps, idle.workspace_bytes, idle.kv_cache_bytes) == (0, 0, 0)


def test_alignment_changes_nothing_else_and_belongs_to_the_hypothesis(engine):
    """A row says how a token was chosen after those before it: equal beginnings have equal rows."""
    choose = random.Random(7)
    for layer in (1, 2):
        sentence = random_sentence(choose)._replace(beam_size=4, num_hypotheses=4, alignment_layer=layer)
        aligned, plain = alone(engine, sentence), alone(engine, sentence._replace(alignment_layer=0))
        assert [(h.ids, h.score) for h in aligned] == [(h.ids, h.score) for h in plain]
        rows = {}
        for hypothesis in aligned:
            alignment = np.array(hypothesis.alignment)
            assert alignment.shape == (len(hypothesis.ids) + 1, len(sentence.ids))
            assert alignment.min() >= 0
            assert alignment.sum(axis=1) == pytest.approx(1, abs=1e-5)
            for length in range(len(hypothesis.ids)):
                row = hypothesis.alignment[length]
                assert rows.setdefault(tuple(hypothesis.ids[:length]), row) == row
        assert len(rows) > len(aligned[0].ids)


def test_a_batch_that_lives_long_holds_no_more_than_its_sentences(engine):
    batch = Batch(engine)
    sentence = Sentence([5, 9, 31, 0], max_length=30, min_length=30, beam_size=2)
    held = []
    for key in range(400):  # three overlap at any time, so the batch is never empty
        batch.add({key: sentence})
        held.append(batch.step(10))
        for ended in held[-1].ended:
            batch.take(ended)
    assert all(progress.rows for progress in held)
    early, late = held[10:50], held[-40:]
    assert max(progress.kv_cache_bytes for progress in late) == max(progress.kv_cache_bytes for progress in early)
    assert max(progress.workspace_bytes for progress in late) == max(progress.workspace_bytes for progress in early)


def allocated(floats: int) -> int:
    return (floats * 4 // 64 + 1) * 64


def test_the_shares_of_a_batch_add_up_to_its_total(architecture, engine):
    # all of the same lengths, so that each is at its largest when the batch is
    sources = [[5, 9, 31, 0], [7, 8, 9, 0], [11, 12, 13, 0]]
    batch = Batch(engine)
    batch.add({n: Sentence(ids, 12, beam_size=3, min_length=12) for n, ids in enumerate(sources)})
    before_last = batch.step(11)
    assert not before_last.ended
    results = run_to_the_end(batch)
    whole = engine.translate(sources, max_lengths=[12] * 3, beam_size=3, min_length=12)
    assert sum(result.kv_cache_peak_bytes for result in results.values()) == whole.kv_cache_peak_bytes
    assert sum(result.workspace_peak_bytes for result in results.values()) == whole.workspace_peak_bytes
    assert before_last.workspace_bytes <= whole.workspace_peak_bytes  # which the encoder may have set
    # slots of 36 rows' steps, keys and values of two layers, whole pages of 16 slots; the encoder's side exactly. Of an
    # SSRU the vectors of three rows in two layers, before a step and after it.
    pages = -(-(1 + 11 * 3) // 16)
    of_rows = 2 * allocated(2 * 3 * 48) if architecture == SSRU else pages * allocated(16 * 2 * 2 * 48)
    for ids, result in zip(sources, results.values(), strict=True):
        assert result.kv_cache_peak_bytes == 2 * 2 * allocated(len(ids) * 48) + of_rows


def test_times_are_shared_out_by_tokens_and_rows(engine):
    batch = Batch(engine)
    batch.add({0: Sentence([5, 9, 31, 0], 20, min_length=20), 1: Sentence([7, 0], 20, min_length=20, beam_size=3)})
    progress = [batch.step() for _ in range(20)]
    results = [batch.take(key) for key in (0, 1)]
    assert results[0].encode_ms == pytest.approx(2 * results[1].encode_ms)
    assert sum(step.milliseconds for step in progress) == pytest.approx(sum(result.decode_ms for result in results))
    # one row of two at first, then one of four
    first, *rest = (step.milliseconds for step in progress)
    assert results[0].decode_ms == pytest.approx(first / 2 + sum(rest) / 4)
    assert [step.rows for step in progress] == [2] + [4] * 19


def test_an_interrupt_ends_the_call_after_one_step_and_only_while_it_is_set(engine):
    batch, interrupt = Batch(engine), Interrupt()
    batch.add({0: Sentence([5, 0], 30, min_length=30)})
    interrupt.set()
    assert batch.step(10, interrupt).steps == 1
    interrupt.clear()
    assert batch.step(10, interrupt).steps == 10


def test_an_interrupt_from_another_thread_ends_a_running_call():
    architecture = replace(TINY, max_positions=LONG)
    batch = Batch(code(architecture, random_tensors(architecture, 3), lambda name: 1)[0])
    batch.add({0: Sentence([5, 9, 0], LONG, min_length=LONG)})
    interrupt = Interrupt()
    with ThreadPoolExecutor(1) as other:
        running = other.submit(batch.step, LONG, interrupt)
        interrupt.set()
        assert 1 <= running.result().steps < LONG


def test_batches_of_one_engine_run_in_many_threads(engine):
    choose = random.Random(1)
    sentences = {key: random_sentence(choose) for key in range(12)}
    expected = {key: alone(engine, sentence) for key, sentence in sentences.items()}
    found = []

    def run() -> None:
        batch = Batch(engine)
        batch.add(sentences)
        found.append({key: result.hypotheses for key, result in run_to_the_end(batch).items()})

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": []}, "at least one token"),
        ({"ids": [90]}, "outside the vocabulary"),
        ({"ids": [2**40]}, "out of range"),
        ({"ids": [0] * 65}, "split it"),
        ({"max_length": 0}, "maximum length"),
        ({"max_length": 65}, "maximum length"),
        ({"beam_size": 65}, "beam size"),
        ({"num_hypotheses": 2}, "number of hypotheses"),
        ({"length_penalty": float("nan")}, "length penalty"),
    ],
)
def test_who_is_refused_leaves_the_batch_as_it_was(engine, changes, words):
    batch, good = Batch(engine), Sentence([5, 9, 31, 0], 12)
    batch.add({0: good})
    batch.step()
    with pytest.raises(InvalidRequest, match=words):
        batch.add({1: good, 2: Sentence([5, 0], 5)._replace(**changes)})
    assert {key: result.hypotheses for key, result in run_to_the_end(batch).items()} == {0: alone(engine, good)}


def test_an_ended_sentence_may_leave_without_its_result(engine):
    batch = Batch(engine)
    batch.add({0: Sentence([5, 0], 1)})
    assert list(batch.step().ended) == [0]
    batch.remove(0)
    assert len(batch) == 0
    batch.add({0: Sentence([5, 0], 1)})  # its key is free again


def test_misuse_is_refused_with_a_sentence(engine):
    batch = Batch(engine)
    batch.add({0: Sentence([5, 0], 30, min_length=30)})
    with pytest.raises(InvalidRequest, match="same id"):
        batch.add({0: Sentence([5, 0], 5)})
    with pytest.raises(InvalidRequest, match="No ended sentence"):
        batch.take(0)
    for refused in (batch.take, batch.remove):
        with pytest.raises(InvalidRequest, match="No sentence"):
            refused(7)
    batch.close()
    with pytest.raises(EngineError, match="closed"):
        batch.step()
