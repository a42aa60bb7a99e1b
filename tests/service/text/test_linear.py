"""Processor time over a client's text: linear, whatever the text is made to do to the regular expressions and loops.

The patterns come from the expressions themselves: repeats of their beginnings, what opens and never closes, runs of
characters that two neighbours both take, and mixtures of these.
"""

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import service.api
import service.files
import service.text
from service.text import glossary, inline_tags, names, numbers, placeholders
from service.text.alignment import Link
from service.text.composed import composed
from service.text.glossary import Glossary, GlossaryRefused
from service.text.markup import Document
from service.text.markup_tokens import Markup
from service.text.message_format import with_choices
from service.text.references import unescape
from service.text.sentences import cut_at_kept, halve, split
from tests.linear import growth

HTML, XML, MARKDOWN = Markup("html"), Markup("xml"), Markup("markdown", has_references=False)
KEPT_INLINE = Markup("xml", non_splitting_tags=frozenset("abcdefgx"), outline_detection=False)
# Mixtures of these are what expressions for markup, placeholders and addresses look for.
ATOMS = [
    *(  # noqa: SIM905
        "<!-- <![CDATA[ <a </a> <a/> <b>x</b> <br> <code> <script> <? & &amp; &# < > --> % %( %(a) %< %<a> %1$ %s %{ "
        "%a% { {{ } ${ $( $A "
        "http:// www. mailto: a@ a. a@a.a :: -> () / // ~/ C:\\ a_ _ __ * ** ` `` ~~ [ ] [^ ]( ) ![ "
        "| \\ - -- --a= # #a @a . .. , ; : = ( ' \" 0 1, 1: a A \u00e9 \u00b2 x, \ue000"
    ).split(" "),
    *("1kg", "XX ", "1 May ", "\u2603 ", "\u0301\u0316"),
    *(" ", "  ", "\n", "\r\n", "\t", "\n ", "\u00a0", "0" * 9, "a" * 9, "\u2003"),
]


def expressions() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Yield the compiled regular expressions of the modules that read what clients send."""
    for package in (service.text, service.files, service.api):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if found.name == "service.files.child":
                continue
            for name, value in vars(importlib.import_module(found.name)).items():
                if isinstance(value, re.Pattern):
                    yield f"{found.name}.{name}", value


EXPRESSIONS = dict(expressions())


def is_tried_at_a_place(name: str) -> bool:
    """Tell whether its module never searches for it, but goes on behind a match or refuses the text."""
    module, _, name = name.rpartition(".")
    uses = set(re.findall(rf"\b{name}\.(\w+)\(", inspect.getsource(importlib.import_module(module))))
    return name in ("_TEXT", "_TEXT_OF_PLURAL") or (uses != set() and uses <= {"match", "fullmatch"})


AT_A_PLACE = {pattern for name, pattern in EXPRESSIONS.items() if is_tried_at_a_place(name)}


def characters(items: Any) -> list[str]:
    """Return some characters of a set, among them one that is in none of the others' usual places."""
    chosen: list[str] = []
    is_negated = False
    for code, value in items:
        if code is codes.NEGATE:
            is_negated = True
        elif code is codes.LITERAL:
            chosen.append(chr(value))
        elif code is codes.RANGE:
            chosen.append(chr(value[0]))
        elif code is codes.CATEGORY:
            chosen += {
                codes.CATEGORY_DIGIT: ["0"],
                codes.CATEGORY_NOT_DIGIT: ["a"],
                codes.CATEGORY_SPACE: [" "],
                codes.CATEGORY_NOT_SPACE: ["a", "."],
                codes.CATEGORY_WORD: ["a", "0"],
                codes.CATEGORY_NOT_WORD: ["."],
            }[value]
    if is_negated:
        return [c for c in "a0 .<\"'(" if c not in chosen][:3] or ["x"]
    return list(dict.fromkeys(chosen))[:4]


def prefixes(parsed: Any) -> list[list[str]]:
    """Return texts that get an expression as far as each of its parts: one list a way through its alternatives."""
    ways: list[list[str]] = [[""]]
    for code, value in parsed:
        steps: list[list[str]]
        if code is codes.LITERAL:
            steps = [[chr(value)]]
        elif code is codes.NOT_LITERAL:
            steps = [["x" if value != ord("x") else "y"]]
        elif code is codes.ANY:
            steps = [["x"]]
        elif code is codes.IN:
            steps = [[c] for c in characters(value)]
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            steps = [[way[-1]] for way in prefixes(value[2])]
        elif code is codes.SUBPATTERN:
            steps = prefixes(value[-1])
        elif code is codes.ATOMIC_GROUP:
            steps = prefixes(value)
        elif code is codes.BRANCH:
            steps = [way for branch in value[1] for way in prefixes(branch)]
        else:  # a look around, an anchor, a group again
            continue
        ways = [[*way, *(way[-1] + step for step in more)] for way in ways[:12] for more in steps[:40]]
    return ways


