"""Splitting: exact, whatever the text."""

from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.text import placeholders
from service.text.placeholders import find
from service.text.sentences import Piece, SplitSentences, cut_at_kept, halve, split
from tests.linear import growth

CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(list("aBÉ. \n\r\t!?\"'(😀。|\u2028\u00a0\x0b\x85\u3000\u200d\ufe0f")),
    st.sampled_from(["%s", "{a}", "<b>", ": ", "- ", "`c`", "a@b.cd", "1. ", "   ", "\r\n", "m²", "http://a.b"]),
)
TEXTS = st.lists(CHARACTERS, max_size=60).map("".join)
WAYS = st.sampled_from(get_args(SplitSentences))


def kept_of(piece: Piece) -> list[str]:
    return [piece.text[begin:end] for begin, end in piece.kept]


def translated(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.translate]


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["en", "de", "ja", "xx"]), WAYS)
def test_the_pieces_joined_are_the_text(text: str, language: str, way: SplitSentences) -> None:
    pieces = split(text, language, way)
    assert "".join(piece.text for piece in pieces) == text
    parts = [
        part for piece in pieces for part in ([part for part, _ in cut_at_kept(piece)] if piece.translate else [piece])
    ]
    assert "".join(part.text for part in parts) == text


@settings(max_examples=300, deadline=None)
@given(TEXTS.filter(lambda text: len(text) > 1))
def test_the_halves_joined_are_the_sentence_and_shorter(sentence: str) -> None:
    whole = Piece(sentence, True, tuple(find(sentence)))
    halves = halve(whole)
    assert "".join(piece.text for piece in halves) == sentence
    assert all(len(piece.text) < len(sentence) for piece in halves if piece.translate)
    assert all(piece.text[begin:end] in kept_of(whole) for piece in halves for begin, end in piece.kept)


def test_sentences_are_translated_and_what_is_between_is_copied() -> None:
    pieces = split("Hello Mr. Smith.  How are you?\r\n\r\n\tFine.\n", "en")
    assert pieces == [
        Piece("Hello Mr. Smith.", True),
        Piece("  ", False),
        Piece("How are you?", True),
        Piece("\r\n", False),
        Piece("\r\n", False),
        Piece("\t", False),
        Piece("Fine.", True),
        Piece("\n", False),
    ]


def test_a_line_break_ends_a_sentence() -> None:
    assert [piece.text for piece in split("one line\nanother", "en") if piece.translate] == ["one line", "another"]


@pytest.mark.parametrize("text", ["😀", "😀 🎉👍🏽", "  \n", "12.50", "!?", "👨‍👩‍👧", "→ 3 × 4"])
def test_without_a_letter_nothing_is_translated(text: str) -> None:
    assert not any(piece.translate for piece in split(text, "en"))


def test_emoji_around_a_sentence_are_copied() -> None:
    assert split("🎉 I love you 😀❤️", "en") == [
        Piece("🎉 ", False),
        Piece("I love you", True),
        Piece(" 😀❤️", False),
    ]


WORDS = st.lists(st.sampled_from(["Hello", "my friend", "{a}", "How are you?", "Fine.", "😀"]), min_size=1, max_size=4)
MARKS = st.sampled_from([("", ""), *placeholders.DIRECTED.items()])
DIRECTED = st.lists(st.tuples(WORDS.map(" ".join), MARKS).map(lambda part: part[0].join(part[1])), max_size=5)


@settings(max_examples=300, deadline=None)
@given(DIRECTED.map(" ".join) | DIRECTED.map("".join), MARKS)
def test_of_a_pair_of_marks_of_direction_both_are_copied_or_none(inner: str, around: tuple[str, str]) -> None:
    """The model reads neither; one alone would turn what follows it."""
    text = inner.join(around)
    pieces = split(text, "en")
    assert "".join(piece.text for piece in pieces) == text
    is_copied: list[bool] = []
    for piece in pieces:
        units = find(piece.text)
        assert not piece.translate or list(piece.kept) == units
        kept = {place for begin, end in units for place in range(begin, end)}
        is_copied += [not piece.translate or place in kept for place in range(len(piece.text))]
    opened: list[int] = []
    for place, character in enumerate(text):
        if character in placeholders.DIRECTED:
            opened.append(place)
        elif character in placeholders.DIRECTED.values():
            assert is_copied[opened.pop()] == is_copied[place], ascii(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u202bHello.\u202c", ["Hello."]),
        ("\u202bHello. How are you?\u202c", ["Hello.", "How are you?"]),
        ("The cat \u2066eats\u2069", ["The cat \u2066eats\u2069"]),
        ("\u2067Anna\u2069 sleeps.", ["\u2067Anna\u2069 sleeps."]),
        ("\u2068{name}\u2069 sleeps.", ["\u2068{name}\u2069 sleeps."]),
    ],
)
def test_marks_of_direction_around_a_sentence_are_copied(text: str, expected: list[str]) -> None:
    assert translated(split(text, "en")) == expected


def test_a_long_sentence_is_cut_after_a_clause_near_its_middle() -> None:
    sentence = "one two three four five, six seven eight nine ten eleven"
    assert [piece.text for piece in halve(Piece(sentence, True))] == [
        "one two three four five,",
        " ",
        "six seven eight nine ten eleven",
    ]


def test_without_clauses_it_is_cut_at_a_space_and_without_spaces_in_the_word() -> None:
    assert [piece.text for piece in halve(Piece("one two three four", True))] == ["one two", " ", "three four"]
    assert [piece.text for piece in halve(Piece("abcdef", True))] == ["abc", "def"]


