"""The search against all allocations there are, and its measurements against the matrices themselves."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.codes.bit_config import Rule, read_config
from models.format.layout import Vectors, matching, matrix_shapes, model_bytes, sub_layers
from models.marian.checkpoint import Checkpoint
from models.marian.transformer import Transformer
from models.quantize.allocate import (
    AllocationError,
    Option,
    choose,
    configuration,
    fixed_bytes,
    measure,
    together,
    toml,
)
from models.train.allocation import learn
from models.train.dataset import Corpus, Encoder, Part, Side
from models.train.recipe import Batches, Validation
from models.train.validation import HeldOut
from tests.models.conftest import sentences


def convex(part: int, size: int, start: float, ratio: float) -> list[Option]:
    """Make options of 4 to 1 planes whose loss rises by `ratio` from each step to the next."""
    steps = [start * ratio**n for n in range(3)]
    losses = [0.0, *itertools.accumulate(steps)]
    return [
        Option(Rule((f"p{part}",), planes, None, None), planes * size, planes, loss)
        for planes, loss in zip((4, 3, 2, 1), losses, strict=True)
    ]


parts = st.lists(st.tuples(st.integers(1, 9), st.floats(0.01, 1), st.floats(1.1, 4)), min_size=1, max_size=4).map(
    lambda each: {str(n): convex(n, *values) for n, values in enumerate(each)}
)


@given(options=parts, share=st.floats(0.3, 1.0))
@settings(max_examples=200, deadline=None)
def test_no_allocation_of_its_cost_loses_less(options, share):
    budget = share * sum(each[0].bytes for each in options.values())
    chosen = choose(options, lambda option: option.bytes, budget)
    cost, loss = (sum(getattr(option, field) for option in chosen.values()) for field in ("bytes", "loss"))
    assert cost <= budget
    for others in itertools.product(*options.values()):
        # greedy on convex losses is optimal for the very cost that it ends at
        assert sum(o.bytes for o in others) > cost or sum(o.loss for o in others) >= loss - 1e-9


def test_an_option_above_the_hull_is_stepped_over():
    cheap, silly, best = (
        Option(Rule((n,), 1, None, None), *v)
        for n, v in (("cheap", (1, 1, 0.2)), ("silly", (2, 2, 0.9)), ("best", (4, 4, 0.0)))
    )
    assert choose({"p": [best, silly, cheap]}, lambda option: option.bytes, 3)["p"] is cheap


def test_what_costs_nothing_keeps_all_its_planes():
    options = {"encoder": convex(0, 5, 0.1, 2.0), "decoder": convex(1, 5, 0.1, 2.0)}
    chosen = choose(options, lambda o: 0 if o.rule.match == ("p0",) else o.bytes, 5)
    assert chosen["encoder"].rule.planes == 4
    assert chosen["decoder"].rule.planes == 1


def test_a_budget_below_the_least_is_refused():
    with pytest.raises(AllocationError, match="the least that these options cost is 3"):
        choose({"p": convex(0, 3, 0.1, 2.0)}, lambda option: option.bytes, 2)


def test_measured_options_become_a_configuration_of_the_size_asked_for(tmp_path, tiny_checkpoint):
    (tmp_path / "corpus/valid").mkdir(parents=True)
    for side in ("en", "de"):
        (tmp_path / f"corpus/valid/toy.{side}").write_text("".join(f"{line}\n" for line in sentences(8, 9)))
    held_out = HeldOut(tiny_checkpoint, Validation("valid/toy", 8, 2, 1), (8, 16, 32, 64), tmp_path)
    options = measure(tiny_checkpoint, held_out)
    assert {"vocabulary", "encoder.1.ffn", "decoder.0.encoder_attention"} <= options.keys()
    assert all(option.decode_bits == 0 for option in options["encoder.0.self_attention"])
    attention = options["decoder.0.encoder_attention"][0]
    assert attention.decode_bits == 2 * 4 * 48 * 48  # query and output
    fixed, architecture = fixed_bytes(tiny_checkpoint), tiny_checkpoint.architecture
    least = fixed + sum(min(o.bytes for o in each) for each in options.values())
    most = fixed + sum(max(o.bytes for o in each) for each in options.values())
    budget = (least + most) / 2
    chosen = choose(options, lambda option: option.bytes, budget - fixed)
    (tmp_path / "found.toml").write_text(toml(configuration("found", "a search", chosen)))
    config = read_config(tmp_path / "found.toml")
    allocation = config.allocation(architecture)
    bias = bool(tiny_checkpoint.tensors["output.bias"].any())
    size = model_bytes(architecture, None, allocation, Vectors(output_bias=bias, half=True))
    assert size == fixed + sum(option.bytes for option in chosen.values())
    assert 0.8 * budget < size <= budget
    assert together(tiny_checkpoint, held_out, config).keys() == {"loss", "bleu"}


def test_training_leaves_few_planes_to_what_the_output_does_not_depend_on(tiny_checkpoint):
    """With the attention to the encoder cut, nothing of the encoder matters, and the decoder gets its planes.

    Larger embeddings make the random model sure of its pieces, so that noise costs something.
    """
    tensors = {
        name: (0 if "encoder_attention.output" in name else 5 if name == "embedding" else 1) * each
        for name, each in tiny_checkpoint.tensors.items()
    }
    checkpoint = replace(tiny_checkpoint, tensors=tensors)
    shapes = matrix_shapes(checkpoint.architecture)

    def options(part: str) -> list[Option]:
        rules = [Rule((part,), planes, None, None) for planes in (4, 3, 2, 1)]
        sizes = [shapes[name] for name in matching(shapes, part)]
        return [Option(rule, sum(r * c for r, c in sizes) * (rule.planes or 0), 0, 0.0) for rule in rules]

    parts = {part: options(part) for part in sub_layers(checkpoint.architecture) if "encoder_attention" not in part}
    corpus = own_translations(checkpoint, 60)
    best = {part: 4 if part.startswith("decoder.") else 1 for part in parts}
    budget = sum(option.bytes for part, each in parts.items() for option in each if option.rule.planes == best[part])
    learned = learn(checkpoint, parts, lambda option: option.bytes, budget, corpus, 100)
    assert {part: option.rule.planes for part, option in learned.items()} == best


def test_training_refuses_a_budget_below_the_least(tiny_checkpoint):
    rules = [Rule(("decoder.0.ffn",), planes, None, None) for planes in (2, 1)]
    parts = {"decoder.0.ffn": [Option(rule, rule.planes or 0, 0, 0.0) for rule in rules]}
    corpus = own_translations(tiny_checkpoint, 8)
    with pytest.raises(AllocationError, match="the least that these options cost is 1"):
        learn(tiny_checkpoint, parts, lambda option: option.bytes, 0.5, corpus, 1)


def test_one_step_of_training_is_enough_for_an_answer(tiny_checkpoint):
    """And a part of a single option has that one."""
    rules = [Rule(("decoder.0.ffn",), planes, None, None) for planes in (2, 1)]
    alone = Option(Rule(("encoder.0.ffn",), 3, None, None), 3, 0, 0.0)
    parts = {
        "decoder.0.ffn": [Option(rule, rule.planes or 0, 0, 0.0) for rule in rules],
        "encoder.0.ffn": [alone],
    }
    learned = learn(tiny_checkpoint, parts, lambda option: option.bytes, 4.0, own_translations(tiny_checkpoint, 8), 1)
    assert learned["encoder.0.ffn"] is alone
    assert learned["decoder.0.ffn"].rule.planes == 1


def own_translations(checkpoint: Checkpoint, count: int) -> Corpus:
    """Translate sentences with the model itself, so that any noise in it is a loss."""
    source, _ = Encoder(checkpoint)(sentences(count, 9), [""] * count)
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    made = model.greedy([source[n].tolist() for n in range(count)], checkpoint.ids, [12] * count)
    targets = [np.array([*ids, checkpoint.ids.eos], dtype=np.int32) for ids in made]
    target = Side(np.concatenate(targets), np.array([len(ids) for ids in targets]))
    return Corpus(checkpoint.ids, Batches(256, (8, 16, 32)), 0, [Part(source, target)])
