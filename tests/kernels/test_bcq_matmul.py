"""The product with binary codes: each instruction set against the contract in numpy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.engine import InvalidModel, InvalidRequest, MatrixSegment, bcq_matmul

BLOCK, CHUNK = 16, 32


def usable_isas() -> list[str]:
    """Return the names that this CPU can run: the refusal of an unknown one lists them."""
    with pytest.raises(InvalidRequest) as refusal:
        bcq_matmul(*random_matrix(np.random.default_rng(0), 1, 1, [(0, 1, 1)], 0), 1, np.ones((1, 1), np.float32), "?")
    return str(refusal.value).split("usable are ")[1].rstrip(".").split(", ")


def random_matrix(rng, rows, columns, clusters, group_size):
    """Make tensors and segments of a random coded matrix; clusters: (begin, end, planes)."""
    chunks = -(-columns // CHUNK)
    groups = 1 if group_size == 0 else -(-columns // group_size)
    tensors, segments = {}, []
    for plane in range(1, max(planes for *_, planes in clusters) + 1):
        blocks = -(-max(end for _, end, planes in clusters if planes >= plane) // BLOCK)
        tensors[f"m.plane.{plane}"] = rng.integers(0, 2**32, (blocks, chunks, BLOCK), np.uint32)
    for begin, end, planes in clusters:
        first, last = begin // BLOCK * BLOCK, -(-end // BLOCK) * BLOCK
        tensors[f"m.scales.{planes}"] = rng.normal(size=(planes, groups, last - first)).astype(np.float16)
        segments.append(MatrixSegment("m", begin, end, planes, first, group_size))
    return tensors, segments


def dense_signs(plane, rows, columns):
    """Return [rows, columns] of -1 and +1 from the packed words of the first `rows` rows."""
    bits = (plane[..., None] >> np.arange(CHUNK, dtype=np.uint32)) & 1  # [blocks, chunks, 16, 32]
    dense = bits.transpose(0, 2, 1, 3).reshape(-1, plane.shape[1] * CHUNK)
    return dense[:rows, :columns].astype(np.int64) * 2 - 1


def quantize(column):
    """Return the integers of a column and their scale."""
    maximum = np.abs(column).max()
    if maximum < 1e-30:
        return np.zeros(len(column), np.int64), np.float32(0)
    most = max(
        np.abs(np.rint(column[c : c + 512] * (np.float32(8191) / maximum))).sum(dtype=np.int64)
        for c in range(0, len(column), 512)
    )
    steps = np.float32(8191)
    if most > 65000:
        steps *= np.float32(65000) / np.float32(most)
    quantized = np.rint(column * (steps / maximum)).astype(np.int64)
    assert all(np.abs(quantized[c : c + 512]).sum() < 2**16 for c in range(0, len(column), 512))
    return quantized, maximum / steps


def contract(tensors, segments, rows, x):
    """Compute bcq_matmul.h in numpy: integers inside, float32 plane by plane outside."""
    columns = x.shape[1]
    out = np.zeros((len(x), rows), np.float32)
    for j, column in enumerate(x):
        quantized, scale = quantize(column)
        for segment in segments:
            group_size = segment.group_size or columns
            scales = tensors[f"m.scales.{segment.planes}"].astype(np.float32)
            total = np.zeros(segment.end - segment.begin, np.float32)
            for group in range(scales.shape[1]):
                part = slice(group * group_size, (group + 1) * group_size)
                for plane in range(segment.planes):
                    signs = dense_signs(tensors[f"m.plane.{plane + 1}"], segment.end, columns)[segment.begin :, part]
                    sums = (signs @ quantized[part]).astype(np.float32)
                    alpha = scales[plane, group, segment.begin - segment.scale_begin :][: len(total)]
                    total = total + alpha * sums
            out[j, segment.begin : segment.end] = total * scale
    return out


@st.composite
def problems(draw, most_planes=8, group_sizes=(0, 0, 32, 96), most_columns=5):
    rows = draw(st.integers(1, 140))
    columns = draw(st.one_of(st.integers(1, 130), st.sampled_from([256, 512, 2048, 2080])))
    cuts = sorted(draw(st.sets(st.integers(1, rows - 1), max_size=2))) if rows > 1 else []
    planes = sorted(
        draw(st.sets(st.integers(1, most_planes), min_size=len(cuts) + 1, max_size=len(cuts) + 1)), reverse=True
    )
    clusters = list(zip([0, *cuts], [*cuts, rows], planes, strict=True))
    group_size = draw(st.sampled_from(group_sizes))
    n = draw(st.one_of(st.integers(1, 7), st.integers(1, most_columns)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(n, columns)).astype(np.float32) * np.float32(10.0 ** draw(st.integers(-20, 20)))
    x[draw(st.integers(0, n - 1))] *= draw(st.sampled_from([0.0, 1.0, 1e-25]))
    return random_matrix(rng, rows, columns, clusters, group_size), rows, x


@settings(max_examples=150, deadline=None)
@given(problems(most_columns=70))
def test_every_instruction_set_returns_the_bits_of_the_contract(problem):
    (tensors, segments), rows, x = problem
    expected = contract(tensors, segments, rows, x)
    for isa in usable_isas():
        np.testing.assert_array_equal(bcq_matmul(tensors, segments, rows, x, isa), expected, err_msg=isa)


def int8_contract(tensors, segments, rows, x):
    """Compute the int8 GEMM by the contract of bcq_int8_matmul.h in numpy."""
    columns = x.shape[1]
    out = np.zeros((len(x), rows), np.float32)
    for segment in segments:
        scales = tensors[f"m.scales.{segment.planes}"][:, 0, segment.begin - segment.scale_begin :].astype(np.float32)
        scales = scales[:, : segment.end - segment.begin]
        total = np.zeros(scales.shape[1], np.float32)
        for plane in scales:
            total = total + np.abs(plane)
        a = np.rint(scales * (np.float32(124) / total)).astype(np.int64)
        weights = sum(
            a[plane][:, None] * dense_signs(tensors[f"m.plane.{plane + 1}"], segment.end, columns)[segment.begin :]
            for plane in range(segment.planes)
        )
        assert np.abs(weights).max() <= 127
        for j, column in enumerate(x):
            maximum = np.abs(column).max()
            inverse = np.float32(127) / maximum if maximum >= 1e-30 else np.float32(0)
            scale = maximum / np.float32(127) if inverse else np.float32(0)
            sums = (weights @ np.rint(column * inverse).astype(np.int64)).astype(np.float32)
            out[j, segment.begin : segment.end] = sums * (total / np.float32(124)) * scale
    return out


@settings(max_examples=150, deadline=None)
@given(problems(most_planes=6, group_sizes=[0], most_columns=140))
def test_every_instruction_set_returns_the_bits_of_the_int8_product(problem):
    (tensors, segments), rows, x = problem
    expected = int8_contract(tensors, segments, rows, x)
    for isa in usable_isas():
        np.testing.assert_array_equal(bcq_matmul(tensors, segments, rows, x, isa, int8=True), expected, err_msg=isa)


def test_the_int8_product_is_near_the_exact_one():
    rng = np.random.default_rng(3)
    tensors, segments = random_matrix(rng, 256, 512, [(0, 256, 4)], 0)
    tensors["m.scales.4"] = (2.0 ** -np.arange(4)[:, None, None] * rng.uniform(0.9, 1.1, (4, 1, 256))).astype(
        np.float16
    )
    x = rng.normal(size=(20, 512)).astype(np.float32)
    exact = contract(tensors, segments, 256, x)
    error = bcq_matmul(tensors, segments, 256, x, int8=True) - exact
    assert np.sqrt((error**2).mean() / (exact**2).mean()) < 0.015


@pytest.mark.parametrize(("planes", "group_size"), [(7, 0), (2, 32)])
def test_the_int8_product_refuses_what_it_cannot_hold(planes, group_size):
    tensors, segments = random_matrix(np.random.default_rng(4), 16, 64, [(0, 16, planes)], group_size)
    with pytest.raises(InvalidRequest, match="at most six planes and one scale group"):
        bcq_matmul(tensors, segments, 16, np.ones((1, 64), np.float32), int8=True)


@settings(max_examples=50, deadline=None)
@given(problems())
def test_error_against_exact_arithmetic_is_within_the_stated_bound(problem):
    (tensors, segments), rows, x = problem
    columns = x.shape[1]
    for segment in segments:
        weights = np.zeros((segment.end - segment.begin, columns))
        magnitude = np.zeros_like(weights)
        scales = tensors[f"m.scales.{segment.planes}"].astype(np.float64)
        group_of = np.arange(columns) // (segment.group_size or columns)
        for plane in range(segment.planes):
            signs = dense_signs(tensors[f"m.plane.{plane + 1}"], segment.end, columns)[segment.begin :]
            alpha = scales[plane, :, segment.begin - segment.scale_begin :][:, : len(weights)].T[:, group_of]
            weights += alpha * signs
            magnitude += np.abs(alpha)
        rows_of = slice(segment.begin, segment.end)
        y = np.asarray(bcq_matmul(tensors, segments, rows, x))[:, rows_of].astype(np.float64)
        x64 = x.astype(np.float64)
        maximum = np.abs(x64).max(axis=1, keepdims=True)
        steps = np.array([[quantize(column)[1]] for column in x], np.float64)
        most_lost = np.where(maximum < 1e-30, maximum, steps / 2)  # of an input: all of it, or half a step
        rounding = 1e-5 * (np.abs(x64) @ magnitude.T) + 1e-37  # where float32 has no normal numbers left
        bound = most_lost * magnitude.sum(axis=1) + rounding
        assert (np.abs(y - x64 @ weights.T) <= bound).all()


def test_columns_of_a_call_do_not_influence_each_other():
    rng = np.random.default_rng(1)
    tensors, segments = random_matrix(rng, 40, 96, [(0, 40, 3)], 0)
    x = rng.normal(size=(7, 96)).astype(np.float32)
    together = bcq_matmul(tensors, segments, 40, x)
    alone = np.concatenate([bcq_matmul(tensors, segments, 40, row[None]) for row in x])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t, s: t.pop("m.plane.2"), '"m.plane.2" is missing'),
        (lambda t, s: t.pop("m.scales.2"), '"m.scales.2" is missing'),
        (lambda t, s: t.update({"m.plane.1": t["m.plane.1"][:1]}), "does not have the shape"),
        (lambda t, s: t.update({"m.plane.1": t["m.plane.1"].astype(np.float32)}), "wrong type"),
        (lambda t, s: t.update({"m.scales.2": t["m.scales.2"][..., :16].copy()}), "does not cover"),
        (lambda t, s: t.update({"m.plane.1": t["m.plane.1"].astype(np.int64)}), "must be float32, float16 or uint32"),
        (lambda t, s: s.clear(), "has no segments"),
        (lambda t, s: s.append(MatrixSegment("m", 40, 41, 2, 0, 0)), "must cover its 40 rows"),
        (lambda t, s: s.__setitem__(0, MatrixSegment("m", 0, 30, 2, 0, 0)), "cover 30 of 40 rows"),
        (lambda t, s: s.__setitem__(0, MatrixSegment("m", 0, 40, 9, 0, 0)), "1 to 8 planes"),
        (lambda t, s: s.__setitem__(0, MatrixSegment("m", 0, 40, 2, 16, 0)), "does not cover"),
        (lambda t, s: s.__setitem__(0, MatrixSegment("m", 0, 40, 2, 0, 33)), "multiple of 32"),
    ],
)
def test_a_bad_table_is_refused_by_name(change, sentence):
    tensors, segments = random_matrix(np.random.default_rng(2), 40, 64, [(0, 40, 2)], 0)
    change(tensors, segments)
    with pytest.raises(InvalidModel, match=sentence):
        bcq_matmul(tensors, segments, 40, np.ones((1, 64), np.float32))


def test_segments_of_different_group_sizes_are_refused():
    """The codes of a matrix are read by the group size of its first segment."""
    tensors, segments = random_matrix(np.random.default_rng(2), 40, 64, [(0, 16, 3), (16, 40, 2)], 32)
    x = np.ones((1, 64), np.float32)
    assert bcq_matmul(tensors, segments, 40, x).shape == (1, 40)
    segments[1] = segments[1]._replace(group_size=64)
    with pytest.raises(InvalidModel, match="the same group size"):
        bcq_matmul(tensors, segments, 40, x)
