"""YAML, held against PyYAML: what it reads of a translated file is what it read before, with the strings translated."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from service.files import FileRefused, open_file
from tests.linear import growth
from tests.service.files.opening import LIMITS, copied, texts, time_growth, translated

RAILS = """# Files of Rails
---
en:
  hello: Hello %{name}   # a comment
  "quoted": "one\\ntwo \\"three\\""
  single: 'It''s here'
  count: 3
  yes: true
  symbol: :short
  date: {formats: [Sun, "Mon", :day], a: b}
  list:
  - first
  - key: second
    other: "- kept"
  long: this goes on
    in a second line
  literal: |
    one line

      indented
  folded: >-
    a paragraph of
    two lines

    and another
  nothing:
  anchor: &a word
  alias: *a
"""
KEYS = st.sampled_from(["a", "b c", "'d'", '"e: f"', "<<x", "g-h", "0", "é"])
PLAIN = [
    "word",
    "two words",
    "it's",
    'say "x"',
    "a:b c#d",
    "http://a.b/c",
    "é (ü)",
    "x {a} [b], c",
    "%{n} a",
]
QUOTED = [
    "'it''s'",
    '"a \\"b\\" \\u00e9\\n c"',
    '"\\ud83d\\ude00 x"',
    "' '",
    '""',
    "'a: b # c'",
    '"a\\\n    b"',
    "'a\n\n    b'",
]
OTHER = ["1", "-1.5", "true", "no", "~", "2024-01-02", "12:30:45", "0x1f", "!!str 5", "&n word", "[]", "{}", ".inf"]
FLOW = ["[a b, 'c', \"d\"]", "{a: b c, 'd': e, f: [g, 1], h, \"i\"}", "[a,\n      b # c\n      ]", '{"a":"b"}']
SCALARS = st.sampled_from([*PLAIN, *QUOTED, *OTHER, *FLOW])
BLOCKS = st.sampled_from(
    [
        ("|", "one\n  two\n\nthree"),
        (">-", "one\ntwo\n\nthree four"),
        ("|2-", " a\nb"),
        (">", "a b\n  c\nd"),
        ("|+", "a\n\n"),
    ]
)
COMMENTS = st.sampled_from(["", " # c", "  ", "\n", "\n# d\n"])


def indented(lines: list[str], by: int) -> list[str]:
    return [" " * by + line if line else line for line in lines]


def block_lines(head: str, pair: tuple[str, str]) -> list[str]:
    return [f"{head} {pair[0]}", *indented(pair[1].split("\n"), 2)]


@st.composite
def nodes(draw: st.DrawFn, depth: int = 0) -> list[str]:
    """Return the lines of a block collection."""
    is_mapping = draw(st.booleans())
    lines: list[str] = []
    names = draw(st.lists(KEYS, min_size=1, max_size=3, unique=True))
    for name in names:
        head = f"{name}:" if is_mapping else "-"
        kind = draw(st.integers(0, 3 if depth < 3 else 1))
        if kind == 0:
            lines += f"{head} {draw(SCALARS)}{draw(COMMENTS)}".split("\n")
        elif kind == 1:
            lines += block_lines(head, draw(BLOCKS))
        elif kind == 2 and not is_mapping:
            inner = draw(nodes(depth + 1))
            lines += [f"- {inner[0]}", *indented(inner[1:], 2)]
        else:
            lines += [
                f"{head}{draw(COMMENTS)}".split("\n")[0],
                *indented(draw(nodes(depth + 1)), draw(st.sampled_from([1, 2, 4]))),
            ]
    return lines


def loaded(text: str) -> Any:
    return whole(yaml.safe_load(text))


def whole(node: Any) -> Any:
    """Join the halves of characters, which PyYAML leaves apart."""
    if isinstance(node, dict):
        return {whole(key): whole(value) for key, value in node.items()}
    if isinstance(node, list):
        return [whole(value) for value in node]
    return node.encode("utf-16", "surrogatepass").decode("utf-16") if isinstance(node, str) else node


def capitals(node: object) -> object:
    if isinstance(node, dict):
        return {key: capitals(value) for key, value in node.items()}
    if isinstance(node, list):
        return [capitals(value) for value in node]
    return node.upper() if isinstance(node, str) else node


@given(nodes(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_a_file_comes_back_as_it_was(lines: list[str], line_break: str, codec: str) -> None:
    text = "\n".join(lines) + "\n"
    try:
        loaded(text)
    except (yaml.YAMLError, TypeError):
        return
    data = text.replace("\n", line_break).encode(codec)
    assert copied("a.yml", data) == data


@given(nodes())
def test_a_library_reads_what_was_translated(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    try:
        before = loaded(text)
    except (yaml.YAMLError, TypeError):
        return
    after = translated("a.yaml", text.encode(), lambda value: value.upper() if "{" not in value else value).decode()
    expected = str(capitals(before)).replace("%{N} A", "%{n} a").replace("X {A} [B], C", "x {a} [b], c")
    assert str(loaded(after)).split() == expected.split()


@given(
    st.text(st.characters(exclude_categories=["Cs", "Co", "Cn"]), max_size=12),
    st.sampled_from(["a: word", "a: 'it'", 'a: "it"', "[a, word]"]),
)
def test_whatever_a_translation_says_is_read(said: str, source: str) -> None:
    said = said.replace("\n", " ").replace("\r", " ").replace("<", "").replace("\0", "")
    after = translated("a.yml", source.encode(), lambda _: said).decode()
    found = loaded(after)
    value = found["a"] if isinstance(found, dict) else list(found)[-1]
    if said.strip():
        assert str(value).strip() == said.strip()
    assert value is None or isinstance(value, str | datetime.date | int)


def test_rails() -> None:
    assert texts("a.yml", RAILS.encode()) == [
        "Hello %{name}",
        "one",
        'two "three"',
        "It's here",
        "Sun",
        "Mon",
        "b",
        "first",
        "second",
        "kept",
        "this goes on in a second line",
        "one line",
        "  indented",
        "a paragraph of two lines",
        "and another",
        "word",
    ]
    expected = RAILS.replace("en:\n", "de:\n").replace("goes on\n    in", "goes on in")
    for old in (
        *(
            "Hello %{name}",
            "It''s here",
            "Sun",
            "Mon",
            " b}",
            "first",
            ": second",
            "- kept",
            "this goes on in a second line",
        ),
        *("one line", "indented", "a paragraph of", "two lines\n", "and another", "&a word"),
    ):
        expected = expected.replace(old, old.upper().replace("&A", "&a"))
    expected = expected.replace(r'"one\ntwo \"three\""', r'"ONE\nTWO \"THREE\""')
    assert translated("a.yml", RAILS.encode()).decode() == expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("en:\n  a: b\n", "no", '"no":\n  a: B\n'),
        ("'en':\n  a: b\n", "de", "'de':\n  a: B\n"),
        ("pt-BR:\n  a: b\n", "de", "de:\n  a: B\n"),
        ("en:\n  a: b\nde:\n  a: c\n", "de", "en:\n  a: B\nde:\n  a: C\n"),
        ("menu:\n  a: b\n", "de", "menu:\n  a: B\n"),
        ("en: word\n", "de", "en: WORD\n"),
    ],
)
def test_the_language_of_a_file(source: str, target: str, expected: str) -> None:
    assert translated("a.yml", source.encode(), target=target).decode() == expected


def test_scalars_that_must_be_quoted() -> None:
    for said, expected in (
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("- a", '"- a"'),
        ("No", '"No"'),
        ("12", '"12"'),
        ("a:", '"a:"'),
        ("*a", '"*a"'),
        ("it's", "it's"),
    ):
        assert translated("a.yml", b"k: word # c\n", lambda _: said).decode() == f"k: {expected} # c\n"  # noqa: B023


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\xff\x00\x80 a", "not text"),
        (b"a: b\nc: d: e\n", "line 2 something"),
        (b"a: b\n  c: d\n", "line 2 a key stands"),
        (b"a:\n\t- b\n", "line 2 a tab"),
        (b"? a\n: b\n", "no scalar"),
        (b'a: "b\n', "no value begins so"),
        (b"a: [b\n", "no end"),
        (b"a: 'b' c\n", "something stands behind"),
        (b"a: @b\n", "no value begins so"),
        (b"a: |\n    b\n  c\n", "less than its indentation"),
    ],
)
def test_what_is_no_yaml_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(FileRefused, match=sentence):
        open_file("a.yaml", data, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"", b"key: a few words # c\n", b""),
        (b"a: b", b"\n  c", b""),
        (b"a: b", b"\n", b"c: d"),
        (b"a: b", b" ", b"c"),
        (b'a: "', b" ", b'"'),
        (b'a: "b', b"\n  ", b'"'),
        (b'a: "', b"\\n", b'"'),
        (b"a: [", b"b, ", b"]"),
        (b"a: [", b"[b], ", b"]"),
        (b"a: >\n", b"  b\n", b""),
        (b"a: >\n  b", b"\n", b""),
        (b"", b"- ", b"a"),
        (b"", b"&a ", b"a"),
        (b"", b"a\n\n\n", b""),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    assert time_growth("a.yaml", pieces) <= 2.5


@pytest.mark.parametrize("piece", [b"[", b"{a: ", b"&a ", b"- - ", b'"'])
def test_files_are_refused_in_linear_time(piece: bytes) -> None:
    def work(n: int) -> Callable[[], object]:
        def run() -> None:
            with pytest.raises(FileRefused):
                open_file("a.yaml", piece * n + b"\n\t- a: b: c", LIMITS)

        return run

    assert growth(work, 200) <= 2.5
