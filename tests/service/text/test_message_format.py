"""ICU MessageFormat: nothing lost of what was a message, and only words changed."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.message_format import Choices, Message, NotAMessage, with_choices
from service.text.plurals import plural_categories
from tests.linear import growth

UNIT = re.compile("[\U000f0000-\U0010ffff]")
FILES = "{count, plural, =0 {no files} one {# file was deleted} other {# files were deleted}}"


def translated(source: str, translate: Callable[[str], str] = str.upper, target: str = "de") -> str:
    message = Message(source)
    return message.render([translate(text) for text in message.texts], target)


def shown(source: str) -> list[str]:
    """Return the texts of a message, its units as asterisks."""
    return [UNIT.sub("*", text) for text in Message(source).texts]


WORDS = st.text("ab z'|,;:$=<>/\n\t\u00df\U000f0001", max_size=8)
QUOTED = st.sampled_from(["'{'", "'}'", "'{a, b}'", "'{it''s}'", "''", "don't", "'' '"])
NAMES = st.sampled_from(["name", "0", "a_b", " n ", "user.name"])
SIMPLE = st.builds(
    "{{{}{}}}".format, NAMES, st.sampled_from(["", ", number", ",date, short", ", number, #,##0.0", ",x,{{}} '}' y"])
)
SPACES = st.sampled_from(["", " ", "\n  ", "\t"])
SELECTORS = st.sampled_from(["=0", "=1", "one", "few", "many", "x-y"])


def choice(messages: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    branch = st.builds("{}{}{}{{{}}}".format, SPACES, SELECTORS, SPACES, messages)
    other = st.builds("{}other{}{{{}}}".format, SPACES, SPACES, messages)
    head = st.sampled_from(["{n, plural,", "{n,plural, offset:1 ", "{n, selectordinal,", "{n , select , "])
    branches = st.builds(lambda some, last: "".join(some) + last, st.lists(branch, max_size=3), other)
    return st.builds("{}{}{}}}".format, head, branches, SPACES)


MESSAGES = st.recursive(
    st.lists(WORDS | QUOTED | SIMPLE | st.just("#"), max_size=4).map("".join),
    lambda inner: st.lists(inner | choice(inner), max_size=3).map("".join),
    max_leaves=12,
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(source: str) -> None:
    try:
        message = Message(source)
    except NotAMessage:  # a generated apostrophe may quote a brace
        return
    assert str(message) == source
    assert message.render(message.texts, "ja") == source


def formatted(source: str) -> str:
    """Format a message without choices by ICU's rules, its arguments as asterisks: read letter by letter."""
    out, position, quoted, level = "", 0, False, 0
    while position < len(source):
        letter, two = source[position], source[position : position + 2]
        position += 1
        if level:
            if letter == "'":
                position = source.index("'", position) + 1
            level += {"{": 1, "}": -1}.get(letter, 0)
        elif two == "''":
            out, position = out + "'", position + 1
        elif letter == "'" and (quoted or two[1:] in ("{", "}")):
            quoted = not quoted
        elif letter == "{" and not quoted:
            out, level = out + "*", 1
        else:
            out += letter
    return out


@given(
    st.lists(WORDS | QUOTED | SIMPLE, max_size=5).map("".join), st.sampled_from(["l'", "''", "'", "'{", "}}{{", "#'"])
)
def test_what_a_translation_says_is_what_icu_reads(source: str, added: str) -> None:
    try:
        message = Message(source)
    except NotAMessage:
        return
    rendered = message.render([added + text + added for text in message.texts], "ja")
    expected = formatted(source)
    assert formatted(rendered) == (added + expected + added if message.texts else expected)


@given(MESSAGES, st.sampled_from(["{", "}", "{name}", "}}{{", "#", "'{"]))
def test_syntax_in_a_translation_is_quoted(source: str, added: str) -> None:
    try:
        message = Message(source)
    except NotAMessage:
        return
    rendered = Message(message.render([f"{text} {added} " for text in message.texts], "ja"))
    assert len(rendered.texts) == len(message.texts)


@given(st.text("{}'#,plural other=0n ", max_size=60))
def test_any_text_is_a_message_or_refused(source: str) -> None:
    try:
        message = Message(source)
    except NotAMessage:
        assert with_choices(source) is None
        return
    assert str(message) == source


def test_branches_are_translated() -> None:
    assert shown(FILES) == ["no files", "* file was deleted", "* files were deleted"]
    assert translated(FILES) == ("{count, plural, =0 {NO FILES} one {# FILE WAS DELETED} other {# FILES WERE DELETED}}")
    nested = "Hi {name}, {who, select, a {she has {n, plural, one {# dog} other {# dogs}}} other {they}} said '{x}'."
    assert shown(nested) == ["Hi *, * said *.", "she has *", "* dog", "* dogs", "they"]
    assert translated(nested) == (
        "HI {name}, {who, select, a {SHE HAS {n, plural, one {# DOG} other {# DOGS}}} other {THEY}} SAID '{x}'."
    )


