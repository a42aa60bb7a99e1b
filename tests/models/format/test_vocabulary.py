"""The vocabulary's tensors against Python's own dictionaries, and each way that they can be wrong."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kernels.tensor import Tensor
from models.format.schema import ModelError
from models.format.vocabulary import Pieces, Vocabulary, read_vocabulary, write_vocabulary
from models.format.weights import write_weights
from tests.models.conftest import ARCHITECTURE

# few characters of one to four bytes, so that pieces begin alike and occur in one another
PIECES = st.text(
    st.sampled_from("ab\x01\n▁é🙂") | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
ROWS = st.lists(st.tuples(PIECES, st.integers(0, 2**64 - 1)), min_size=1, max_size=300, unique_by=lambda row: row[0])
DTYPES = {"uint8": "U8", "uint32": "U32", "uint64": "U64"}
MANY = [(f"{n:x}", n) for n in range(1000)]  # more than one block of the text


def architecture(vocabulary: Vocabulary):
    """Return an architecture that the vocabulary fits."""
    sizes = {"source_vocab_size": len(vocabulary.source), "target_vocab_size": len(vocabulary.target_pieces)}
    return dataclasses.replace(ARCHITECTURE, shared_vocabulary=vocabulary.target is None, **sizes)


def made(source, target=None) -> Vocabulary:
    return Vocabulary(Pieces.of(source), None if target is None else Pieces.of(target))


@given(ROWS, st.none() | ROWS)
def test_a_vocabulary_comes_back_from_its_file(tmp_path_factory, source, target):
    vocabulary, path = made(source, target), tmp_path_factory.mktemp("vocabulary") / "vocab.safetensors"
    write_vocabulary(path, vocabulary)
    again = read_vocabulary(path, architecture(vocabulary))
    assert again == vocabulary
    assert list(again.source) == source
    assert list(again.target_pieces) == (source if target is None else target)
    assert again.source[-1] == source[-1]
    assert again.source[:2] == source[:2]


@given(ROWS, st.none() | ROWS)
def test_version_2_is_read(tmp_path_factory, source, target):
    vocabulary, path = made(source, target), tmp_path_factory.mktemp("vocabulary") / "vocab.json"
    path.write_text(json.dumps({"source": source, "target": target}))
    assert read_vocabulary(path, architecture(vocabulary)) == vocabulary


@given(ROWS | st.just(MANY), st.lists(PIECES))
def test_pieces_are_found_as_in_a_dictionary(rows, others):
    pieces, expected = Pieces.of(rows), {piece: row for row, (piece, _) in enumerate(rows)}
    inner = [piece[:-1] for piece in expected] + [f"{piece}\0" for piece in expected]
    for piece in (*expected, *others, *inner, "\udc80", "\U0010ffff" * 3):
        assert pieces.find(piece) == expected.get(piece)
    assert [pieces.piece(row) for row in range(len(pieces))] == list(expected)


def test_pieces_that_follow_one_another_are_not_one():
    pieces = Pieces.of(MANY)
    assert (pieces.find("1"), pieces.find("10"), pieces.find("1\0" + "10")) == (1, 16, None)


def test_a_piece_that_occurs_in_two_blocks_is_named():
    before = sorted(piece for piece, _ in MANY)
    for place in (62, 63, 64):  # a block has 64 pieces
        with pytest.raises(ValueError, match=f"the piece '{before[place]}' occurs twice"):
            Pieces.of([*MANY, (before[place], 1)])


def test_the_official_reader_sees_the_pieces(tmp_path):
    write_vocabulary(tmp_path / "vocab.safetensors", made(MANY))
    tensors = load_file(tmp_path / "vocab.safetensors")
    text = bytes(tensors["source.text"]).decode().split("\0")
    assert [text[rank] for rank in tensors["source.ranks"]] == [piece for piece, _ in MANY]
    assert tensors["source.counts"].tolist() == [count for _, count in MANY]


@given(ROWS, st.data())
def test_a_piece_that_occurs_twice_is_named(rows, data):
    piece, _ = data.draw(st.sampled_from(rows))
    place = data.draw(st.integers(0, len(rows)))
    with pytest.raises(ValueError, match="occurs twice") as caught:
        Pieces.of([*rows[:place], (piece, 1), *rows[place:]])
    assert repr(piece) in str(caught.value)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [(("a", -1), "the count of 'a' is -1"), (("a", 1 << 64), "beyond 64 bits"), (("a\0b", 1), "holds a zero")],
)
def test_what_no_file_can_hold_is_refused(row, sentence):
    with pytest.raises(ValueError, match=sentence):
        Pieces.of([row])


def _put(name, place, value):
    """Change one number of a tensor."""

    def edit(tensors):
        tensors[f"source.{name}"][place] = value

    return edit


def _swap(name, a, b):
    def edit(tensors):
        tensor = tensors[f"source.{name}"]
        tensor[[a, b]] = tensor[[b, a]]

    return edit


def _replace(old: bytes, new: bytes):
    def edit(tensors):
        text = tensors["source.text"].tobytes()
        assert old in text
        tensors["source.text"] = np.frombuffer(text.replace(old, new, 1), np.uint8)

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (_put("offsets", 0, 1), "offsets do not divide the text"),
        (_put("offsets", 7, 0), "offsets do not divide the text"),
        (_put("offsets", -1, 2**32 - 1), "offsets do not divide the text"),
        (_put("offsets", -1, 5), "offsets do not divide the text"),
        (_put("text", 1, ord("z")), "offsets do not divide the text"),
        (_put("text", -1, ord("z")), "offsets do not divide the text"),
        (_replace(b"\0ff\0", b"\0fe\0"), "the piece 'fe' occurs twice"),
        (_replace(b"\0ff\0", b"\0aa\0"), "the text is not sorted"),
        (_replace(b"\0ff\0", b"\0f\xff\0"), "the text is not UTF-8"),
        (_put("rows", 3, 1000), "the ranks are not those of the rows"),
        (_put("ranks", 3, 2**32 - 1), "the ranks are not those of the rows"),
        (_swap("ranks", 3, 4), "the ranks are not those of the rows"),
        (lambda tensors: tensors.pop("source.counts"), "'source.counts' is missing"),
        (lambda tensors: tensors.update(x=np.zeros(2, np.uint32)), "'x' is not part of this model"),
        (
            lambda tensors: tensors.update({"source.text": np.zeros((2, 2), np.uint8)}),
            "U8 \\[2, 2\\], but the model needs",
        ),
        (
            lambda tensors: tensors.update({"source.rows": np.zeros(999, np.uint32)}),
            "U32 \\[999\\], but the model needs",
        ),
        (lambda tensors: tensors.update({"source.counts": np.zeros(1000, np.uint32)}), "is U32 .* needs U64"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(tmp_path, edit, sentence):
    path, vocabulary = tmp_path / "vocab.safetensors", made(MANY)
    write_vocabulary(path, vocabulary)
    tensors = {name: tensor.copy() for name, tensor in load_file(path).items()}
    edit(tensors)
    ordered = sorted(tensors.items(), key=lambda item: item[0].partition(".")[2])
    write_weights(path, {name: Tensor(DTYPES[tensor.dtype.name], tensor.shape, tensor) for name, tensor in ordered})
    with pytest.raises(ModelError, match=sentence) as caught:
        read_vocabulary(path, architecture(vocabulary))
    assert str(caught.value).startswith(str(path))


def test_a_vocabulary_of_another_shape_is_refused(tmp_path):
    apart, shared = made(MANY, MANY), made(MANY)
    write_vocabulary(tmp_path / "apart.safetensors", apart)
    write_vocabulary(tmp_path / "shared.safetensors", shared)
    with pytest.raises(ModelError, match=r"'target\.\w+' is not part of this model"):
        read_vocabulary(tmp_path / "apart.safetensors", architecture(shared))
    with pytest.raises(ModelError, match=r"'target\.\w+' is missing"):
        read_vocabulary(tmp_path / "shared.safetensors", architecture(apart))
