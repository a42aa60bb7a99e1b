"""The compact vocabulary against Python's own JSON and dictionaries."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.format.vocabulary import Vocabulary, Words, scan

# much of what JSON escapes or brackets, so that it is met often
PIECES = st.text(
    st.sampled_from('"\\],[,:{}0 \n\t▁aé🙂\x00\x7f') | st.characters(exclude_categories=["Cs"]), max_size=8
)
ROWS = st.lists(st.tuples(PIECES, st.integers(0, 10**18 - 1)), min_size=1, unique_by=lambda row: row[0])


@given(ROWS, st.none() | ROWS)
def test_a_vocabulary_comes_back_from_its_json(source, target):
    vocabulary = Vocabulary(Words.of(source), None if target is None else Words.of(target))
    document = vocabulary.to_json()
    assert json.loads(document) == {
        "source": list(map(list, source)),
        "target": None if target is None else list(map(list, target)),
    }
    assert scan(document) == vocabulary
    assert scan(json.dumps(json.loads(document), indent=1).encode()) == vocabulary  # spaces, and all escaped
    assert list(vocabulary.source) == source
    assert list(vocabulary.target_words) == (source if target is None else target)


@given(ROWS, PIECES)
def test_pieces_are_found_as_in_a_dictionary(rows, other):
    words, expected = Words.of(rows), {piece: row for row, (piece, _) in enumerate(rows)}
    for piece in (*expected, other):
        assert words.find(piece) == expected.get(piece)
    assert [words.piece(row) for row in range(len(words))] == list(expected)


@given(ROWS, st.data())
def test_a_piece_that_occurs_twice_is_named(rows, data):
    piece, _ = data.draw(st.sampled_from(rows))
    place = data.draw(st.integers(0, len(rows)))
    twice = [*rows[:place], (piece, 1), *rows[place:]]
    with pytest.raises(ValueError, match="occurs twice"):
        Words.of(twice)


@given(ROWS, st.data())
def test_what_is_scanned_is_what_json_says_or_nothing(rows, data):
    """A changed document is never misread: it is left to the JSON reader, refused, or means the same to both."""
    document = bytearray(Vocabulary(Words.of(rows), None).to_json())
    place = data.draw(st.integers(0, len(document) - 1))
    document[place : place + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from([b"", b'"', b"\\", b"]", b"[", b",", b"0", b"],[", b'","', b"\xff", b" ", b"null", b"1e3"])
    )
    try:
        found = scan(bytes(document))
    except ValueError:
        return
    if found is not None:
        assert list(map(list, found.source)) == json.loads(document)["source"]


@pytest.mark.parametrize("escape", [r"\ud800", r"\udc00", r"\ud83d\u0041", r"\u12", r"\x41", r"\u00g0", "\\"])
def test_what_no_text_can_hold_is_left_to_the_json_reader(escape):
    assert scan(b'{"source":[["%b",1]],"target":null}' % escape.encode()) is None


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b'{"source":[],"target":null}', b'{"source":[["a",01]],"target":null}', b"\xff"]
)
def test_what_is_no_vocabulary_is_left_to_the_json_reader(document):
    assert scan(document) is None


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [([("a", -1)], "the count of 'a' is negative"), ([("a", 1 << 64)], "a count does not fit 64 bits")],
)
def test_bad_counts_are_refused(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        Words.of(rows)