def test_units_follow_their_words() -> None:
    def turned(text: str) -> str:
        return " ".join(reversed(text.split()))

    source = "{name} has {n, plural, one {a dog} other {# dogs}}"
    assert translated(source, turned) == "{n, plural, one {dog a} other {dogs #}} has {name}"
    assert translated(source, lambda text: UNIT.sub("", text)) == source  # a translation that lost its units
    assert translated(source, lambda text: text + text) == source.replace("a dog", "a doga dog")


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("{n, plural, one {# file} other {# files}}", "pl", "one few many other"),
        ("{n,plural,offset:1 =1{a} one{# file} other{# files}}", "ru", "=1 one few many other"),
        ("{n, plural, other {# files} one {# file}}", "ar", "zero two few many other one"),
        ("{n, plural, one {# file} other {# files}}", "ja", "one other"),
        ("{n, plural, =1 {a file} other {# files}}", "de", "=1 other"),
        ("{n, plural, =0 {none} =1 {a file} other {# files}}", "ar", "=0 =1 two few many other"),
        ("{n, plural, =1 {a file} other {# files}}", "ru", "=1 one few many other"),
        ("{n, plural, =1 {a file} other {# files}}", "fr", "=1 one many other"),
        ("{n, plural, offset:1 =1 {a file} other {# files}}", "de", "=1 one other"),
        ("{n, plural, one {# file} other {# files}}", "de-AT", "one other"),
        ("{n, plural, other {# files}}", "en", "one other"),
        ("{n, selectordinal, one {#st} other {#th}}", "pl", "one other"),
        ("{n, select, one {a} other {b}}", "pl", "one other"),
    ],
)
def test_plural_branches_of_the_target_are_made(source: str, target: str, expected: str) -> None:
    rendered = translated(source, target=target)
    assert " ".join(re.findall(r"(=?\w+) ?\{(?!n,)", rendered)) == expected
    others = re.findall(r"(?:zero|two|few|many|other) ?\{([^}]*)\}", rendered)
    assert len(set(others)) == 1
    assert str(Message(rendered)) == rendered


def test_apostrophes() -> None:
    assert shown("{n, plural, one {It''s # day} other {'#' isn't '{n}'}}") == ["It's * day", "* isn't *"]
    assert translated("{n, plural, one {It''s # day} other {x}}", str) == "{n, plural, one {It''s # day} other {x}}"
    assert translated("{n, plural, one {It''s # day} other {x}}") == "{n, plural, one {IT''S # DAY} other {X}}"
    assert translated("the {name}", lambda text: "l'" + text[-1]) == "l''{name}"
    assert translated("don't {name}") == "DON'T {name}"
    assert translated("braces", lambda _: "a {b} it's #") == "a '{b}' it's #"
    assert translated("{n, plural, other {braces}}", lambda _: "#1's", "ja") == "{n, plural, other {'#'1's}}"


@pytest.mark.parametrize(
    "source",
    [
        "{",
        "}",
        "a {b",
        "{}",
        "{{name}}",
        "{a b}",
        "{n, plural}",
        "{n, plural, one {x}}",
        "{n, plural, other {x}",
        "{n, plural, other x}",
        "{n, plural, other {'{x}}}",
        "{n, select, =1 {x}}",
        '{"a": {"b": 1}}',
        "{n, number, 'x}",
        "{n, x" + "{" * 500,
        "{n, select, other {" * 17 + "}}" * 17,
    ],
)
def test_other_texts_are_refused(source: str) -> None:
    with pytest.raises(NotAMessage):
        Message(source)
    assert with_choices(source) is None


def test_only_messages_with_branches_are_taken_apart() -> None:
    assert with_choices("Hello {name}, it is {d, date, short}") is None
    assert with_choices(FILES) is not None


def test_the_table_of_plurals() -> None:
    assert plural_categories("pl") == ("one", "few", "many", "other")
    assert plural_categories("pt_BR") == ("one", "many", "other")
    assert plural_categories("xx") == ("other",)


HOSTILE = {
    "open": lambda n: "{" * n,
    "branches": lambda n: "{n, plural," + " one {a}" * n + " other {b}}",
    "unfinished": lambda n: "{n, plural," + " one {a}" * n,
    "spaces": lambda n: "{n, plural," + " " * n + "x",
    "apostrophes": lambda n: "'" * n + "{",
    "quotes": lambda n: "'{" * n,
    "arguments": lambda n: "x {a}" * n,
    "messages": lambda n: "{n, plural, one {a {b} c} other {d}} " * n,
    "style": lambda n: "{n, number, " + "{" * n + "'" * n,
    "selectors": lambda n: "{n, select, " + "a" * n + " b",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_time_is_linear(kind: str) -> None:
    def work(n: int) -> Callable[[], object]:
        source = HOSTILE[kind](n)

        def run() -> None:
            if (message := with_choices(source)) is not None:
                message.render([f"x{text}" for text in message.texts], "pl")

        return run

    assert growth(work, 100) <= 2.5


def test_texts_with_messages_among_them_are_lines() -> None:
    message = "{n, plural, one {one tree} other {# trees\nnow}}"
    choices = Choices(["A house\nhere", message, "the end"], "de")
    assert choices
    assert choices.text.count("\n") == 5
    assert choices.render(choices.text) == ["A house\nhere", message, "the end"]
    rendered = choices.render(choices.text.upper())
    assert rendered == ["A HOUSE\nHERE", "{n, plural, one {ONE TREE} other {# TREES\nNOW}}", "THE END"]
    assert not Choices(["A house", "{n, number}", "{n, plural, one"], "de")
