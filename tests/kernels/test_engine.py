"""The engine against torch with the dequantised weights, and its search against an independent one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels.engine import CancelFlag, Cancelled, Engine, EngineError, InvalidModel, InvalidRequest, isa, set_threads
from models.format.layout import matrix_shapes, vector_sizes

from .coded_model import IDS, TINY, code, random_tensors
from .conftest import RANDOM_SSRU, SSRU
from .test_bcq_matmul import usable_isas

# Rounding of activations to at most 8191 steps, in every product: |logits - torch| over the logits' spread.
LOGIT_TOLERANCE = 5e-3
# Rounding to bytes in the encoder, where it has few planes and one scale a row and plane; 0.5 to 2 % of these spreads.
BYTE_TOLERANCE = 5e-2
SOURCES = [[5, 9, 31, 0], [7, 0], [11, 12, 13, 14, 15, 16, 17, 0], [40, 41, 0]]

ARCHITECTURES = {
    "tiny": TINY,
    "pre-norm, fairseq's positions": replace(TINY, norm="pre", positions="fairseq"),
    "swish": replace(TINY, activation="swish"),
    "gelu, no scaling": replace(TINY, activation="gelu", scale_embedding=False),
    "two vocabularies": replace(TINY, shared_vocabulary=False, source_vocab_size=70),
    "untied output": replace(TINY, tied_output=False),
    "odd widths": replace(TINY, d_model=50, encoder_heads=5, decoder_heads=10, encoder_ffn_dim=33, decoder_ffn_dim=130),
    "deep encoder, one decoder layer": replace(TINY, encoder_layers=5, decoder_layers=1),
    "ssru, deep encoder, Marian's positions": replace(
        TINY, autoregression="ssru", encoder_layers=4, decoder_layers=2, positions="tensor2tensor"
    ),
    "ssru, pre-norm, odd widths": replace(
        TINY, autoregression="ssru", norm="pre", d_model=50, encoder_heads=5, decoder_heads=10
    ),
}


LONG = 1 << 13  # steps of a call that another thread stops; left alone it would take some ten seconds


@pytest.fixture(scope="module")
def engine():
    return code(TINY, random_tensors(TINY, 3), lambda name: 5)[0]


@pytest.mark.parametrize(
    ("least_planes", "group_size", "tolerance"),
    [(5, None, LOGIT_TOLERANCE), (1, 32, LOGIT_TOLERANCE), (1, None, BYTE_TOLERANCE)],
    ids=["many planes", "groups", "bytes"],
)
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_logits_equal_torch_with_the_dequantised_weights(architecture, least_planes, group_size, tolerance):
    planes = {name: max(least_planes, 1 + n % 8) for n, name in enumerate(matrix_shapes(architecture))}
    engine, reference = code(architecture, random_tensors(architecture, 1), planes.__getitem__, group_size)
    source, target = [5, 9, 31, 44, 0], [IDS.decoder_start, 8, 2, 77, 8]
    logits = engine.logits(source, target)
    with torch.inference_mode():
        expected = reference(torch.tensor([source]), torch.tensor([target]))[0].numpy()
    assert np.abs(logits - expected).max() <= tolerance * expected.std()


def test_output_bias_is_added():
    tensors = random_tensors(TINY, 1)
    with_bias, _ = code(TINY, tensors, lambda name: 2)
    tensors["output.bias"] = tensors["output.bias"] + 1.5
    more_bias, _ = code(TINY, tensors, lambda name: 2)
    difference = np.subtract(more_bias.logits([5, 0], [89]), with_bias.logits([5, 0], [89]))
    np.testing.assert_allclose(difference, 1.5, atol=1e-4)


@pytest.mark.parametrize("architecture", [TINY, replace(TINY, norm="pre"), ARCHITECTURES["odd widths"]])
def test_vectors_of_float16_count_as_what_they_stand_for(architecture):
    tensors = random_tensors(architecture, 1)
    matrices = matrix_shapes(architecture)
    rounded = {name: value if name in matrices else value.half().float() for name, value in tensors.items()}
    half, _ = code(architecture, tensors, lambda name: 2, vectors=np.float16)
    single, _ = code(architecture, rounded, lambda name: 2)
    source, target = [5, 9, 31, 44, 0], [89, 8, 2]
    np.testing.assert_array_equal(half.logits(source, target), single.logits(source, target))
    numbers = sum(vector_sizes(architecture, output_bias=True).values())
    assert single.weight_bytes - half.weight_bytes == 2 * numbers


def test_positions_are_the_same_up_to_the_last_whatever_their_number():
    tensors = random_tensors(TINY, 1)
    some, more = (code(replace(TINY, max_positions=n), tensors, lambda name: 2)[0] for n in (40, 64))
    ids = [*range(2, 41), 0]
    np.testing.assert_array_equal(some.logits(ids, ids), more.logits(ids, ids))


def log_probabilities(reference, source, prefixes):
    """Return log-probabilities of the next token [prefixes, vocabulary] by torch in float32; prefixes of one length."""
    targets = torch.tensor([[IDS.decoder_start, *prefix] for prefix in prefixes])
    with torch.inference_mode():
        logits = reference(torch.tensor([source] * len(prefixes)), targets)[:, -1]
        logits[:, list(IDS.suppressed)] = -math.inf
    return torch.log_softmax(logits.double(), 1).numpy()


def plain_beam_search(reference, source, beam_size, max_length, penalty):
    """Run the beam search of search.h, written over whole prefixes without any cache."""
    running, finished = [([], 0.0)], []
    for length in range(1, max_length + 1):
        candidates = []
        all_scores = log_probabilities(reference, source, [prefix for prefix, _ in running])
        for (prefix, total), scores in zip(running, all_scores, strict=True):
            candidates += [(total + scores[token], prefix, token) for token in np.argsort(-scores)[: 2 * beam_size]]
        candidates.sort(key=lambda candidate: -candidate[0])
        running = []
        for rank, (total, prefix, token) in enumerate(candidates):
            if len(running) == beam_size:
                break
            if token == IDS.eos:
                if rank < beam_size:
                    finished.append((prefix, total / length**penalty))
            else:
                running.append(([*prefix, int(token)], total))
        finished = sorted(finished, key=lambda hypothesis: -hypothesis[1])[:beam_size]
        if len(finished) == beam_size and finished[-1][1] >= running[0][1] / length**penalty:
            return finished
    finished += [(prefix, total / max_length**penalty) for prefix, total in running]
    return sorted(finished, key=lambda hypothesis: -hypothesis[1])[:beam_size]


@pytest.mark.parametrize("beam_size", [2, 4])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beam_search_equals_a_search_without_cache(tiny, beam_size, penalty):
    engine, reference = tiny
    result = engine.translate(
        SOURCES, max_lengths=[9] * 4, beam_size=beam_size, num_hypotheses=beam_size, length_penalty=penalty
    )
    for source, found in zip(SOURCES, result.hypotheses, strict=True):
        expected = plain_beam_search(reference, source, beam_size, 9, penalty)
        assert [hypothesis.ids for hypothesis in found] == [ids for ids, _ in expected]
        np.testing.assert_allclose([h.score for h in found], [score for _, score in expected], rtol=2e-3, atol=1e-3)


def test_greedy_takes_the_most_probable_token_each_time(tiny):
    engine, reference = tiny
    for source, (found,) in zip(SOURCES, engine.translate(SOURCES, max_lengths=[12] * 4).hypotheses, strict=True):
        prefix = []
        while len(prefix) < 12:
            token = int(np.argmax(log_probabilities(reference, source, [prefix])))
            if token == IDS.eos:
                break
            prefix.append(token)
        assert found.ids == prefix


def test_a_batch_returns_what_each_sentence_returns_alone(tiny):
    engine, _ = tiny
    limits = [3, 12, 7, 1]
    for beam_size in (1, 3):
        batch = engine.translate(SOURCES, max_lengths=limits, beam_size=beam_size, num_hypotheses=beam_size)
        for source, limit, hypotheses in zip(SOURCES, limits, batch.hypotheses, strict=True):
            alone = engine.translate([source], max_lengths=[limit], beam_size=beam_size, num_hypotheses=beam_size)
            assert alone.hypotheses[0] == hypotheses


@pytest.mark.parametrize("beam_size", [1, 3])
def test_lengths_are_bounded_from_both_sides(engine, beam_size):
    """Eos is always the best token of one model and never of the other: each stops only at its bound."""
    eager, _ = code(TINY, random_tensors(TINY, 3, eos_bias=50.0), lambda name: 5)
    for length in (1, 3, 6):
        for (found,) in eager.translate(
            SOURCES, max_lengths=[9] * 4, min_length=length, beam_size=beam_size
        ).hypotheses:
            assert len(found.ids) == length
        for (found,) in engine.translate(SOURCES, max_lengths=[length] * 4, beam_size=beam_size).hypotheses:
            assert len(found.ids) == length


PARITY_PROGRAM = """
import json
from tests.kernels.coded_model import TINY, code, random_tensors
from tests.kernels.conftest import RANDOM_SSRU, SSRU
from tests.kernels.test_engine import SOURCES
found = []
for architecture, tensors in ((TINY, random_tensors(TINY, 3, eos_bias=2.0)), (SSRU, RANDOM_SSRU)):
    engine, _ = code(architecture, tensors, lambda name: 3)
    result = engine.translate(SOURCES, max_lengths=[12] * 4, beam_size=3, num_hypotheses=3)
    constrained = engine.translate(SOURCES, max_lengths=[12] * 4, constraints=[[[[7, 8], [9]], [[10]]]] * 4)
    found += [result.hypotheses, constrained.hypotheses, engine.logits(SOURCES[2], [89, 4, 5]).tolist()]
