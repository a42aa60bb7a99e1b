"""Markup around translations, held against an independent HTML parser (lexbor) and by properties."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from service.text.alignment import by_position
from service.text.markup import Document, with_pairs
from service.text.markup_tokens import SOFTWARE, Markup
from tests.linear import growth

HTML, XML = Markup("html"), Markup("xml")
NOTES = Markup("xml", nested_tags=frozenset({"n"}))


def translated(source: str, markup: Markup = HTML) -> str:
    """Translate the text of markup into capitals."""
    document = Document(source, markup)
    return document.render(document.text.upper())


def tags(source: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Return the elements that lexbor finds, in order, with their attributes; of those for people only the names."""
    return [
        (node.tag, [(name, None if name in ("alt", "title") else value) for name, value in node.attributes.items()])
        for node in LexborHTMLParser(source).css("*")
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain text", "PLAIN TEXT"),
        ('<p>Hello <b class="x">big</b> world</p>', '<p>HELLO <b class="x">BIG</b> WORLD</p>'),
        ("<P\n Title = 'a > b'>one<BR/>two", "<P\n Title = 'A > B'>ONE<BR/>TWO"),
        ("<p>\n  one\n  two\n</p>\n", "<p>\n  ONE TWO\n</p>\n"),
        (
            "<!-- a <b> note --><p>a</p><![CDATA[raw]]><?php raw ?>",
            "<!-- a <b> note --><p>A</p><![CDATA[raw]]><?php raw ?>",
        ),
        ("run <code>x = y</code> now", "RUN <code>x = y</code> NOW"),
        ("<pre>a\n b</pre>c<script>if (a<b) d()</script>e", "<pre>a\n b</pre>C<script>if (a<b) d()</script>E"),
        ("<style>p > a {}</style>a", "<style>p > a {}</style>A"),
        ('<span translate="no">sub3 <i>is</i></span> fast', '<span translate="no">sub3 <i>is</i></span> FAST'),
        ("<b class='big notranslate'>sub3</b> fast", "<b class='big notranslate'>sub3</b> FAST"),
        ("<b class='donotranslate'>fast</b>", "<b class='donotranslate'>FAST</b>"),
        ("<p translate=no>keep<p>change", "<p translate=no>keep<p>CHANGE"),
        ("<div><code>keep</div>change", "<div><code>keep</div>CHANGE"),
        ("you &amp; me &lt;3 &quot;yes&quot;&nbsp;&copy; 5", "YOU &amp; ME &lt;3 &quot;YES&quot;&nbsp;&copy; 5"),
        ("a &#60;b&#x3E; caf&eacute;", "A &#60;B&#x3E; CAFÉ"),
        ("&#65;nna and ANNA", "ANNA AND ANNA"),  # a letter by its number is not spelt so elsewhere
        ("AT&T a < b", "AT&amp;T A &lt; B"),
        ("😀 &hearts; 42 <b>7</b>", "😀 &hearts; 42 <b>7</b>"),
        ("(see <a href='#'>here</a>), and go", "(SEE <a href='#'>HERE</a>), AND GO"),
        ("", ""),
        ('<img src=a.png alt="A house">', '<img src=a.png alt="A HOUSE">'),
        (
            '<a title="say &quot;x&quot; &amp; y" href="z">go</a>',
            '<a title="SAY &quot;X&quot; &amp; Y" href="z">GO</a>',
        ),
        ("<a title='it&#39;s' TITLE = 'too'>", "<a title='IT&#39;S' TITLE = 'TOO'>"),
        ('<a title="one\n  two" translate=no>', '<a title="one\n  two" translate=no>'),
        ('<p translate=no><img alt="a"></p>', '<p translate=no><img alt="a"></p>'),
        ('<input placeholder="name" value="keep">', '<input placeholder="NAME" value="keep">'),
        ('see <img alt="a house"> now', 'SEE <img alt="A HOUSE"> NOW'),
        ("a <code>b <b>c</b></code>, d", "A <code>b <b>c</b></code>, D"),
        ("a <code>b", "A <code>b"),
        ("a <p><code>b</p> c", "A <p><code>b</p> C"),
        # malformed: the standard's tokenizer reads all that follows as part of what was begun
        ("text <b", "TEXT <b"),
        ('<a href="x>never closed', '<a href="x>never closed'),
        ("a <!-- never closed", "A <!-- never closed"),
        ("</b>stray</i> end", "</b>STRAY</i> END"),
        ("<script>never closed", "<script>never closed"),
        ("a </> b </ c> d <3 e", "A </> B </ c> D &lt;3 E"),
        ("<![if !mso]>a<![endif]>", "<![if !mso]>A<![endif]>"),
    ],
)
def test_html(source: str, expected: str) -> None:
    assert translated(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<img alt="A house">', '<img alt="Das &quot;Haus&quot; i\'s">'),
        ("<img alt='A house'>", "<img alt='Das \"Haus\" i&#39;s'>"),
    ],
)
def test_a_translation_does_not_end_its_attribute(source: str, expected: str) -> None:
    assert Document(source, HTML).render('Das "Haus" i\'s') == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('Hi <x id="7"></x>, bye <x id="8"/>.', 'HI <x id="7"></x>, BYE <x id="8"/>.'),
        ("line one\n\n  line two\r\nline three", "LINE ONE\n\n  LINE TWO\r\nLINE THREE"),  # kept, unlike in HTML
        ("<code>a</code><br>on</br>", "<code>A</code><br>ON</br>"),  # names mean nothing here
        ("<script>a<b/>c</script>", "<script>A<b/>C</script>"),
    ],
)
def test_xml(source: str, expected: str) -> None:
    assert translated(source, XML) == expected


