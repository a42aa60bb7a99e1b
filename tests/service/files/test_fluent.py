"""Fluent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import FileRefused, open_file
from tests.service.files.opening import LIMITS, copied, texts, time_growth, translated

FLUENT = """# A comment = kept
### hello = kept, too
-brand-name = Sub3
    .gender = masculine

hello = Hello, { $user }!
open-button = Open <b>it</b>
    .title = Open the { -brand-name(case: "nominative") } window
    .accesskey = O
long =
    This line goes on
    in a second one.

    Another paragraph { "{" } here.
files = { $who } has { $count ->
    [0] no files
    [one] one file
   *[other] { $count } files
} left
this line is junk
last = { unfinished
end = The end
"""
PLACEABLES = st.sampled_from(
    [
        "{ $a }",
        "{-b}",
        '{ "}" }',
        "{ NUMBER($n, d: 2) }",
        "{ { $x } }",
        "{ $n ->\n  [one] a\n *[other] b { $n }\n}",
        "{$n->\n*[a]\n b\n}",
    ]
)
WORDS = st.sampled_from(
    ["word", "two words", " ", "é", "<b>x</b>", "\n  ", "\n\n    ", '"', "[", "*", ".", "-", "\n", "}", "{", "\r\n "]
)
PATTERNS = st.lists(WORDS | PLACEABLES, max_size=6).map("".join)
ENTRIES = (
    st.builds("{} = {}\n".format, st.sampled_from(["a", "-term", "b-c", "a "]), PATTERNS)
    | st.builds("a = {}\n  .title = {}\n".format, PATTERNS, PATTERNS)
    | st.sampled_from(["# comment\n", "\n", "junk\n", "a =\n", "  indented = x\n"])
)
FILES = st.lists(ENTRIES, max_size=5).map("".join)


@given(FILES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans())
def test_a_file_comes_back_as_it_was(text: str, codec: str, has_carriage_returns: bool) -> None:
    data = ("a = b\n" + text).replace("\n", "\r\n" if has_carriage_returns else "\n").encode(codec)
    assert copied("a.ftl", data) == data


@given(FILES, st.sampled_from([" {x}", " }", " .a = b", "", " *[x] y"]))
def test_what_is_translated_holds_as_many_texts(text: str, added: str) -> None:
    """Nothing that a translation says begins a message, a variant or a placeable."""
    source = ("z = b\n" + text).encode()
    after = translated("a.ftl", source, lambda value: f"{value}{added}" if value.strip() else value)
    names = re.findall(rb"(?m)^-?[\w-]+ *=|^ +\.\w+ =|\[\w+\]", source)
    assert len(texts("a.ftl", after)) == len(texts("a.ftl", source))
    if b"junk" not in source and not added.startswith(" *[x"):
        assert re.findall(rb"(?m)^-?[\w-]+ *=|^ +\.\w+ =|\[\w+\]", after) == names


def test_fluent() -> None:
    shown = [re.sub("[\U000f0000-\U0010ffff]", "*", text) for text in texts("a.ftl", FLUENT.encode())]
    assert shown == [
        "Sub3",
        "Hello, *!",
        "Open it",
        "Open the * window",
        "This line goes on in a second one.",
        "Another paragraph * here.",
        "* has * left",
        "no files",
        "one file",
        "* files",
        "The end",
    ]
    expected = FLUENT
    for text in (
        "Sub3",
        "Hello",
        "Open",
        "This line goes on",
        "in a second one",
        "Another paragraph",
        " here",
        "has {",
    ):
        expected = expected.replace(text, text.upper())
    for text in ("no files", "one file", "} files", "} left", "The end", "the {", "} window", "b>it</b"):
        expected = expected.replace(text, text.upper())
    expected = expected.replace("B>IT</B", "b>IT</b").replace("GOES ON\n    IN", "GOES ON IN")
    assert translated("a.ftl", FLUENT.encode()).decode() == expected


def test_placeables_follow_their_words() -> None:
    def turned(text: str) -> str:
        return " ".join(reversed(text.split()))

    source = b"a = one { $x } two { $n ->\n   *[other] three four\n }\n"
    assert translated("a.ftl", source, turned) == (b"a = { $n ->\n   *[other] four three\n } two { $x } one\n")
    assert translated("a.ftl", b"a =\n    one", lambda _: "[z]") == b'a =\n    {"["}z]'
    assert translated("a.ftl", b"a =\n    one\n    two", lambda _: "x { .y [z") == b'a =\n    x {"{"} .y [z'


@pytest.mark.parametrize("data", [b"\xff\x00\x80 no", b"plain words", b"  a = b", b'{"a": "b"}'])
def test_what_is_no_fluent_is_refused(data: bytes) -> None:
    with pytest.raises(FileRefused, match=r"not a list of Fluent messages|not text"):
        open_file("a.ftl", data, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"", b"key = a few { $words } here\n", b""),
        (b"a = ", b"{ $x }", b"\n"),
        (b"a = x", b"\n  y", b"\n"),
        (b"a = x", b"\n", b"y"),
        (b"a = x", b"\n ", b"y"),
        (b"a = b\n", b"a = {\n", b""),
        (b"a = b\n", b'a = { "\n', b""),
        (b"a = b\n", b"a = { $x ->\n", b""),
        (b"a = b\n", b"a = { $x ->\n [a] b\n", b""),
        (b"a = { $x ->", b"\n [a] b", b"\n}\n"),
        (b"a = { $x ->\n [a] b", b"\n ", b"\n}\n"),
        (b"a = b\n", b"a = { x }}\n", b""),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    assert time_growth("a.ftl", pieces) <= 2.5
