"""Tags within a sentence: each comes back, balanced, nested as it was, around the words from those it was around."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.alignment import Link, by_position
from service.inline_tags import Pair, insert
from service.markup import Document, Markup

HTML = Markup("html")
TAG = re.compile(r"<[^>]*>")


@st.composite
def nested_pairs(draw, length, depth=3):
    """Pairs of tags, numbered, whose spans are nested in [0, length)."""
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