def test_ignored_tags_keep_their_content() -> None:
    source = 'Say <X id="1">hello <b>you</b></X> and <keep>this</keep>.'
    markup = Markup("xml", frozenset({"x", "keep"}))
    assert translated(source, markup) == 'SAY <X id="1">hello <b>you</b></X> AND <keep>this</keep>.'


PIECES = (
    """<p>|</p>|<b>|</b>|<i class='a'>|</i>|<br>|<br/>|<img alt='a>b'>|<a href="?a=1&b=2">|</a>|<li>|<td>|</td>|"""
    """<table>|</table>|<code>|</code>|<pre>|</pre>|<!--c-->|<script>|</script>|<x id='7'></x>|<b translate=no>|"""
    """&amp;|&lt;|&copy;|&#65;|&|<|>|"|'|=|/|<a |<!--|-->|</|<?|]]>|\n|hello|world|.|,|😀|\u00a0|\u2028"""
)
pieces = st.sampled_from(PIECES.split("|"))
sources = st.lists(pieces | st.text(max_size=5), max_size=30).map(" ".join) | st.text("<>/!-'\"=&;ab \n", max_size=60)


MARKUPS = [
    HTML,
    XML,
    Markup("markdown"),
    Markup("markdown", has_references=False),
    Markup("html", frozenset({"i"}), splitting_tags=frozenset({"a"}), non_splitting_tags=frozenset({"p"})),
    Markup("xml", frozenset({"b"}), outline_detection=False),
    Markup("xml", nested_tags=frozenset({"p"}), joins_lines=True, has_references=False),
    SOFTWARE,
]
MARKDOWN_PIECES = "*|**|___|~~|[|](a)|]|![|[^1]|`x`|``y`z``|\\*|[ ]|<http://a.b>|_a|<1>|</1>|<2/>|*a b*|_c_"
all_sources = sources | st.lists(pieces | st.sampled_from(MARKDOWN_PIECES.split("|")), max_size=30).map("".join)


