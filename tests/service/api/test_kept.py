"""What is not language comes back to the letter and in its place, in every dialect and format, by the model that ships.

Each table is one row for a situation. All rows go every way (`ways.py`) together, as one request or one file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import httpx
import pytest

from service.settings import Settings
from tests.conftest import DEFAULT_MODEL
from tests.service import ways
from tests.service.running import serve, texts_of, translate

pytestmark = pytest.mark.skipif(not DEFAULT_MODEL.is_dir(), reason=f"{DEFAULT_MODEL.name} is not in models/store")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    glossaries = tmp_path_factory.mktemp("glossaries") / "glossaries.sqlite3"
    settings = Settings(model_directory=DEFAULT_MODEL, threads=1, glossaries_file=glossaries)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=300) as connection:
        yield connection


MASTODON = (
    '<a href="https://www.example.org/a/b/c"><span class="invisible">https://www.</span>'
    '<span class="ellipsis">example.org/a/b</span><span class="invisible">/c</span></a>'
)
HTML = {
    "<p>The house is old.<sup>1</sup> The garden is new.<sup>2</sup></p>": r"\w\.<sup>1</sup> .*\w\.<sup>2</sup></p>",
    # by alignment: it moves to the left
    "<p>Yesterday I saw <b>the old house</b> near the river.</p>": r"^<p>[^<]*\w <b>[^<]*\bHaus</b> [^<]*</p>$",
    "<p>The length is 5 × 10<sup>-3</sup> m.</p>": r" 5 × 10<sup>-3</sup> m\b",
    "<p>Water is H<sub>2</sub>O. The area is 5 m<sup>2</sup>.</p>": r" H<sub>2</sub>O\b.* 5 m<sup>2</sup>",
    "<p>The result is 10<sup>6</sup> people.</p>": r" 10<sup>6</sup> ",
    "<p>The 1<sup>st</sup> of May is a holiday.</p>": r" 1<sup>st</sup>\W",
    "<p>The printer<sup>TM</sup> is ours.</p>": r"\w<sup>TM</sup>\W",
    "<p>The dog <ruby>sleeps<rt>s</rt></ruby> here.</p>": r"<ruby>[^<]+<rt>[^<]+</rt></ruby>",
    "<p>The gas is SO<sub>4</sub><sup>2-</sup> here.</p>": r" SO<sub>4</sub><sup>2-</sup>\W",
    "<p>The number x<sub>1</sub> is old.</p>": r" x<sub>1</sub>\W",
    '<p>Visit <a href="https://a.b">https://a.b</a> today.</p>': '<a href="https://a.b">https://a.b</a>',
    "<p>The value of <math><mi>a</mi><mo>+</mo><mi>I</mi></math> is five.</p>": (
        r"^<p>[^<]*\w <math><mi>a</mi><mo>\+</mo><mi>I</mi></math> [^<]*\w[^<]*</p>$"
    ),
    "<p>The letter <i>n</i> and <b>5</b> and <var>size</var> are here.</p>": "<i>n</i>.*<b>5</b>.*<var>size</var>",
    '<p>See the house<a href="#f1"><sup>[1]</sup></a> today.</p>': r'\w<a href="#f1"><sup>\[1\]</sup></a>',
    f"<p>Read this: {MASTODON}</p>": re.escape(MASTODON),
    '<p>My dog is happy. <a href="/dog">#<span>dog</span></a> <a href="/cat">#<span>cat</span></a></p>': (
        r'\. <a href="/dog">#<span>dog</span></a> <a href="/cat">#<span>cat</span></a></p>$'
    ),
    '<p>My friend <span class="h-card"><a href="/@b">@<span>b</span></a></span> is old.</p>': (
        '<span class="h-card"><a href="/@b">@<span>b</span></a></span>'
    ),
    '<p>The <a id="p14"></a>dog sleeps.</p>': r' <a id="p14"></a>\w+',
    '<p>A bookmark <a id="x"></a>is here.</p>': r' <a id="x"></a>ist\b',
    "<p>The door<img src='a.png'/> is open.</p>": r"\w<img src='a.png'/>",
    "<p>Press <b>A</b> to start and <b>B</b> to stop.</p>": r" <b>A</b>\W.* <b>B</b>\W",
    "<p>The ratio <i>a</i>/<i>b</i> is small.</p>": r" <i>a</i>/<i>b</i> ",
    "<p>Let <i>f</i>(<i>x</i>) be the value.</p>": r"<i>f</i>\(<i>x</i>\) ",
    "<p>Go to <kbd>File</kbd> &gt; <kbd>Open</kbd> now.</p>": r"^[^;]* <kbd>File</kbd> &gt; <kbd>Open</kbd>[^;]*$",
    "<p>The <!-- old -->house is big.</p>": r"^<p>\w+ <!-- old -->Haus ist [^<]+</p>$",
    "<p>Press <kbd>Ctrl</kbd>+<kbd>S</kbd> to save the file.</p>": r" <kbd>Ctrl</kbd>\+<kbd>S</kbd>\W",
}
XML = {
    'H<g id="1">2</g>O is water.': r'\bH<g id="1">2</g>O ',
    'The area is 5 m<g id="1">2</g>.': r' 5 m<g id="1">2</g>',
    'The house is old.<g id="1">1</g> The garden is new.<g id="1">2</g>': (
        r'\w\.<g id="1">1</g> .*\w\.<g id="1">2</g>$'
    ),
    'The 1<g id="1">st</g> of May is a holiday.': r'\b1<g id="1">st</g>\W',
}
# A text -> what of it stands in its translation as often as in it.
PLAIN: dict[str, Sequence[str]] = {
    "Good morning :smile: my friend.": [":smile:"],
    "I am happy :smile:": [" :smile:"],
    "%d%% of the people": ["%d%%"],
    "50%% of the people like it.": ["50%%"],
    "%d %% of %d": ["%d %%", "%d"],
    "Click <1>here</1> to go home.": ["<1>", "</1>"],
    "Open <0>the page</0>.": ["<0>", "</0>"],
    "Hello <%= name %>, how are you?": ["<%= name %>"],
    "Hello __name__, how are you?": ["__name__"],
    "Hello [[name]], how are you?": ["[[name]]"],
    "The price is ###T01### today.": ["###T01###"],
    "See @:link(name) for more.": ["@:link(name)"],
    "Good morning.\\nHow are you?": [".\\n"],
    "Open localhost:8080 in the browser.": ["localhost:8080"],
    "The server is at 10.0.0.5:8080 and its name is host.example.com.": ["10.0.0.5:8080", "host.example.com"],
    "Ruby has %<n>d%% of it.": ["%<n>d%%"],
    "There are %2$'d files in %1$s.": ["%2$'d", "%1$s"],
    "The house {n}px is %1.%2 and {a}0.": ["{n}px", "%1.%2", "{a}0"],
    "The %10 of %sblock is old.": ["%10", "%sblock"],
    "Water $x$ is good.": ["$x$"],
    "The value is $a + b = I$.": ["$a + b = I$"],
    "The house is $$\nE = m c^2\n$$": ["$$\nE = m c^2\n$$"],
    "\\[ y = 2 \\]": ["\\[ y = 2 \\]"],
    "The file report.pdf is here.": ["report.pdf"],
    "Delete {name}": ["{name}"],
    "Press Ctrl+C or Alt-F4 to stop.": ["Ctrl+C", "Alt-F4"],
    "Henry VIII is at gate B12.": ["VIII", "B12"],
    "Press it to go on\\nor stop.": ["\\n"],
    "src\\new\\table is old.": ["src\\new\\table"],
    "| The door | is open |": ["| ", " | ", " |"],
    "{count, plural, one {# file was deleted} other {# files were deleted}}": ["{count, plural, one {#", "} other {#"],
}
# What Markdown reads otherwise: emphasis, and a break.
NOT_IN_MARKDOWN = {"Hello __name__, how are you?"}
# A text -> the numbers of its translation, in the target's form.
NUMBERS: dict[str, Sequence[str]] = {
    "The year 2024 was good.": ["2024"],
    "About 75% of people agree.": ["75"],
    "Please call 555-0199.": ["555-0199"],
    "The meeting is on January 1, 2024.": ["1", "2024"],
    "It costs 1,250.00 euros.": ["1.250,00"],
    "We use version 1.2.3 of it.": ["1.2.3"],
    "The rate is 0.0 percent.": ["0,0"],
    "It takes 1.5 hours.": ["1,5"],
    "Your order No. 5 is ready.": ["5"],
}
# A text with pairs of tags or marks -> where these stand in its translation.
PAIRS = {
    "Click <1>here</1> to go home.": r"<1>[^<]*hier</1>",
    "Read <Link>the terms</Link> first.": r"<Link>[^<]*\w[^<]*</Link>",
    "This is **very important** and old.": r"\*\*[^*]*wichtig[^*]*\*\*",
    "See [the page](http://a.b/c_(d)) for more.": r"\[die Seite\]\(http://a\.b/c_\(d\)\)",
    "Copy <source> to <target> now.": "<source>.*<target>",
    "The door is open.<br>The house is old.": r"^[^<]*\w\.<br>[^<]*\w\.$",
}


def wrong(given: Sequence[str], came: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the translations that lack their pattern, or whose words are those of the source."""
    assert len(came) == len(given)
    return [
        text
        for source, text, pattern in zip(given, came, patterns, strict=True)
        if not re.search(pattern, text) or re.sub("<[^>]*>", "", text) == re.sub("<[^>]*>", "", source)
    ]


