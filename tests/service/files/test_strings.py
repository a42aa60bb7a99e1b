"""Strings of Apple's systems."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import FileRefused, open_file
from tests.service.files.opening import LIMITS, copied, texts, time_growth, translated

STRINGS = r"""/* Title of the "window"; */
"Hello" = "Hello";
// "kept" = "kept";
bare.key= "Open %@ \"now\"" ;
"lines"
  = "first\nsecond \U00e9";
"raw" = "one
two";
"only";
"tags" = "<b>Red</b> car";
"""
SPACES = st.sampled_from(["", " ", "\n", "\r\n", "/* \"a\" = 'b'; * / */", "// x;\n"])
INNER = st.lists(
    st.sampled_from(
        [*"ab '=;/*<\né", "word", r"\"", r"\\", r"\n", r"\U00e9", r"\ud83d", r"\101", "%@", "{n}", "//", "''"]
    ),
    max_size=8,
).map("".join)
STRING = INNER.map('"{}"'.format) | st.sampled_from(["bare", "'single \\' \"'", "a.b-c"])
ENTRY = st.builds("{1}{0}{2}{0}={0}{3}{0};{0}".format, SPACES, SPACES, STRING, STRING) | st.builds("{};".format, STRING)
FILES = st.lists(ENTRY | SPACES, max_size=6).map("".join)


@given(FILES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_a_file_comes_back_as_it_was(text: str, codec: str) -> None:
    data = text.encode(codec)
    assert copied("a.strings", data) == data


@given(FILES)
def test_only_values_change(text: str) -> None:
    def skeleton(source: str) -> str:
        return re.sub(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[\w.-]+)(?=(?:\s|/\*.*?\*/|//[^\n]*)*;)""", "V", source)

    if "/*" not in text and "//" not in text:
        after = translated("a.strings", text.encode(), lambda value: f'{value} x"\\').decode()
        assert skeleton(after) == skeleton(text)


def test_strings() -> None:
    assert texts("a.strings", STRINGS.encode()) == [
        "Hello",
        'Open %@ "now"',
        "first",
        "second é",
        "one",
        "two",
        "Red car",
    ]
    expected = (
        STRINGS.replace('= "Hello"', '= "HELLO"')
        .replace(r"Open %@ \"now\"", r"OPEN %@ \"NOW\"")
        .replace(r"first\nsecond \U00e9", r"FIRST\nSECOND É")
        .replace("one\ntwo", "ONE\nTWO")
        .replace("Red</b> car", "RED</b> CAR")
    )
    assert translated("a.strings", STRINGS.encode()).decode() == expected
    assert translated("a.strings", STRINGS.encode("utf-16")).decode("utf-16") == expected


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'"a" = "b"', 1),
        (b'"a" = "b";\n"c" "d";', 2),
        (b'\n\n"a" = "b', 3),
        (b"/* a", 1),
        (b'"a" = ;', 1),
        (b'"a" = {"b" = "c";};', 1),
        (b"\xff\x00\x80 n", 1),
    ],
)
def test_what_is_no_list_of_strings_is_refused(data: bytes, line: int) -> None:
    with pytest.raises(FileRefused, match=f"line {line} |not text"):
        open_file("a.strings", data, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"", b'"key" = "a few words";\n', b""),
        (b'"a" = "', b"\\\\", b'";'),
        (b'"a" = "', b"\\n", b'";'),
        (b"/*", b"* ", b"*/"),
        (b"", b"/**/", b""),
        (b'"a" = "', b"\\U00e9", b'";'),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    assert time_growth("a.strings", pieces) <= 2.5
