"""String resources of Android."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from service.files import FileRefused, open_file
from tests.service.files.opening import LIMITS, copied, texts, time_growth, translated

RESOURCES = r"""<?xml version='1.0' encoding="utf-8"?>
<!-- <string name="x">A comment</string> -->
<resources xmlns:xliff="urn:oasis:names:tc:xliff:document:1.2" xmlns:tools="t" tools:locale="en">
    <string name="hello" >Hello, <b>my</b> friend</string>
    <string name="app" translatable="false">Sub3</string>
    <string name='quote'>It\'s \"here\"\nnow &amp; then</string>
    <string name="html"><![CDATA[Read <a href="https://a.b">this page</a> now]]></string>
    <string name="kept">Hi <xliff:g id="name" example="Ann">%1$s</xliff:g> there</string>
    <string name="wrapped">
        one line
        goes on
    </string>
    <string name="quoted">"  two  spaces  "</string>
    <string name="reference">@string/hello</string>
    <string name="empty"/>
    <color name="red">#ff0000</color>
    <string-array name="days"><item>Monday</item><item>Tuesday</item></string-array>
    <plurals name="files">
        <item quantity="one">%d file</item>
        <item quantity="other">%d files</item>
    </plurals>
</resources>
"""
TEXT = st.lists(
    st.sampled_from(
        [*"ab \n'é?@\"", "word", r"\'", r"\"", r"\n", r"\\", r"\u0041", r"\ud83d", "&amp;", "&#39;", "&lt;b&gt;"]
    )
    | st.sampled_from(
        ["<b>x</b>", "<i/>", "%1$d", "<xliff:g id='1'>%s</xliff:g>", "<![CDATA[a <b>c</b> \\' d]]>", "<!-- c -->"]
    ),
    max_size=8,
).map("".join)
ITEM = st.builds('<item quantity="{}">{}</item>'.format, st.sampled_from(["one", "other", "few"]), TEXT)
ENTRY = (
    st.builds(
        "<string name='a'{}>{}</string>".format, st.sampled_from(["", " translatable = 'false'", ' x="&lt;>"']), TEXT
    )
    | st.lists(ITEM, max_size=3).map(lambda items: f"<plurals name='p'>{' '.join(items)}</plurals>")
    | st.lists(ITEM, max_size=3).map(lambda items: f"<string-array>\n{''.join(items)}</string-array>")
    | st.sampled_from(["<color>red</color>", "<!-- <string>a</string> -->", "\n\t", "<string name='e'/>"])
)
FILES = st.lists(ENTRY, max_size=5).map(lambda some: f"<resources xmlns:xliff='x'>{''.join(some)}</resources>")


@given(FILES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"]))
def test_a_file_comes_back_as_it_was(text: str, codec: str) -> None:
    head = f"<?xml version='1.0' encoding='{codec.removesuffix('-sig')}'?>"
    data = f"{head}{text}".encode(codec)
    assert copied("strings.xml", data) == data


@given(FILES)
def test_what_is_translated_is_well_formed_and_escaped(text: str) -> None:
    after = translated("a.xml", text.encode(), lambda value: f"{value} it's <&\x01 \"@", "ja")
    tree = etree.fromstring(after)
    before = etree.fromstring(text.encode())
    attributes = [sorted(str(dict(element.attrib)) for element in root.iter()) for root in (tree, before)]
    assert attributes[0] == attributes[1]
    if '"' not in "".join(before.itertext()) and "'" not in "".join(before.itertext()):
        assert not re.search(r"(?<!\\)(?:\\\\)*[\"']", "".join(tree.itertext()))


def test_resources() -> None:
    assert texts("a.xml", RESOURCES.encode()) == [
        "Hello, my friend",
        'It\'s "here"',
        "now & then",
        "Read this page now",
        "Hi \U000f0000 there",
        "one line goes on",
        "two  spaces",
        "Monday",
        "Tuesday",
        "%d file",
        "%d files",
    ]
    expected = (
        RESOURCES.replace(">Hello, <b>my</b> friend", ">HELLO, <b>MY</b> FRIEND")
        .replace(r"It\'s \"here\"\nnow &amp; then", r"IT\'S \"HERE\"\nNOW &amp; THEN")
        .replace('Read <a href="https://a.b">this page</a> now', 'READ <a href="https://a.b">THIS PAGE</a> NOW')
        .replace("Hi <", "HI <")
        .replace("g> there", "g> THERE")
        .replace("one line\n        goes on", "ONE LINE GOES ON")
        .replace("two  spaces", "TWO  SPACES")
        .replace("Monday", "MONDAY")
        .replace("Tuesday", "TUESDAY")
        .replace("%d file<", "%D FILE<")
        .replace("%d files<", "%D FILES<")
        .replace('tools:locale="en"', 'tools:locale="de"')
    )
    assert translated("a.xml", RESOURCES.encode()).decode() == expected


def test_plurals_of_the_target_are_made() -> None:
    out = translated("a.xml", RESOURCES.encode(), target="pl").decode()
    assert re.findall(r"\n        <item quantity=\"(\w+)\">(.*)</item>", out) == [
        ("one", "%D FILE"),
        ("few", "%D FILES"),
        ("many", "%D FILES"),
        ("other", "%D FILES"),
    ]


def test_an_encoding_without_a_character_gets_its_number() -> None:
    data = "<?xml version='1.0' encoding='iso-8859-1'?><resources><string name='a'>é</string></resources>"
    after = translated("a.xml", data.encode("iso-8859-1"), lambda _: "ł")
    assert after == data.replace("é", "&#322;").encode("iso-8859-1")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"<a/>", "not a list of string resources"),
        (b"<resources><string></resources>", "can't be read"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><resources>&b;</resources>", "document type"),
        (b"plain", "can't be read"),
        (b"<resources>" + b"<a>" * 300 + b"</a>" * 300 + b"</resources>", "can't be read"),
        (b"<?xml version='1.0' encoding='utf-7'?><resources/>", "can't be written"),
    ],
)
def test_other_files_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(FileRefused, match=sentence):
        open_file("a.xml", data, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"", b"<string name='a'>a few <b>words</b></string>", b""),
        (b"<string name='a'>", b"\\'", b"</string>"),
        (b"<string name='a'>", b"<![CDATA[a]]>", b"</string>"),
        (b"<string name='a'>", b'"', b"</string>"),
        (b"<string name='a'>a", b"\n ", b"b</string>"),
        (b"<plurals>", b" <item quantity='other'>a b</item>", b"</plurals>"),
        (b"", b"<!-- - -->", b""),
        (b"<string", b" ", b"/>"),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    begin, middle, end = pieces
    assert time_growth("a.xml", (b"<resources>" + begin, middle, end + b"</resources>")) <= 2.5
