"""Tags within a sentence: each comes back, balanced, nested as it was, around the words from those it was around."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

from service.text.alignment import Link, by_position
from service.text.inline_tags import Pair, insert
from service.text.markup import Document
from service.text.markup_tokens import Markup

HTML, XML = Markup("html"), Markup("xml")
MARKDOWN = Markup("markdown", has_references=False)
TAG = re.compile(r"<[^>]*>")


@st.composite
def nested_pairs(draw, length, depth=3):
    """Draw numbered pairs of tags whose spans are nested in [0, length)."""
    pairs = []

    def fill(low, high, depth):
        while depth and low < high and draw(st.booleans()):
            begin = draw(st.integers(low, high - 1))
            end = draw(st.integers(begin + 1, high))
            pairs.append((begin, end))
            fill(begin, end, depth - 1)
            low = end

    fill(0, length, depth)
    return [Pair(f"<{number}>", f"</{number}>", span) for number, span in enumerate(pairs)]


@st.composite
def translations(draw):
    source, target = (" ".join(draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))) for _ in range(2))
    links = by_position(source, target)
    order = draw(st.permutations([link.source for link in links]))
    moved = [Link(span, link.target) for span, link in zip(order, links, strict=True)]
    return source, target, draw(st.sampled_from([[], moved])), draw(nested_pairs(len(source)))


@given(translations())
def test_every_pair_comes_back_once_and_balanced_and_no_character_is_lost(example):
    source, target, links, pairs = example
    text = insert(pairs, source, target, links)
    assert TAG.sub("", text) == target
    path, parents = [], {}
    for tag in TAG.findall(text):
        number = int(tag.strip("</>"))
        if tag.startswith("</"):
            assert path.pop() == number
        else:
            assert number not in parents
            parents[number] = path[-1] if path else None
            path.append(number)
    assert not path
    assert len(parents) == len(pairs)
    for number, parent in parents.items():
        inside = [
            other
            for other, pair in enumerate(pairs[:number])
            if pair.span[0] <= pairs[number].span[0] and pairs[number].span[1] <= pair.span[1]
        ]
        assert parent == (inside[-1] if inside else None)


def links_of(source: str, target: str, words: dict[str, str]) -> list[Link]:
    return [
        Link(
            (source.index(word), source.index(word) + len(word)),
            (target.index(other), target.index(other) + len(other)),
        )
        for other, word in words.items()
    ]


@pytest.mark.parametrize(
    ("html", "target", "words", "expected"),
    [
        (
            "<p>I have <b>never</b> seen <i>him</i>.</p>",
            "Ihn sah ich nie.",
            {"Ihn": "him", "sah": "seen", "ich": "I", "nie": "never", ".": "."},
            "<p><i>Ihn</i> sah ich <b>nie</b>.</p>",
        ),
        (
            "the <a href='x'>red <b>house</b></a> &amp; more",
            "das rote Haus & mehr",
            {"das": "the", "rote": "red", "Haus": "house", "&": "&", "mehr": "more"},
            "das <a href='x'>rote <b>Haus</b></a> &amp; mehr",
        ),
        (
            "<b>one two</b> three four five",
            "drei vier eins zwei fünf",
            {"drei": "three", "vier": "four", "eins": "one", "zwei": "two", "fünf": "five"},
            "drei vier <b>eins zwei</b> fünf",
        ),
        (  # a word from elsewhere does not end a stretch with more of its own words
            "<b>he would have gone</b> too",
            "er wäre auch gegangen gewesen",
            {"er": "he", "wäre": "would", "auch": "too", "gegangen": "gone", "gewesen": "have"},
            "<b>er wäre auch gegangen gewesen</b>",
        ),
        ("<b>all of it</b> x", "es ganz x", {"es": "it", "ganz": "all", "x": "x"}, "<b>es ganz</b> x"),
    ],
)
def test_tags_follow_their_words(html, target, words, expected):
    document = Document(html, HTML, is_aligned=True)
    assert document.needs_alignment
    assert document.render(target, links_of(document.text, target, words)) == expected


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<a>Home</a> <a>About us</a>", "Home\nAbout us"),  # a row of links is no sentence
        ("one <b>two</b> three", "one two three"),
        ("one <b>two<br>three</b> four", "one\ntwo\nthree\nfour"),  # the pair is in two sentences
        ("one <div>two</div> three", "one\ntwo\nthree"),
        ("one <b>two</i> three", "one\ntwo\nthree"),
        ("<p><b>one <i>two</i> three</b></p>", "one two three"),
    ],
)
def test_which_tags_stay_in_a_sentence(html, text):
    assert Document(html, HTML, is_aligned=True).text == text


PARTS = [
    "<b>",
    "</b>",
    "<i title='so it is'>",
    "</i>",
    "<a href=x>",
    "</a>",
    "<p>",
    "</p>",
    "<br>",
    "word ",
    "two. ",
    "&lt;",
    "\n",
]


@given(st.lists(st.sampled_from(PARTS), max_size=25).map("".join), st.booleans())
def test_whatever_the_markup_no_tag_is_lost_or_made(html, is_changed):
    document = Document(html, HTML, is_aligned=True)
    translation = document.text.upper() if is_changed else document.text
    rendered = document.render(translation, by_position(document.text, translation))
    if not is_changed:
        assert rendered == html
    assert sorted(map(str.lower, TAG.findall(rendered))) == sorted(map(str.lower, TAG.findall(html)))
    assert re.sub(r"\s", "", TAG.sub("", rendered)).lower() == re.sub(r"\s", "", TAG.sub("", html)).lower()


def test_many_and_deep_pairs_take_no_more_than_their_time():
    for html in ("a " + "<b>x</b> " * 5000, "a " + "<b>x " * 5000 + "</b>" * 5000):
        document = Document(html, HTML, is_aligned=True)
        assert len(TAG.findall(document.render(document.text.upper()))) == 10000


PAR = "<d><par>The firm said it had been</par><par> asking.</par></d>"


@pytest.mark.parametrize(
    ("source", "markup", "text"),
    [
        # words beside a pair make it part of their sentence, whatever its name
        ("<d><t>A title</t><p>One <em>two</em> three.</p></d>", XML, "A title\nOne two three."),
        (PAR, XML, "The firm said it had been\nasking."),
        ("<p>one <g>two</g></p>", Markup("xml", splitting_tags=frozenset({"g"})), "one\ntwo"),
        ("one <br/> two <br></br> three", Markup("xml", splitting_tags=frozenset({"br"})), "one\ntwo\nthree"),
        (PAR, Markup("xml", non_splitting_tags=frozenset({"par"})), "The firm said it had been asking."),
        (PAR, Markup("xml", outline_detection=False), "The firm said it had been asking."),
        (
            PAR,
            Markup("xml", splitting_tags=frozenset({"par"}), outline_detection=False),
            "The firm said it had been\nasking.",
        ),
        ("<a>one</a> <b>two</b>", Markup("xml", non_splitting_tags=frozenset({"a"})), "one\ntwo"),
        ("<p>one <q>two</q></p>", Markup("html", splitting_tags=frozenset({"q"})), "one\ntwo"),
        ("one <p>two</p>", Markup("html", non_splitting_tags=frozenset({"p"})), "one two"),
        ("one <b>two</b>\nthree", XML, "one two\nthree"),
        ("one <b>two</b>\nthree", Markup("xml", joins_lines=True), "one two three"),
        ("<x>" * 40 + "<p>a <b>to</b></p>" + "</x>" * 40, XML, "a to"),
        ("See *the* [link **on**](http://a_b), ~~old~~ _new_", MARKDOWN, "See the link on, old new"),
        ("[Home](a) [About us](b)", MARKDOWN, "Home\nAbout us"),
        ("[ ] a *task* of 2 * 3 * 4", MARKDOWN, "a task of 2 * 3 * 4"),
        ("one **two __three** four__", MARKDOWN, "one\ntwo\nthree\nfour"),
    ],
)
def test_what_ends_a_sentence(source, markup, text):
    document = Document(source, markup, is_aligned=True)
    assert re.sub(" +", " ", document.text) == text
    assert document.render(document.text, by_position(document.text, document.text)) == source


WORDS = ["alpha", "beta", "Gamma,", "delta.", "3", "%s", "{name}", "épsilon"]
MARKS = {
    "xml": ["<g{}>", "<x:em{}>", "<a{} b='c > d'>"],
    "html": ["<b id=n{}>", "<i id=n{}>", "<a id=n{} href='?a=1&b=2'>", "<div id=n{}>", "<p id=n{}>"],
    "markdown": ["**", "*", "_", "["],
}


# Within which tags another may not stand.
FORBIDDEN = {
    "<a id=n{} href='?a=1&b=2'>": "<a",
    "<div id=n{}>": "<[aibp]",
    "<p id=n{}>": "<[aibp]",
    "**": r"\*",
    "*": r"\*",
    "_": "_",
    "[": r"\[",
}


@st.composite
def marked_up(draw, kind, depth=3, around=""):
    """Draw balanced markup, with a number in each tag, and words between."""
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        marks = [mark for mark in MARKS[kind] if not re.search(FORBIDDEN.get(mark, "$^"), around)]
        if depth and marks and draw(st.booleans()):
            number = draw(st.integers(0, 10**6))
            begin = draw(st.sampled_from(marks)).format(number)
            inner = draw(marked_up(kind, depth - 1, around + begin))
            if kind != "markdown":
                end = f"</{re.split('[ >]', begin[1:])[0]}>"
            else:
                end = f"](http://x.org/{number})" if begin == "[" else begin
            parts.append(f"{begin}{inner}{end}")
        elif kind == "xml" and draw(st.booleans()):
            parts.append(f'<x id="{draw(st.integers(0, 9))}"></x>')
        else:
            parts.append(draw(st.sampled_from(WORDS)))
    return " ".join(parts)


def is_unit(text):
    """Tell whether the text of an element has no word, so that it may go where a word may."""
    return not re.search(r"[^\W\d_]", re.sub(r"%s|\{name\}", "", text))


def elements(source, kind):
    """Return the elements that an independent parser finds: what identifies each, its text, and the tag around it."""
    if kind == "xml":
        root = ElementTree.fromstring(f'<root xmlns:x="x">{source}</root>')
        return [
            ((child.tag, *child.items()), "".join(child.itertext()), parent.tag)
            for parent in root.iter()
            for child in parent
        ]
    if kind == "html":
        nodes = LexborHTMLParser(source).css("body *")
        return [((node.tag, *sorted(node.attributes.items())), node.text(), node.parent.tag) for node in nodes]
    nodes = LexborHTMLParser(MarkdownIt("commonmark").render(source)).css("body *")
    return [
        ((node.tag, *node.attributes.items()), "", "") for node in nodes if node.text(strip=True) or node.tag == "a"
    ]


def trees(source, rendered, kind):
    """Return the elements of both with the tags around them; units, which may go where words may, without."""
    units = {identity for identity, text, _ in elements(source, kind) if is_unit(text)}
    return [
        sorted(((*identity, "" if identity in units else parent) for identity, _, parent in found), key=str)
        for found in (elements(source, kind), elements(rendered, kind))
    ]


@st.composite
def translated_documents(draw, kind):
    """Draw a document and a translation of it: its words in another order, in capitals, some dropped."""
    document = Document(draw(marked_up(kind)), Markup(kind, has_references=kind != "markdown"), is_aligned=True)
    targets, links, begin, end = [], [], 0, 0
    for line in document.text.split("\n"):
        words = list(re.finditer(r"\S+", line))
        order = draw(st.permutations(words)) if words else []
        kept = [w for w in order if any(ord(c) >= 0xE000 for c in w[0]) or draw(st.integers(0, 9))] or order
        position = end
        for word in kept:
            size = len(word[0])
            links.append(Link((begin + word.start(), begin + word.end()), (position, position + size)))
            position += size + 1
        targets.append(" ".join(word[0].upper() if word[0].isalpha() else word[0] for word in kept))
        begin, end = begin + len(line) + 1, end + len(targets[-1]) + 1
    return document, "\n".join(targets), draw(st.sampled_from([links, []]))


@pytest.mark.parametrize("kind", ["html", "xml", "markdown"])
def test_tags_and_placeholders_of_the_input_are_those_of_the_output_in_balance(kind):
    @settings(max_examples=700, deadline=None)
    @given(translated_documents(kind))
    def check(example):
        document, translation, links = example
        source = document.render(document.text, by_position(document.text, document.text))
        rendered = document.render(translation, links)
        if kind == "markdown":  # emphasis is gone with its last word; nothing else is, and no asterisk is left of it
            before, after = map(Counter, trees(source, rendered, kind))
            assert not after - before, (source, rendered)
            assert rendered.count("](http://x.org/") == source.count("](http://x.org/")
            assert "*" not in re.sub("<[^>]*>", "", MarkdownIt("commonmark").render(rendered)), (source, rendered)
        else:
            before, after = trees(source, rendered, kind)
            assert after == before, (source, rendered)
        for kept in ("%s", "{name}"):
            in_units = source.count(kept) - document.text.count(kept)
            assert rendered.count(kept) == translation.count(kept) + in_units

    check()
