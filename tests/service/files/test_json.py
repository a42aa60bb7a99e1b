"""JSON and ARB: only string values change, and each is spelt as the file spells."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import FileRefused, open_file
from tests.service.files.opening import LIMITS, copied, texts, time_growth, translated

NESTED = r"""{
  "title" : "Hello",
  "n": 1.50e+3, "empty": "", "nothing": null, "yes": true,
	"menu": { "open": "Open <b>it</b>, {{name}}", "a\"b": ["first", "it\u2019s \"two\"", 2, {"deep": "three"}] },
  "path": "a\/é c",
  "lines": "one\ntwo\\n"
}
"""
ARB = """{
  "@@locale": "en",
  "hello": "Hello {name}",
  "@hello": {"description": "Says hello", "placeholders": {"name": {"example": "Ann"}}},
  "files": "{count, plural, one {# file} other {# files}} left",
  "@files": {},
  "bye": "Bye"
}
"""
CHROME = """{"hi": {"message": "Hi $NAME$", "description": "says hi", "placeholders": {"name": {"content": "$1"}}}}"""

SPACES = st.sampled_from(["", " ", "\n", "\r\n\t"])
STRINGS = st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii="q" in text)) | st.sampled_from(
    [
        '"\\/"',
        '"\\u003cb\\u003e x"',
        '"\\ud83d\\ude00 a"',
        '"{n, plural, other {# a}}"',
        "\"it''s {n}\"",
        '"<b>a</b> b"',
    ]
)
SCALARS = STRINGS | st.sampled_from(["1", "-0.0", "1E5", "true", "null", "123456789012345678901234567890"])


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.builds("{}{}{}".format, SPACES, inner, SPACES)
    pair = st.builds("{}{}{}:{}".format, SPACES, STRINGS | st.sampled_from(['"@a"', '"@@locale"']), SPACES, spaced)
    lists = st.lists(spaced, max_size=3).map(lambda items: f"[{','.join(items)}]")
    return lists | st.lists(pair, max_size=3).map(lambda pairs: f"{{{','.join(pairs)}}}")


@pytest.mark.parametrize("ending", [".json", ".arb"])
@given(st.recursive(SCALARS, containers, max_leaves=15), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_a_document_comes_back_as_it_was(ending: str, document: str, codec: str) -> None:
    data = document.encode(codec)
    once = copied(f"a{ending}", data)
    assert copied(f"a{ending}", once) == once  # the language is set
    if "@@locale" not in document:
        assert once == data


def values(document: object) -> object:
    """Write a document's strings in capitals, but for those below a name with @."""
    if isinstance(document, dict):
        return {key: value if key.startswith("@") else values(value) for key, value in document.items()}
    if isinstance(document, list):
        return [values(value) for value in document]
    return document.upper() if isinstance(document, str) else document


@given(st.recursive(SCALARS, containers, max_leaves=15))
def test_only_strings_change(document: str) -> None:
    if any(mark in document for mark in ("@", "<", "u003c", "{n")):
        return  # what is kept of tags and arguments is another test's
    after = json.loads(translated("a.json", document.encode(), str.upper))
    assert after == values(json.loads(document))


def test_json() -> None:
    assert texts("a.json", NESTED.encode()) == [
        "Hello",
        "Open it, {{name}}",
        "first",
        'it’s "two"',
        "three",
        "a/é c",
        "one",
        "two\\n",
    ]
    assert translated("a.json", NESTED.encode(), lambda text: text.replace("o", "ö")).decode() == (
        NESTED.replace('"Hello"', '"Hellö"')
        .replace(r'"it\u2019s \"two\""', r'"it\u2019s \"twö\""')
        .replace(r'"one\ntwo\\n"', r'"öne\ntwö\\n"')
    )
    ascii_only = r'{"a": "Gr\u00fc\u00dfe from", "b": "us"}'
    assert translated("a.json", ascii_only.encode(), lambda _: "ä/€😀").decode() == (
        r'{"a": "\u00e4/\u20ac\ud83d\ude00", "b": "\u00e4/\u20ac\ud83d\ude00"}'
    )
    assert translated("a.json", rb'{"a": "x\/y \u003cb\u003e"}', lambda text: f"{text}/<") == (
        rb'{"a": "x\/y \u003cb\u003e\/\u003c"}'
    )


def test_arb() -> None:
    assert texts("a.arb", ARB.encode()) == [
        "Hello {name}",
        "\U000f0000 left",
        "\U000f0000 file",
        "\U000f0000 files",
        "Bye",
    ]
    expected = (
        ARB.replace('"en"', '"pl"')
        .replace('"Hello {name}"', '"HELLO {NAME}"')
        .replace(
            "one {# file} other {# files}} left", "one {# FILE} few {# FILES} many {# FILES} other {# FILES}} LEFT"
        )
        .replace('"Bye"', '"BYE"')
    )
    assert translated("a.arb", ARB.encode(), target="pl").decode() == expected


def test_messages_of_an_extension() -> None:
    assert translated("messages.json", CHROME.encode()).decode() == CHROME.replace("Hi $NAME$", "HI $NAME$")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{'a': 1}", b'{"a": NaN}', b'["a",]', b'"\\ud800"', b"// a\n{}", b"\xff\xfe{"]
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    for ending in (".json", ".arb"):
        with pytest.raises(FileRefused, match=r"no JSON|not text"):
            open_file(f"a{ending}", data, LIMITS)


def test_what_is_nested_too_deeply_is_refused() -> None:
    for ending in (".json", ".arb"):
        with pytest.raises(FileRefused, match=r"nested too deeply"):
            open_file(f"a{ending}", b"[" * 100_000, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b'{"a":""', b',"key": "a few words"', b"}"),
        (b'["', b"\\\\", b'"]'),
        (b'["x', b"\\/ y", b'"]'),
        (b'["', b"<a ", b'"]'),
        (b"[" * 900 + b'""', b',{"@a":"b"}', b"]" * 900),
        (b'["{n, plural, ', b"one {x {y} z} ", b'other {z}}"]'),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    assert time_growth("a.json", pieces) <= 2.5


I18NEXT = """{
  "file_one": "{{count}} file",
  "file_other": "{{count}} files",
  "place_ordinal_one": "{{count}}st", "place_ordinal_other": "{{count}}th",
  "menu": {"item_one":"item","item_other" : "items"}, "an_other": "an other"
}"""


def test_plurals_of_i18next_get_the_forms_of_the_target() -> None:
    for target, made in [("de", []), ("ja", []), ("ru", ["few", "many"]), ("fr", ["many"])]:
        expected = I18NEXT
        for category in made:
            expected = expected.replace(
                '  "file_other"', f'  "file_{category}": "{{{{count}}}} files",\n  "file_other"', 1
            ).replace('"item_other"', f'"item_{category}" : "items","item_other"')
        assert copied("a.json", I18NEXT.encode(), target).decode() == expected
        json.loads(translated("a.json", I18NEXT.encode(), target=target))