def lacking(rows: Mapping[str, Sequence[str]], came: Sequence[str]) -> list[str]:
    """Return the translations that have a unit less or more often than their source; line breaks may be spaces."""
    assert len(came) == len(rows)
    units = [[" ".join(unit.split()) for unit in (*kept, "%")] for kept in rows.values()]
    return [
        translated
        for text, own, translated in zip(rows, units, came, strict=True)
        if any(" ".join(translated.split()).count(unit) != " ".join(text.split()).count(unit) for unit in own)
        or (translated == text) != text.startswith("\\[")
    ]


@pytest.mark.parametrize("way", ways.HTML)
def test_what_stands_between_tags_and_is_no_word(client: httpx.Client, way: str) -> None:
    assert wrong(list(HTML), ways.HTML[way](client, list(HTML)), list(HTML.values())) == []


@pytest.mark.parametrize("way", ways.XML)
def test_what_stands_between_tags_of_xml_and_is_no_word(client: httpx.Client, way: str) -> None:
    assert wrong(list(XML), ways.XML[way](client, list(XML)), list(XML.values())) == []


@pytest.mark.parametrize("way", ways.PLAIN)
def test_what_software_writes_into_its_strings_and_numbers(client: httpx.Client, way: str) -> None:
    rows = {text: kept for text, kept in PLAIN.items() if way != "md" or text not in NOT_IN_MARKDOWN}
    came = ways.PLAIN[way](client, [*rows, *NUMBERS])
    assert lacking(rows, came[: len(rows)]) == []
    numbers = [re.findall(r"\d+(?:[.,-]\d+)*", text) for text in came[len(rows) :]]
    assert numbers == list(map(list, NUMBERS.values()))