@given(st.lists(TEXTS.map(lambda text: " ".join(text.split()) or "a"), min_size=1, max_size=20))
def test_as_many_lines_out_as_in(lines: list[str]) -> None:
    out = "".join("X" if piece.translate else piece.text for piece in split("\n".join(lines), "en"))
    assert out.count("\n") == len(lines) - 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  - Buy milk.", ["Buy milk."]),
        ("\t* [x] Buy milk.", ["Buy milk."]),
        ("• Buy milk.", ["Buy milk."]),
        ("12. Buy milk.", ["Buy milk."]),
        ("a) Buy milk.", ["Buy milk."]),
        ("> > Buy milk.", ["Buy milk."]),
        ("## Milk", ["Milk"]),
        ("A. Smith bought milk.", ["A. Smith bought milk."]),
        ("Milk\tTwo litres\tCheap", ["Milk", "Two litres", "Cheap"]),
        ("Milk      two litres", ["Milk", "two litres"]),
        ("%s: file not found", ["file not found"]),
        ("Usage: %s", ["Usage:"]),
        ("{name}", []),
        ("https://example.org/a?b=c d@example.org #tag", []),
        ("x = foo(bar)", []),
        ("    return x;", []),
        ("def main(argv):\n    return 0\n", []),
        ("class (noun): a group", ["class (noun): a group"]),
        ("return home.", ["return home."]),
        ("$ apt-get install foo", []),
        ("print(hello)", []),
        ("I like it (a lot);", ["I like it (a lot);"]),
        ("Delete {name}", ["Delete {name}"]),
        ("{name} is here {date}", ["{name} is here {date}"]),
        ("{% if user %}Hello user{% endif %}", ["{% if user %}Hello user{% endif %}"]),
        ("Save ${file}  ", ["Save ${file}"]),
        ("struct foo {int a;}", []),
        ("a { color: red }", []),
        ("if (a) {", []),
        ("Q: How are you?", ["How are you?"]),
    ],
)
def test_what_is_no_sentence_is_copied(line: str, expected: list[str]) -> None:
    assert translated(split(line, "en")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("| Name | The door |", ["Name", "The door"]),
        ("The house | My page", ["The house", "My page"]),
        ("Show {{ price | currency }} now", ["Show {{ price | currency }} now"]),
        ("Run `a | b` or a||b now", ["Run `a | b` or a||b now"]),
        ("One line\\nAnother\\r\\nThird", ["One line", "Another", "Third"]),
        ("Press it to go on\\nor stop it.", ["Press it to go on", "or stop it."]),
        ("one\\ntwo\\nthree", ["one", "two", "three"]),
        ("See dir\\name or src\\new\\table now", ["See dir\\name or src\\new\\table now"]),
        ("DOMAIN\\ned is here", ["DOMAIN\\ned is here"]),
    ],
)
def test_bars_between_cells_and_written_breaks_end_a_sentence(text: str, expected: list[str]) -> None:
    pieces = split(text, "en")
    assert translated(pieces) == expected
    assert "".join(piece.text for piece in pieces) == text


def test_line_breaks_in_sentences_end_them_or_not() -> None:
    text = "One\ntwo. Three\r\n\r\nfour"
    assert translated(split(text, "en", "1")) == ["One", "two.", "Three", "four"]
    assert translated(split(text, "en", "nonewlines")) == ["One\ntwo.", "Three", "four"]
    assert translated(split(text, "en", "lines")) == ["One", "two. Three", "four"]
    assert translated(split(text, "en", "0")) == [text]


def test_no_sentence_ends_in_what_is_kept() -> None:
    (piece,) = split("Say `Stop. Go. Now!` to {A. B}.", "en")
    assert kept_of(piece) == ["`Stop. Go. Now!`", "{A. B}"]


def test_a_sentence_is_not_halved_in_what_is_kept() -> None:
    text = "Run `one two, three four, five six` now"
    (piece,) = split(text, "en")
    halves = halve(piece)
    assert "".join(half.text for half in halves) == text
    assert [kept for half in halves for kept in kept_of(half)] == ["`one two, three four, five six`"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See %d (or %s), now.", ["See", "or", "now"]),
        ('Err:%d (Missing) "{a}" here', ["Err", "Missing", "here"]),
        ("from %d–%d metres", ["from", "metres"]),
    ],
)
def test_marks_around_a_unit_are_no_part_of_what_is_translated(text: str, expected: list[str]) -> None:
    """A model closes a bracket that a part opens."""
    (piece,) = [piece for piece in split(text, "en", "0") if piece.translate]
    assert [part.text.strip(" .)") for part, _ in cut_at_kept(piece) if part.translate] == expected


UNITS = r"| \na a\n a\b {a}| a a@ /- a-. a. a_ a_. { % {{ http:// www. ` #a \n ² a² %s: ( ; --a {a} <a></ &a a,"


@pytest.mark.parametrize("unit", [*UNITS.split(), " ", "<a ", "\n ", "\r\n", "- ", "1. ", "a) ", ": %s "])
def test_time_is_linear(unit: str) -> None:
    def work(length: int) -> Callable[[], object]:
        text = unit * (length // len(unit))

        def run() -> None:
            for piece in split(text, "en", "lines"):
                halve(piece)
                cut_at_kept(piece)

        return run

    assert growth(work, 1_000) <= 2.5


def test_a_point_before_a_number_ends_no_sentence() -> None:
    for text in ("Your order No. 5 is ready.", "See Fig. 3 and pp. 12 here.", "It is order no. 7 of May."):
        assert split(text, "en") == [Piece(text, True)]
