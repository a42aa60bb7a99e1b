"""What is not language comes back to the letter and in its place, in every dialect, by the model that ships."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from service.settings import Settings
from tests.conftest import DEFAULT_MODEL
from tests.service.running import serve, texts_of, translate

pytestmark = pytest.mark.skipif(not DEFAULT_MODEL.is_dir(), reason=f"{DEFAULT_MODEL.name} is not in models/store")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    settings = Settings(model_directory=DEFAULT_MODEL, threads=1)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as connection:
        yield connection


def in_html(client: httpx.Client, text: str) -> str:
    reply = client.post("/translate", json={"q": text, "source": "en", "target": "de", "format": "html"})
    return str(reply.json()["translatedText"])


def in_tags(client: httpx.Client, text: str, handling: str) -> str:
    body = {"text": [text], "source_lang": "EN", "target_lang": "DE", "tag_handling": handling}
    return str(client.post("/v2/translate", json=body).json()["translations"][0]["text"])


MASTODON = (
    '<a href="https://www.example.org/a/b/c"><span class="invisible">https://www.</span>'
    '<span class="ellipsis">example.org/a/b</span><span class="invisible">/c</span></a>'
)


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        (
            "<p>The house is old.<sup>1</sup> The garden is new.<sup>2</sup></p>",
            r"\w\.<sup>1</sup> .*\w\.<sup>2</sup></p>",
        ),
        (
            "<p>Yesterday I saw <b>the old house</b> near the river.</p>",  # by alignment: it moves to the left
            r"^<p>[^<]*\w <b>[^<]*\bHaus</b> [^<]*</p>$",
        ),
        ("<p>Water is H<sub>2</sub>O. The area is 5 m<sup>2</sup>.</p>", r" H<sub>2</sub>O\b.* 5 m<sup>2</sup>"),
        ("<p>The result is 10<sup>6</sup> people.</p>", r" 10<sup>6</sup> "),
        ("<p>The 1<sup>st</sup> of May is a holiday.</p>", r" 1<sup>st</sup>\W"),
        ("<p>The printer<sup>TM</sup> is ours.</p>", r"\w<sup>TM</sup>\W"),
        (
            "<p>The value is <mml:math><mml:mi>a</mml:mi></mml:math> here.</p>",
            r"<mml:math><mml:mi>a</mml:mi></mml:math>",
        ),
        ("<p>The dog <ruby>sleeps<rt>s</rt></ruby> here.</p>", r"<ruby>[^<]+<rt>[^<]+</rt></ruby>"),
        ("<p>The gas is SO<sub>4</sub><sup>2-</sup> here.</p>", r" SO<sub>4</sub><sup>2-</sup>\W"),
        ("<p>The number x<sub>1</sub> is old.</p>", r" x<sub>1</sub>\W"),
        ('<p>Visit <a href="https://a.b">https://a.b</a> today.</p>', '<a href="https://a.b">https://a.b</a>'),
        (
            "<p>The value of <math><mi>a</mi><mo>+</mo><mi>I</mi></math> is five.</p>",
            r"^<p>[^<]*\w <math><mi>a</mi><mo>\+</mo><mi>I</mi></math> [^<]*\w[^<]*</p>$",
        ),
        (
            "<p>The letter <i>n</i> and <b>5</b> and <var>size</var> are here.</p>",
            "<i>n</i>.*<b>5</b>.*<var>size</var>",
        ),
        ('<p>See the house<a href="#f1"><sup>[1]</sup></a> today.</p>', r'\w<a href="#f1"><sup>\[1\]</sup></a>'),
        (f"<p>Read this: {MASTODON}</p>", re.escape(MASTODON)),
        (
            '<p>My dog is happy. <a href="/dog">#<span>dog</span></a> <a href="/cat">#<span>cat</span></a></p>',
            r'\. <a href="/dog">#<span>dog</span></a> <a href="/cat">#<span>cat</span></a></p>$',
        ),
        (
            '<p>My friend <span class="h-card"><a href="/@b">@<span>b</span></a></span> is old.</p>',
            '<span class="h-card"><a href="/@b">@<span>b</span></a></span>',
        ),
        ('<p>The <a id="p14"></a>dog sleeps.</p>', r' <a id="p14"></a>\w+'),
        ('<p>A bookmark <a id="x"></a>is here.</p>', r' <a id="x"></a>ist\b'),
        ("<p>The door<img src='a.png'> is open.</p>", r"\w<img src='a.png'>"),
        ("<p>Press <b>A</b> to start and <b>B</b> to stop.</p>", r" <b>A</b>\W.* <b>B</b>\W"),
        ("<p>The ratio <i>a</i>/<i>b</i> is small.</p>", r" <i>a</i>/<i>b</i> "),
        ("<p>Press <kbd>Ctrl</kbd>+<kbd>S</kbd> to save the file.</p>", r" <kbd>Ctrl</kbd>\+<kbd>S</kbd>\W"),
    ],
)
def test_what_stands_between_tags_and_is_no_word(client: httpx.Client, html: str, kept: str) -> None:
    for translated in (in_html(client, html), in_tags(client, html, "html")):
        assert re.search(kept, translated), translated
        assert re.sub("<[^>]*>", "", translated) != re.sub("<[^>]*>", "", html)


@pytest.mark.parametrize(
    ("xml", "kept"),
    [
        ('H<g id="1">2</g>O is water.', '^H<g id="1">2</g>O '),
        ('The area is 5 m<g id="1">2</g>.', ' 5 m<g id="1">2</g>'),
        ('The <bm id="1"/>dog sleeps.', r' <bm id="1"/>\w+'),
        ('Open <x id="7"></x> now.', r'(^|\s)<x id="7"></x>\W'),
        ('The 1<g id="1">st</g> of May is a holiday.', r'\b1<g id="1">st</g>\W'),
    ],
)
def test_what_stands_between_tags_of_xml_and_is_no_word(client: httpx.Client, xml: str, kept: str) -> None:
    assert re.search(kept, in_tags(client, xml, "xml"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Good morning :smile: my friend.", [":smile:"]),
        ("I am happy :smile:", [" :smile:"]),
        ("%d%% of the people", ["%d%%"]),
        ("50%% of the people like it.", ["50%%"]),
        ("%d %% of %d", ["%d %%", "%d"]),
        ("Open <0>the page</0>.", ["<0>", "</0>"]),
        ("Hello <%= name %>, how are you?", ["<%= name %>"]),
        ("Hello __name__, how are you?", ["__name__"]),
        ("Hello [[name]], how are you?", ["[[name]]"]),
        ("The price is ###T01### today.", ["###T01###"]),
        ("See @:link(name) for more.", ["@:link(name)"]),
        ("Good morning.\\nHow are you?", [".\\n"]),
        ("Open localhost:8080 in the browser.", ["localhost:8080"]),
        ("The server is at 10.0.0.5:8080 and its name is host.example.com.", ["10.0.0.5:8080", "host.example.com"]),
        ("Ruby has %<n>d%% of it.", ["%<n>d%%"]),
        ("There are %2$'d files in %1$s.", ["%2$'d", "%1$s"]),
        ("The house {n}px is %1.%2 and {a}0.", ["{n}px", "%1.%2", "{a}0"]),
        ("The %10 of %sblock is old.", ["%10", "%sblock"]),
        ("Water $x$ is good.", ["$x$"]),
        ("The value is $a + b = I$.", ["$a + b = I$"]),
        ("\\[ y = 2 \\]", ["\\[ y = 2 \\]"]),
        ("The house is old.\n$$\nE = m c^2\n$$\n", ["\n$$\nE = m c^2\n$$\n"]),
        ("The file report.pdf is here.", ["report.pdf"]),
        ("Delete {name}", ["{name}"]),
        ("Press it to go on\\nor stop.", ["\\n"]),
        ("src\\new\\table is old.", ["src\\new\\table"]),
        ("| The door | is open |", ["| ", " | ", " |"]),
    ],
)
def test_what_software_writes_into_its_strings(client: httpx.Client, text: str, kept: list[str]) -> None:
    (translated,) = texts_of(translate(client, text))
    for unit in kept:
        assert translated.count(unit) == text.count(unit)
    assert translated.count("%") == text.count("%")
    assert (translated != text) == (not text.startswith("\\["))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Click <1>here</1> to go home.", r"<1>hier</1>"),
        ("Read <Link>the terms</Link> first.", r"<Link>[^<]*\w[^<]*</Link>"),
        ("This is **very important** and old.", r"\*\*[^*]*wichtig[^*]*\*\*"),
        ("See [the page](http://a.b/c_(d)) for more.", r"\[die Seite\]\(http://a\.b/c_\(d\)\)"),
        ("Copy <source> to <target> now.", "<source>.*<target>"),
        ("The door is open.<br>The house is old.", r"^[^<]*\w\.<br>[^<]*\w\.$"),
    ],
)
def test_pairs_of_tags_in_plain_text_stand_around_their_words(client: httpx.Client, text: str, kept: str) -> None:
    (translated,) = texts_of(translate(client, text))
    assert re.search(kept, translated), translated
    assert re.sub("<[^>]*>", "", translated) != re.sub("<[^>]*>", "", text)
    assert texts_of(translate(client, f"{text}\nThe cat sleeps."))[0].startswith(f"{translated}\n")
    with client.stream("POST", "/v1/translate/stream", json={"text": text, "source": "en", "target": "de"}) as reply:
        events = [json.loads(line.removeprefix("data:")) for line in reply.iter_lines() if line.startswith("data:")]
    assert "".join(event["translation"] for event in events if "sentence" in event) == translated


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("The year 2024 was good.", ["2024"]),
        ("About 75% of people agree.", ["75"]),
        ("Please call 555-0199.", ["555-0199"]),
        ("The meeting is on January 1, 2024.", ["1", "2024"]),
        ("It costs 1,250.00 euros.", ["1.250,00"]),
        ("We use version 1.2.3 of it.", ["1.2.3"]),
    ],
)
def test_numbers_arrive_in_the_target_s_form(client: httpx.Client, text: str, numbers: list[str]) -> None:
    (translated,) = texts_of(translate(client, text))
    assert re.findall(r"\d+(?:[.,-]\d+)*", translated) == numbers


MESSAGE = "{count, plural, one {# file was deleted} other {# files were deleted}}"


def test_a_message_s_branches_are_translated(client: httpx.Client) -> None:
    kept = r"\{count, plural, one \{[^{}]*# [^{}]+\} other \{[^{}]*# [^{}]+\}\}"
    (translated,) = texts_of(translate(client, MESSAGE))
    assert re.fullmatch(kept, translated)
    assert "file" not in translated
    assert re.fullmatch(f"<p>{kept}</p>", in_html(client, f"<p>{MESSAGE}</p>"))
    first, second = texts_of(translate(client, ["The old house.", MESSAGE]))
    assert (first, second) == (texts_of(translate(client, "The old house."))[0], translated)
    with client.stream("POST", "/v1/translate/stream", json={"text": MESSAGE, "source": "en", "target": "de"}) as reply:
        events = [json.loads(line.removeprefix("data:")) for line in reply.iter_lines() if line.startswith("data:")]
    assert [event["translation"] for event in events if "sentence" in event] == [translated]


@pytest.mark.parametrize(
    ("text", "glossary", "expected"),
    [
        ("Apple", {"Apple": "Apfel"}, "Apfel"),
        ("Apple.", {"Apple": "Apfel"}, "Apfel."),
        ("artist", {"artist": "Maler"}, "Maler"),
        ("House", {"house": "gebäude"}, "Gebäude"),
        ("HOUSE", {"house": "Gebäude"}, "GEBÄUDE"),
        ("house, artist!", {"house": "Gebäude", "artist": "Maler"}, "Gebäude, Maler!"),
    ],
)
def test_a_text_that_is_a_term_is_its_translation(
    client: httpx.Client, text: str, glossary: dict[str, str], expected: str
) -> None:
    assert texts_of(translate(client, text, glossary=glossary)) == [expected]


@pytest.mark.parametrize(
    ("text", "glossary"),
    [
        ("Restart the printer.", {"printer": "Laserdrucker"}),
        ("The artist is in the house.", {"artist": "Maler"}),
        ("I see a printer and a printer.", {"printer": "Laserdrucker"}),
        ("The dog sleeps.", {"dog": "dog"}),
    ],
)
def test_a_term_stands_in_its_place_once(client: httpx.Client, text: str, glossary: dict[str, str]) -> None:
    (translated,) = texts_of(translate(client, text, glossary=glossary))
    ((term, translation),) = glossary.items()
    assert len(re.findall(rf"\b{translation}\b", translated)) == len(re.findall(rf"\b{term}\b", text))
    assert not re.search(r"[.!?]\s", translated)  # not stuck on behind the sentence


def test_what_was_repaired_is_counted(client: httpx.Client) -> None:
    translated = translate(client, "About 75% of people agree, and the year 2024 was good, and 555-0199 too.")
    assert sum(translated.json()["rungs"].values()) == 1
    assert "rungs" not in translate(client, "The dog sleeps.").json()
    counted = dict(re.findall(r'sub3_repaired_sentences_total\{rung="(\w+)"\} (\S+)', client.get("/metrics").text))
    assert set(counted) == {"next_best", "masked", "constrained", "cut"}
    assert sum(map(float, counted.values())) > 0