@given(all_sources, st.sampled_from(MARKUPS), st.booleans(), st.booleans())
def test_an_unchanged_text_gives_the_very_markup(
    source: str, markup: Markup, is_aligned: bool, has_links: bool
) -> None:
    document = Document(source, markup, is_aligned=is_aligned)
    links = by_position(document.text, document.text) if has_links else ()
    assert document.render(document.text, links) == source


def test_an_element_with_text_of_its_own_stands_in_a_sentence_as_a_word_does() -> None:
    source = "<p>One<n>a <n>b</n> c</n> two <n/> <b>three</b></p>"
    assert units(source, NOTES) == ["One* two * three", "a", "b", "c"]  # a note in a note is where a sentence ends
    assert translated(source, NOTES) == "<p>ONE<n>A <n>B</n> C</n> TWO <n/> <b>THREE</b></p>"
    assert translated("<n>one</n>", NOTES) == "<n>ONE</n>"
    assert translated("a <n>b <i translate='no'>c</n> d", NOTES) == "A <n>B <i translate='no'>c</n> D"
    assert units("a <n>b c", NOTES) == ["a", "b c"]
    assert units("</n>One <n/> two <n>a</n> three", NOTES) == ["One * two * three", "a"]


@given(sources.map(lambda source: source.replace("p>", "n>")), st.booleans())
def test_notes_come_back_to_the_letter(source: str, is_aligned: bool) -> None:
    document = Document(source, NOTES, is_aligned=is_aligned)
    assert document.render(document.text) == source


@given(sources)
def test_no_tag_is_lost_or_moved_or_made(source: str) -> None:
    document = Document(source, HTML)
    hostile = re.sub(r"\w+", "<b>&lt;x</b>", document.text)  # a translation that looks like markup
    assert tags(document.render(hostile)) == tags(source)


def units(source: str, markup: Markup = HTML) -> list[str]:
    text = Document(source, markup, is_aligned=markup in (NOTES, SOFTWARE)).text
    return [re.sub("[\U000f0000-\U0010ffff]", "*", line) for line in text.split("\n")]


def test_what_stands_in_a_sentence_as_a_word_does_not_end_it() -> None:
    assert units("Press <code>x</code> and <img src=i.png> now.<br>Then <b>rest</b>.") == [
        "Press * and * now.",
        "Then",
        "rest",
    ]
    assert units('Say <x id="7"></x> to <g id="8"/> twice', XML) == ["Say * to * twice"]
    assert units("Use <span class=notranslate>sub3</span> here") == ["Use * here"]
    assert units("Not <p></p> here") == ["Not", "here"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Press <b>A</b> to start and <b>B</b> to stop.", ["Press * to start and * to stop."]),
        ("<b>A</b> house", ["A", "house"]),  # at the beginning it may be the article
        ("So <b>I</b> see", ["So", "I", "see"]),
        ("The ratio <i>a</i>/<i>b</i> is", ["The ratio */* is"]),
        ("Let <i>a</i> and <i>b</i> be", ["Let * and * be"]),
        ("It is <em>a</em> house", ["It is", "a", "house"]),
        ("The <em>y</em> axis", ["The * axis"]),
        ("<b>H</b>yper", ["H", "yper"]),
        ("Press <kbd>Ctrl</kbd>+<kbd>S</kbd> now", ["Press *+* now"]),
        ("See <1>the page</1> <2>5</2> now", ["See", "the page", "* now"]),
    ],
)
def test_a_letter_alone_in_its_tags_is_no_word_unless_it_may_be_one(source: str, expected: list[str]) -> None:
    assert units(source) == expected


def test_a_pair_around_a_mark_is_no_part_of_a_formula() -> None:
    source = "<r>These are </r><r>NASA</r><r>, </r><r>BOLD</r><r> and </r><r>H</r><r>2</r><r>O</r>"
    text = Document(source, Markup("xml"), is_aligned=True).text
    assert "NASA" in text
    assert "BOLD" in text
    assert "H" not in text.replace("These", "")