@pytest.mark.parametrize("way", ways.PLAIN)
def test_pairs_of_tags_in_plain_text_stand_around_their_words(client: httpx.Client, way: str) -> None:
    assert wrong(list(PAIRS), ways.PLAIN[way](client, list(PAIRS)), list(PAIRS.values())) == []


def test_a_line_with_pairs_is_what_it_is_alone(client: httpx.Client) -> None:
    for text in PAIRS:
        (translated,) = texts_of(translate(client, text))
        assert texts_of(translate(client, f"{text}\nThe cat sleeps."))[0].startswith(f"{translated}\n")
        assert ways.streamed(client, text) == translated


def test_words_beside_pairs_are_linked_to_their_places(client: httpx.Client) -> None:
    """Links are between what was sent and what came: the words of a pair are within it on both sides."""
    text = "The cat sleeps.\nClick <1>here</1> to go **home**, and copy <source> {name} now."
    reply = translate(client, text, alignment=True)
    (came,) = texts_of(reply)
    links = reply.json()["translations"][0]["alignment"]
    linked = [(text[slice(*link["source"])], came[slice(*link["target"])]) for link in links]
    assert ("here", "hier") in linked
    assert ("{name}", "{name}") in linked
    assert all(word.strip("<>/1* ") for pair in linked for word in pair)
    begins = [link["target"][0] for link in links]
    assert begins == sorted(begins)
    assert len(linked) > 10