def parsed(pattern: re.Pattern[Any]) -> Any:
    is_bytes = isinstance(pattern.pattern, bytes)
    return parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE if is_bytes else pattern.flags)


def hostile(pattern: re.Pattern[Any]) -> list[tuple[str, str, str]]:
    """Return beginnings, units to repeat and ends from an expression's own grammar."""
    texts = list(dict.fromkeys(text for way in prefixes(parsed(pattern)) for text in way if text))[:60]
    found = [("", text, "") for text in texts]
    found += [(text, text[-1], end) for text in texts for end in ("", "\0")]  # a run after it, and no end
    found += [("", text + text[-1], "\0") for text in texts]
    return list(dict.fromkeys(found))


def searched(pattern: re.Pattern[Any], parts: tuple[str, str, str], count: int) -> Callable[[], object]:
    begin, unit, end = parts
    text = begin + unit * (count // len(unit)) + end
    data: Any = text.encode("utf-8", "surrogatepass") if isinstance(pattern.pattern, bytes) else text

    def run() -> None:
        if pattern in AT_A_PLACE:
            pattern.match(data)
            pattern.fullmatch(data)
            return
        for _ in pattern.finditer(data):
            pass

    return run


def is_linear(work: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Whether twice the size takes up to two and a half times the time."""
    return growth(work, size) < 2.5


def seconds(run: Callable[[], object]) -> float:
    """Return the processor time that a call takes."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def quick(run: Callable[[], object]) -> bool:
    """Whether so little time was taken that it says nothing."""
    return seconds(run) < 0.01


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expression(name: str) -> None:
    pattern = EXPRESSIONS[name]
    for parts in hostile(pattern):
        # 50 million steps where it is quadratic; else less than a millisecond
        if not quick(searched(pattern, parts, 10_000)):
            assert is_linear(lambda n, parts=parts: searched(pattern, parts, n), 2_000), parts


def test_the_generator_finds_what_is_quadratic() -> None:
    for source in (
        r"<!--.*?-->",
        r"%[-+#0]*\d*s",
        r"\s*\n",
        r" {2,}$",
        r"%(?:\(\w+\)|<\w+>)[-+#0]*\d*(?:\.\d+)?s",
        r"\[\^[^\]]+\]",
    ):
        pattern = re.compile(source, re.DOTALL)
        works = (partial(searched, pattern, parts) for parts in hostile(pattern))
        slow = (work for work in works if not quick(work(10_000)))
        # at sizes that take tens of milliseconds: of 500 characters the first call alone looked linear
        assert any(seconds(work(10_000)) > 2.5 * seconds(work(5_000)) for work in slow), source


def prepared(text: str) -> None:
    for piece in split(text, "en", "lines"):
        halve(piece)
        cut_at_kept(piece)
    placeholders.without(text[:400])  # of a translation, whose length the engine bounds
    placeholders.words_with(text, placeholders.find(text), str.isdecimal)
    placeholders.same(text, text)
    unescape(text)
    with_choices(text)


def rendered(text: str, markup: Markup) -> None:
    document = Document(text, markup, is_aligned=True)
    document.render(document.text.upper())


def named(text: str) -> None:
    for source, target in (("en", "de"), ("de", "en")):
        names.lost(names.find(text, source, target), "Anna Kowalski in München")


def counted(text: str) -> None:
    kept = placeholders.find(text)
    for source, target in (("en", "de"), ("de", "en"), ("fr", "en")):
        numbers.stretches(text, source, target, kept)
        numbers.agree(text, source, text, target)
    numbers.keeps_marked(text[:400], text[:400], "de")  # of a sentence, whose length the engine bounds


GLOSSARY = Glossary({"x": "y", "a a": "b"}, "en", "de")
WORKS: dict[str, Callable[[str], object]] = {
    "text": prepared,
    "html": lambda text: rendered(text, HTML),
    "xml": lambda text: rendered(text, XML),
    "markdown": lambda text: rendered(text, MARKDOWN),
    "non-splitting": lambda text: rendered(text, KEPT_INLINE),
    "names": named,
    "numbers": counted,
    "composed": composed,
    "glossary": lambda text: GLOSSARY.find(text, placeholders.find(text)),
    "tags": lambda text: inline_tags.insert(
        [inline_tags.Pair("<", ">", (0, len(text)))], text, text, inline_tags.by_position(text, text)
    ),
}


@pytest.mark.campaign
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("unit", ATOMS)
def test_one_unit_again_and_again(work: str, unit: str) -> None:
    def run(n: int) -> Callable[[], object]:
        text = unit * (n // len(unit))
        return lambda: WORKS[work](text)

    assert quick(run(10_000)) or is_linear(run, 10_000)


@pytest.mark.campaign
@pytest.mark.parametrize("work", WORKS)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4), st.lists(st.sampled_from(ATOMS), max_size=3))
@example(["<a>x</a>"], [])
@example(["<a>x</a>", "y"], [])
@example(["%s. A b "], [])
@example(["0"], ["%"])
def test_mixtures(work: str, units: list[str], begin: list[str]) -> None:
    def run(n: int) -> Callable[[], object]:
        unit = "".join(units)
        text = "".join(begin) + unit * max(n // len(unit), 1)
        return lambda: WORKS[work](text)

    assert quick(run(10_000)) or is_linear(run, 10_000)


@pytest.mark.parametrize("text", ["%", "%(a)", "%<a>", "%1$"])
def test_a_placeholder_of_zeros(text: str) -> None:
    assert is_linear(lambda n: lambda: placeholders.find(text + "0" * n), 10_000)


@pytest.mark.parametrize("begin", ["", "a", "\u2603", "a" + "\u0301" * 30])
@pytest.mark.parametrize("work", ["composed", "glossary", "text"])
def test_marks_on_one_character(work: str, begin: str) -> None:
    # Python sorts them in time that grows with their square, without giving way to another thread
    assert is_linear(lambda n: lambda: WORKS[work](begin + "\u0301\u0316" * n), 2_000)


def test_a_term_of_marks_is_refused_in_linear_time() -> None:
    def run(n: int) -> Callable[[], object]:
        term = "a" + "\u0301\u0316" * n

        def refused() -> None:
            with pytest.raises(GlossaryRefused):
                Glossary({term: "b"}, "en", "de")

        return refused

    assert is_linear(run, 2_000)


@pytest.mark.parametrize("unit", ["1\u2603 ", "XX 1\u2603 ", "1 May \u2603 "])
def test_many_numbers_and_units(unit: str) -> None:
    def run(n: int) -> Callable[[], object]:
        text = unit * n
        kept = [match.span() for match in re.finditer("\u2603", text)]
        return lambda: numbers.stretches(text, "en", "de", kept)

    assert is_linear(run, 1_000)


def test_many_places_of_a_term() -> None:
    assert is_linear(lambda n: lambda: GLOSSARY.find("x " * n, []), 2_000)


def test_many_protected_spans_and_links() -> None:
    def run(n: int) -> Callable[[], object]:
        text = "{a} b " * n
        words = [Link(span, span) for span in glossary_words(text)]
        return lambda: inline_tags.insert([inline_tags.Pair("<", ">", (0, 5))], text, text, words)

    assert is_linear(run, 500)


def glossary_words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in glossary._WORD.finditer(text)]


@pytest.mark.parametrize("digits", [20, 5000, 100_000])
def test_a_reference_of_many_digits_is_copied(digits: int) -> None:
    for number in ("1" * digits, "x" + "f" * digits):
        text = f"a &#{number}; b &amp; c"
        assert unescape(text) == "a \ufffd b & c"
        assert f"&#{number};" in Document(text, HTML).render(Document(text, HTML).text)


ONE_CHARACTER = (codes.IN, codes.LITERAL, codes.NOT_LITERAL, codes.ANY)


def operations(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every operation of a parsed expression, with its argument."""
    if isinstance(tree, parser.SubPattern):
        for operation, argument in tree:
            yield operation, argument
            yield from operations(argument)
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from operations(part)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_only_characters_are_repeated_possessively(name: str) -> None:
    # Python before 3.11.5 matches groups wrongly that are (Debian 12 has 3.11.2; CPython's issue 106052):
    # `(?:[^*]++|\*(?!/))*+` missed the comment that `(?>(?:[^*]++|\*(?!/))*)` finds.
    for operation, argument in operations(parsed(EXPRESSIONS[name])):
        if operation is codes.POSSESSIVE_REPEAT:
            (only,) = argument[2]
            assert only[0] in ONE_CHARACTER
