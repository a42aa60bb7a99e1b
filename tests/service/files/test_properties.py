"""Properties of Java: values by the rules of java.util.Properties, read letter by letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import FileRefused, open_file
from tests.service.files.opening import LIMITS, copied, loud, texts, time_growth, translated

PROPERTIES = r"""# A comment = kept \
! so is this
title = Hello
menu.open:Open {0}
  key\ with\ spaces   a value

empty=
long=one line \
     goes on, \
     and on
lines=first\nsecond
path=C:\\dir\ttab
message=It''s {0} day
bad=\u12
"""

PIECES = st.sampled_from(
    [*"a\t=:#!\n\rél ", "b c", "key", "\\\\", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\:", "\\ ", "\\\n  ", "\r\n"]
) | st.sampled_from(["{0}", "''", "ł", "<b>", "{n, plural, other {x}}", "\\u12", "\\ud83d"])


def loaded(text: str) -> list[tuple[str, str]]:
    """Read a file letter by letter, by the documentation of Java's `Properties.load`."""
    lines, line, position = [], "", 0
    raw = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while position < len(raw):
        line = raw[position].lstrip(" \t\f")
        position += 1
        if line[:1] in ("", "#", "!"):
            continue
        while (len(line) - len(line.rstrip("\\"))) % 2 and position < len(raw):
            line = line[:-1] + raw[position].lstrip(" \t\f")
            position += 1
        lines.append(line)
    pairs = []
    for line in lines:
        end = 0
        while end < len(line) and line[end] not in "=: \t\f":
            end += 2 if line[end] == "\\" else 1
        rest = line[end:].lstrip(" \t\f")
        if rest[:1] in ("=", ":"):
            rest = rest[1:].lstrip(" \t\f")
        pairs.append((unescaped(line[:end]), unescaped(rest)))
    return pairs


def unescaped(text: str) -> str:
    out, position = "", 0
    while position < len(text):
        letter = text[position]
        position += 1
        if letter == "\\":
            letter = text[position : position + 1]
            position += 1
            if letter == "u":
                letter = chr(int(text[position : position + 4], 16))
                position += 4
            else:
                letter = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}.get(letter, letter)
        out += letter
    return out.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(st.lists(PIECES, max_size=25).map("".join), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
def test_a_file_comes_back_as_it_was(text: str, codec: str) -> None:
    data = text.encode(codec, "ignore")
    assert copied("a.properties", data) == data


@given(st.lists(PIECES, max_size=25).map("".join))
def test_java_reads_the_translated_values(text: str) -> None:
    if "\\u12" in text or "{" in text or "<" in text or text.endswith("\\"):
        return
    try:
        before = loaded(text)
    except ValueError:
        return
    if any("\ufffd" in value or "\ufffd" in key for key, value in before):
        return
    after = loaded(translated("a.properties", text.encode(), str.upper).decode())
    assert after == [(key, value.upper()) for key, value in before]


def test_properties() -> None:
    assert texts("a.properties", PROPERTIES.encode()) == [
        "Hello",
        "Open \U000f0000",
        "a value",
        "one line goes on, and on",
        "first",
        "second",
        "C:\\dir\ttab",
        "It's \U000f0000 day",
    ]
    expected = (
        PROPERTIES.replace("Hello", "HELLO")
        .replace("Open", "OPEN")
        .replace("a value", "A VALUE")
        .replace("one line", "ONE LINE")
        .replace("goes on", "GOES ON")
        .replace("and on", "AND ON")
        .replace(r"first\nsecond", r"FIRST\nSECOND")
        .replace(r"C:\\dir\ttab", r"C:\\DIR\tTAB")
        .replace("It''s {0} day", "IT''S {0} DAY")
    )
    assert translated("a.properties", PROPERTIES.encode()).decode() == expected
    assert translated("a.properties", b"a=See {0}", lambda text: f"l'{text[-1]}") == b"a=l''{0}"
    assert translated("a.properties", b"a=See {name}", lambda text: "l'a") == b"a=l'a"
    assert translated("a.properties", b"a=x y\\=z", lambda text: " a=b") == b"a=\\ a\\=b"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a=x", rb"a=\u00fc\u0142\ud83d\ude00"),
        ("b=é\na=x".encode(), "b=üł😀\na=üł😀".encode()),
        ("b=é\na=x".encode("latin-1"), b"b=\xfc\\u0142\\ud83d\\ude00\na=\xfc\\u0142\\ud83d\\ude00"),
        ("a=x".encode("utf-16"), "a=üł😀".encode("utf-16")),
    ],
)
def test_the_encoding_stays(data: bytes, expected: bytes) -> None:
    assert translated("a.properties", data, lambda _: "üł😀") == expected


def test_long_values_stay_wrapped() -> None:
    source = b"a=one two \\\n  three four\\n\\\n  five\nb=next"
    assert translated("a.properties", source, lambda text: loud(text) + "-long") == (
        b"a=ONE TWO \\\n  THREE \\\n  FOUR-long\\n\\\n  FIVE-long\nb=NEXT-long"
    )


@pytest.mark.parametrize("data", [b"\xff\x00\x80", b"a=\x00", b"a=b\x81"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(FileRefused, match="not text"):
        open_file("a.properties", data, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"", b"key = a few words\n", b""),
        (b"a=", b"\\", b"\n"),
        (b"a=", b"\\\n ", b"x"),
        (b"a=", b"one \\\n ", b"x"),
        (b"", b" ", b"x"),
        (b"a", b" \\\n", b"=x"),
        (b"a=", b"\\u00fc", b""),
        (b"#", b"\\\n", b""),
        (b"a=", b"x ", b"\\"),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    assert time_growth("a.properties", pieces) <= 2.5
