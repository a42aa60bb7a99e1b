"""Tables, held against the csv module of Python."""

import csv
import io
import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import Aligned, FileRefused, open_file
from service.files.tables import read
from tests.service.files.opening import LIMITS, copied, loud, texts, time_growth, translated

TABLE = '''key,English text,Price,"A ""note""",Link
menu.open,Open the file,"1,50","It is ""good"",
and new",https://example.org/a b
menu.save,Save,2,,x
'''
TABS = 'id\ttext\n1\tA "red" car\n2\t"Hello, friend"\n3\t"open\n'
CELLS = st.text('ab ,;"\té', max_size=8) | st.sampled_from(
    ["two words", "it''s {0}", "<b>a</b> b", "=A1", "line\nbreak"]
)


def written(rows: list[list[str]], separator: str, line_break: str, quoting: Literal[0, 1]) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=line_break, quoting=quoting).writerows(rows)
    return out.getvalue()


def loaded(text: str, separator: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))


ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=4)
QUOTING: st.SearchStrategy[Literal[0, 1]] = st.sampled_from([0, 1])


@given(
    ROWS,
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    QUOTING,
    st.sampled_from(["utf-8-sig", "utf-16"]),
)
def test_a_table_comes_back_as_it_was(
    rows: list[list[str]], separator: str, line_break: str, quoting: Literal[0, 1], codec: str
) -> None:
    text = written(rows, separator, line_break, quoting)
    assert copied("a.tsv" if separator == "\t" else "a.csv", text.encode(codec)) == text.encode(codec)


@given(ROWS, QUOTING, st.sampled_from([" x", ', "y"', '"', "\t;"]))
def test_python_reads_the_translated_cells(rows: list[list[str]], quoting: Literal[0, 1], added: str) -> None:
    text = "sep=,\n" + written(rows, ",", "\n", quoting)
    before, after = (
        loaded(text, ","),
        loaded(translated("a.csv", text.encode(), lambda cell: f"{cell}{added}").decode(), ","),
    )
    assert [len(row) for row in after] == [len(row) for row in before]
    for old, new in zip(before, after, strict=True):
        for source, result in zip(old, new, strict=True):
            assert result == source or added.strip() in re.sub("</?b>", "", result)


def test_tables() -> None:
    assert texts("a.csv", TABLE.encode()) == ["Open the file", 'It is "good",', "and new", "Save"]
    expected = TABLE
    for text in ("Open the file", 'It is ""good"",', "and new", "Save,"):
        expected = expected.replace(text, text.upper())
    assert translated("a.csv", TABLE.encode()).decode() == expected
    assert translated("a.csv", TABLE.replace("Open the file", "Open it").encode(), lambda _: "a,b").decode().split(
        "\n"
    )[1] == ('menu.open,"a,b","1,50","a,b')
    assert translated("a.tsv", TABS.encode()).decode() == (
        TABS.replace('A "red" car', 'A "RED" CAR').replace("Hello, friend", "HELLO, FRIEND").replace("open", "OPEN")
    )


def test_columns_can_be_chosen() -> None:
    opened = read(TABLE.encode(), ".csv", LIMITS, ["key"])
    rendered = opened.render([Aligned(loud(text)) for text in opened.texts], "de").decode()
    assert rendered == TABLE.replace("menu.open", "MENU.OPEN").replace("menu.save", "MENU.SAVE")
    with pytest.raises(FileRefused, match="no column 'German'"):
        read(TABLE.encode(), ".csv", LIMITS, ["German"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("word\nother\n", "WORD\nOTHER\n"),  # a list
        ("id,name\nA_1,apple\nB_2,pear\n", "id,name\nA_1,APPLE\nB_2,PEAR\n"),
        ("id,name,text\nx,apple,It is red\n", "id,name,text\nx,apple,IT IS RED\n"),
        ("Good morning.,It is late.\nWe go.,We stay.\n", "GOOD MORNING.,IT IS LATE.\nWE GO.,WE STAY.\n"),
        ("a;b\n1;two words, here\n", "a;b\n1;TWO WORDS, HERE\n"),
        ("sep=|\na|b\n1|two words, here\n", "sep=|\na|b\n1|TWO WORDS, HERE\n"),
        ("a,b\n1,2\n", "a,b\n1,2\n"),
    ],
)
def test_which_columns_are_text(source: str, expected: str) -> None:
    assert translated("a.csv", source.encode()).decode() == expected


@pytest.mark.parametrize("data", [b"\xff\x00\x80", b"a,b\n\0,c", b'a,b\nc,"d', b'a,b\n"c"d,e'])
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(FileRefused, match=r"no table|not text"):
        open_file("a.csv", data, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"id,text\n", b"1,a few words here\n", b""),
        (b'a,"', b'""', b'"'),
        (b"a,b\n", b",", b""),
        (b"a\tb\n", b'"a\t', b""),
        (b"a\tb\n", b'"a""\t', b""),
        (b"a,b\n", b"ab" * 9, b" c,d"),
        (b"a,b\n", b" ", b""),
        (b"", b"\n", b""),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    assert time_growth("a.tsv" if b"\t" in pieces[0] else "a.csv", pieces) <= 2.5


def test_columns_are_chosen_by_their_headers() -> None:
    table = b"key,text,note\nopen,Open the file,for menus\n"
    assert [text for text in open_file("a.csv", table, LIMITS, ["text"]).texts if text] == ["Open the file"]
    with pytest.raises(FileRefused, match="no column 'word'"):
        open_file("a.csv", table, LIMITS, ["word"])
    with pytest.raises(FileRefused, match="Columns are chosen"):
        open_file("a.json", b"{}", LIMITS, ["text"])
