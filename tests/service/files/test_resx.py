"""Resources of .NET."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from service.files import FileRefused, open_file
from tests.service.files.opening import LIMITS, copied, texts, time_growth, translated

RESX = """\ufeff<?xml version="1.0" encoding="utf-8"?>
<root>
  <!-- <data name="x"><value>A comment</value></data> -->
  <xsd:schema id="root" xmlns:xsd="http://www.w3.org/2001/XMLSchema"><xsd:element name="data"/></xsd:schema>
  <resheader name="resmimetype"><value>text/microsoft-resx</value></resheader>
  <data name="Hello" xml:space="preserve">
    <value>Hello {0} &amp; others</value>
    <comment>Kept as it is</comment>
  </data>
  <data name="Tags" xml:space="preserve"><value>&lt;b&gt;Red&lt;/b&gt; car
second line</value></data>
  <data name="Html" xml:space="preserve"><value><![CDATA[Read <i>this</i> & that]]></value></data>
  <data name="Icon" type="System.Drawing.Icon, System.Drawing"><value>no text</value></data>
  <data name="Image" mimetype="application/x-microsoft.net.object.bytearray.base64"><value>AAAA</value></data>
  <data name="&gt;&gt;button1.Name" xml:space="preserve"><value>button</value></data>
  <data name="Empty"><value/></data>
</root>"""
TEXT = st.lists(
    st.sampled_from(
        [*"ab \n'é{}\"", "word", "&amp;", "&#39;", "&lt;b&gt;x&lt;/b&gt;", "{0:N}", "<!-- c -->", "<![CDATA[d]]>"]
    ),
    max_size=8,
).map("".join)
ATTRIBUTES = st.sampled_from(["", " xml:space='preserve'", " type = 'x'", ' mimetype="y"'])
ENTRY = st.builds("<data name='a'{}>\n<value>{}</value><comment>c</comment></data>".format, ATTRIBUTES, TEXT)
OTHER = st.sampled_from(["<!-- <data><value>x</value></data> -->", "<resheader><value>v</value></resheader>", "\r\n"])
FILES = st.lists(ENTRY | OTHER, max_size=5).map(lambda some: f"<root>{''.join(some)}</root>")


@given(FILES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_a_file_comes_back_as_it_was(text: str, codec: str) -> None:
    data = f"<?xml version='1.0' encoding='{codec.removesuffix('-sig')}'?>{text}".encode(codec)
    assert copied("a.resx", data) == data


@given(FILES)
def test_only_values_change(text: str) -> None:
    after = etree.fromstring(translated("a.resx", text.encode(), lambda value: f"{value} <&]]>\x02"))
    before = etree.fromstring(text.encode())
    for tree in (before, after):
        for value in tree.iter("value"):
            if value.getparent().tag == "data" and not {"type", "mimetype"} & set(value.getparent().attrib):
                del value[:]
                value.text = "x"
    assert etree.tostring(after) == etree.tostring(before)


def test_resx() -> None:
    assert texts("a.resx", RESX.encode()) == [
        "Hello {0} & others",
        "Red car",
        "second line",
        "Read this & that",
    ]
    expected = (
        RESX.replace("Hello {0} &amp; others", "HELLO {0} &amp; OTHERS")
        .replace("Red", "RED")
        .replace(" car\nsecond line", " CAR\nSECOND LINE")
        .replace("Read <i>this</i> & that", "READ <i>THIS</i> & THAT")
    )
    assert translated("a.resx", RESX.encode()).decode() == expected


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"<resources/>", r"no \.resx"),
        (b"<root><data></root>", "can't be read"),
        (b"<!DOCTYPE root [<!ENTITY b 'c'>]><root>&b;</root>", "document type"),
        (b"plain", "can't be read"),
    ],
)
def test_other_files_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(FileRefused, match=sentence):
        open_file("a.resx", data, LIMITS)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"", b"<data name='a'><value>a few words</value></data>", b""),
        (b"<data><value>", b"&lt;", b"</value></data>"),
        (b"<data><value>", b"<![CDATA[a]]>", b"</value></data>"),
        (b"<data><value>a", b"\n ", b"b</value></data>"),
    ],
)
def test_time_is_linear(pieces: tuple[bytes, bytes, bytes]) -> None:
    begin, middle, end = pieces
    assert time_growth("a.resx", (b"<root>" + begin, middle, end + b"</root>")) <= 2.5