def test_an_element_within_a_word_goes_behind_it() -> None:
    for source in ("The ca<wbr>talog <b>is</b> new", 'The ca<a id="p5"></a>talog <b>is</b> new'):
        document = Document(source, HTML, is_aligned=True)
        assert document.text == "The catalog is new"
        place = source[source.index("ca<") + 2 : source.index("talog")]
        rendered = document.render("Der Katalog ist neu", by_position(document.text, "Der Katalog ist neu"))
        assert rendered == f"Der Katalog{place} <b>ist</b> neu"
    assert units("one<img src=a>two") == ["one*two"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Click <1>here</1> to go home.", ["Click here to go home."]),
        ("This is **very important** and _old_.", ["This is very important and old."]),
        ("See [the page](http://a.b/c_(d)) for **5** more.", ["See the page for * more."]),
        ("Copy <source> to <target> now", ["Copy * to * now"]),
        ("<b>Use <host> here</b> now", ["Use * here now"]),
        ("One line<br>Another<br/>\nThird", ["One line", "Another", "Third"]),
        ("<p>One.</p><p>Two <Link>three</Link></p>", ["One.", "Two three"]),
        ("Run <code>a *b* c</code> now", ["Run * now"]),
        ("one <b>two</b>\nthree", ["one two", "three"]),
        *(
            (source, [source])
            for source in ("Use *.txt and *.doc", "5*3 and 4*2", "__name__ is", "a_b and c_d", "a * b * c")
        ),
        *(
            (source, [source])
            for source in ("I <3 you", "snake *args and **kwargs", "a *b _c* d_", "x ~~ y", "[a] (b)")
        ),
    ],
)
def test_a_string_of_software(source: str, expected: list[str]) -> None:
    assert units(source, SOFTWARE) == expected


def test_such_a_word_may_change_its_place_but_is_never_lost() -> None:
    document = Document('a <x id="1"></x> b <x id="2"></x> c', XML)
    first, second = re.findall("[\U000f0000-\U0010ffff]", document.text)
    assert document.render(f"{second} c {first}") == '<x id="2"></x> c <x id="1"></x>'
    for bad in ("c", first, f"{first}{first}{second}"):
        assert document.render(bad) == 'a <x id="1"></x> b <x id="2"></x> c'


def test_private_characters_of_the_client_stay_its_own() -> None:
    source = "a \U000f0000 <code>x</code> &#xF0001; b"
    assert translated(source) == "A \U000f0000 <code>x</code> &#xF0001; B"


@given(sources)
def test_no_word_outside_of_ignored_elements_is_dropped(source: str) -> None:
    tree = LexborHTMLParser(source)
    tree.strip_tags(["code", "pre", "script", "style"])
    for node in tree.css("[translate=no]"):
        node.decompose()
    seen = set(re.findall("hello|world", tree.body.text() if tree.body else ""))
    assert seen <= set(re.findall("hello|world", Document(source, HTML).text))


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "<a b='",
        "<a =",
        "<!--",
        "<![CDATA[",
        "<?",
        "</",
        "&",
        "<b></a>",
        "<code>",
        "<code></a>",
        "<n>",
        "*a",
        "_a ",
        "__a ",
        "~~a",
        "[a",
        "](a",
        "*a* ",
        "[a](b",
    ],
)
def test_time_is_linear_whatever_is_left_open(piece: str) -> None:
    def work(length: int) -> Callable[[], object]:
        source = piece * (length // len(piece))
        return lambda: Document(source, NOTES if piece == "<n>" else HTML if piece[0] in "<&" else SOFTWARE)

    assert growth(work, 1_000) <= 2.5


def test_code_of_a_plain_text_is_one_unit_with_its_tags() -> None:
    document = with_pairs("Run <code>npm install</code> first.")
    assert document is not None
    assert "npm" not in document.text
    assert with_pairs("Delete <b>{0}</b> first.") is None