def test_a_message_s_branches_are_translated(client: httpx.Client) -> None:
    message = "{count, plural, one {# file was deleted} other {# files were deleted}}"
    kept = r"\{count, plural, one \{[^{}]*# [^{}]+\} other \{[^{}]*# [^{}]+\}\}"
    (translated,) = texts_of(translate(client, message))
    assert re.fullmatch(kept, translated)
    assert "file" not in translated
    for way in ways.HTML.values():
        assert re.fullmatch(f"<p>{kept}</p>", *way(client, [f"<p>{message}</p>"]))
    assert texts_of(translate(client, ["The old house.", message]))[1] == translated
    assert ways.streamed(client, message) == translated


TERMS = {"printer": "Laserdrucker", "Apple": "Apfel", "artist": "Maler", "house": "gebäude", "dog": "dog"}
# A text -> its translation with these terms, which stand in their places once, none behind the sentence.
WITH_TERMS = {
    "Apple": "Apfel",
    "Apple.": r"Apfel\.",
    "artist": "Maler",
    "House": "Gebäude",
    "HOUSE": "GEBÄUDE",
    "house, artist!": "[Gg]ebäude, Maler!",
    "Restart the printer.": r"((?!Laserdrucker)[^.!?])*\bLaserdrucker\b((?!Laserdrucker)[^.!?])*\.",
    "The artist is here.": r"((?!Maler)[^.!?])*\bMaler\b((?!Maler)[^.!?])*\.",
    "I see a printer and a printer.": r"[^.!?]*\bLaserdrucker\b[^.!?]*\bLaserdrucker\b[^.!?]*\.",
    "The dog sleeps.": r"[^.!?]*\bdog\b[^.!?]*\.",
}


@pytest.mark.parametrize("way", ways.GLOSSARY)
def test_terms_of_a_glossary(client: httpx.Client, way: str) -> None:
    came = ways.GLOSSARY[way](client, list(WITH_TERMS), TERMS)
    assert len(came) == len(WITH_TERMS)
    assert [
        text for text, pattern in zip(came, WITH_TERMS.values(), strict=True) if not re.fullmatch(pattern, text)
    ] == []


def test_what_was_repaired_is_counted(client: httpx.Client) -> None:
    translated = translate(client, "About 75% of people agree, and the year 2024 was good, and 555-0199 too.")
    assert sum(translated.json()["rungs"].values()) == 1
    assert "rungs" not in translate(client, "The dog sleeps.").json()
    counted = dict(re.findall(r'sub3_repaired_sentences_total\{rung="(\w+)"\} (\S+)', client.get("/metrics").text))
    assert set(counted) == {"next_best", "masked", "constrained", "cut"}
    assert sum(map(float, counted.values())) > 0