print(json.dumps(found))
"""


def run_on(isa_name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PARITY_PROGRAM],
        env=os.environ | {"SUB3_FORCE_ISA": isa_name},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_instruction_set_gives_the_same_scores_to_the_last_bit():
    outputs = {}
    for name in usable_isas():
        done = run_on(name)
        assert done.returncode == 0, done.stderr
        outputs[name] = json.loads(done.stdout)
    assert {"scalar", isa()} <= outputs.keys()
    assert all(output == outputs["scalar"] for output in outputs.values())


@pytest.fixture
def one_thread_afterwards():
    yield
    set_threads(1)


@pytest.mark.usefixtures("one_thread_afterwards")
def test_threads_that_share_a_call_change_no_bit():
    wide = replace(TINY, d_model=256, encoder_ffn_dim=600, decoder_ffn_dim=600)
    engine, _ = code(wide, random_tensors(wide, 5), lambda name: 7 if name.startswith("encoder.1") else 2)
    sources = [*SOURCES, [*range(20, 60), 0]]

    def results() -> list[list]:
        made = [
            engine.translate(sources, max_lengths=[14] * 5, beam_size=beam, num_hypotheses=beam, alignment_layer=layer)
            for beam, layer in ((1, 0), (4, 0), (3, 2))
        ]
        hypotheses = [best for result in made for found in result.hypotheses for best in found]
        return [list(hypothesis) for hypothesis in hypotheses]

    alone = results()
    for threads in (2, 3, 7):
        set_threads(threads)
        assert results() == alone
        with ThreadPoolExecutor(4) as callers:  # fewer than the threads, as many, more
            assert all(each == alone for each in callers.map(lambda _: results(), range(8)))


@pytest.mark.parametrize("threads", [0, 257])
def test_a_number_of_threads_out_of_range_is_refused(threads):
    with pytest.raises(InvalidRequest, match="from 1 to 256"):
        set_threads(threads)


def test_an_unknown_instruction_set_is_refused_with_the_usable_ones():
    done = run_on("sse9")
    assert done.returncode != 0
    assert "usable are" in done.stderr
    assert "scalar" in done.stderr


def test_a_set_flag_cancels_a_running_call():
    engine, _ = code(replace(TINY, max_positions=LONG), random_tensors(TINY, 3), lambda name: 1)
    flag = CancelFlag()
    with ThreadPoolExecutor(1) as other:
        running = other.submit(engine.translate, SOURCES[:1], max_lengths=[LONG], min_length=LONG, cancel=flag)
        flag.set()
        with pytest.raises(Cancelled):
            running.result()


def test_memory_figures_grow_with_the_work(engine):
    small = engine.translate(SOURCES[:1], max_lengths=[4])
    large = engine.translate(SOURCES * 8, max_lengths=[60] * 32, min_length=60, beam_size=4)
    assert 0 < small.workspace_peak_bytes < large.workspace_peak_bytes
    # 60 positions of 128 rows, two layers, keys and values of 48 floats; the encoder's side comes on top.
    assert large.kv_cache_peak_bytes >= 60 * 128 * 2 * 2 * 48 * 4
    assert 0 < small.kv_cache_peak_bytes < large.kv_cache_peak_bytes


def test_an_ssru_keeps_a_vector_a_row_and_layer_whatever_the_length():
    engine, _ = code(SSRU, RANDOM_SSRU, lambda name: 2)
    short, long = (
        engine.translate(SOURCES[:1], max_lengths=[length], min_length=length, beam_size=4).kv_cache_peak_bytes
        for length in (4, 60)
    )
    # Keys and values of the source's four ids, and the vectors of four rows before and after a step, all 48 floats.
    assert short == long == pytest.approx(2 * (2 * 4 + 2 * 4) * 48 * 4, rel=0.2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sources": [[90]]}, "outside the vocabulary"),
        ({"sources": [[-1]]}, "outside the vocabulary"),
        ({"sources": [[2**40]]}, "out of range"),
        ({"sources": [[]]}, "at least one token"),
        ({"sources": [[0] * 65]}, "split it"),
        ({"sources": []}, "one maximum length for each source"),
        ({"max_lengths": [0]}, "maximum length"),
        ({"max_lengths": [65]}, "maximum length"),
        ({"beam_size": 0}, "beam size"),
        ({"beam_size": 65}, "beam size"),
        ({"num_hypotheses": 2}, "number of hypotheses"),
        ({"length_penalty": math.nan}, "length penalty"),
    ],
)
def test_a_bad_request_is_refused_with_a_sentence(engine, changes, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        engine.translate(**({"sources": [[5, 0]], "max_lengths": [5]} | changes))


def test_a_bad_architecture_is_refused_with_a_sentence():
    architecture = {"d_model": 48}
    with pytest.raises(InvalidModel, match="source_vocab_size"):
        Engine(architecture, {}, {}, [])


def test_eos_must_be_in_both_vocabularies():
    two = ARCHITECTURES["two vocabularies"]
    with pytest.raises(InvalidModel, match="eos is outside the source vocabulary"):
        code(two, random_tensors(two, 1), lambda name: 1, ids=replace(IDS, eos=75))


def test_a_closed_engine_says_so():
    engine, _ = code(TINY, random_tensors(TINY, 3), lambda name: 1)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.translate([[5, 0]], max_lengths=[5])
