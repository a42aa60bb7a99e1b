"""Word documents in XML: fields, links, marks and looks stand where their words do."""

import io
import re
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import Aligned, open_file
from service.text.alignment import Link
from tests.service.files.opening import LIMITS, copied, texts, translated

NAMES = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def run(text: str, look: str = "") -> str:
    look = f"<w:rPr>{look}</w:rPr>" if look else ""
    space = ' xml:space="preserve"' if text != text.strip() else ""
    return f"<w:r>{look}<w:t{space}>{text}</w:t></w:r>"


def character(kind: str) -> str:
    return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'


def field(instruction: str, result: str) -> str:
    start = f"{character('begin')}<w:r><w:instrText> {instruction} </w:instrText></w:r>{character('separate')}"
    return f"{start}{result}{character('end')}"


def document(*paragraphs: str, styles: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        body = "".join(f"<w:p><w:pPr/>{paragraph}</w:p>" for paragraph in paragraphs)
        archive.writestr(
            "word/document.xml", f"<w:document xmlns:w='{NAMES}' xmlns:r='r'>\r\n<w:body>{body}</w:body></w:document>"
        )
        archive.writestr("word/styles.xml", styles)
    return buffer.getvalue()


def paragraph_of(data: bytes, part: str = "word/document.xml") -> str:
    text = zipfile.ZipFile(io.BytesIO(data)).read(part).decode()
    return text.partition("<w:pPr/>")[2].rpartition("</w:p>")[0] if part == "word/document.xml" else text


def seen(data: bytes) -> list[str]:
    return [re.sub("[\U000f0000-\U0010ffff]", "*", text) for text in texts("a.docx", data)]


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        (run("See page ") + field("PAGEREF x \\h", run("12")) + run(" for more."), ["See page * for more."]),
        (
            run("See ") + field('HYPERLINK "http://a.b"', run("the page", "<w:u/>")) + run(" now."),
            ["See the page now."],
        ),
        (run("It is ") + field("IF 1", field("DATE", run("1 May"))) + run(" now."), ["It is * now."]),
        (run("See ") + f'<w:fldSimple w:instr=" REF x ">{run("this")}</w:fldSimple>' + run(" now."), ["See * now."]),
        (
            run("See ") + f'<w:fldSimple w:instr=" HYPERLINK x ">{run("this")}</w:fldSimple>' + run(" now."),
            ["See this now."],
        ),
        (run("Open ") + f'<w:hyperlink r:id="1">{run("a word")}</w:hyperlink>' + run(" now."), ["Open a word now."]),
        (
            run("a ")
            + f'<w:ins w:id="1">{run("new")}</w:ins><w:del w:id="2"><w:r><w:delText>old</w:delText></w:r></w:del>'
            + run(" one"),
            ["a new* one"],
        ),
        (
            run("a ") + f"<w:sdt><w:sdtPr/><w:sdtContent>{run('name')}</w:sdtContent></w:sdt>" + run(" here"),
            ["a name here"],
        ),
        (
            run("a ")
            + f"<w:sdt><w:sdtPr><w:dropDownList/></w:sdtPr><w:sdtContent>{run('x')}</w:sdtContent></w:sdt>"
            + run(" here"),
            ["a * here"],
        ),
        (run("a") + "<w:r><w:drawing><x/></w:drawing></w:r>" + run("b"), ["a*b"]),
        (run("a") + "<w:r><w:br/></w:r>" + run("b"), ["a", "b"]),
        (run("a ") + "<w:r><w:t>e</w:t><w:noBreakHyphen/><w:t>mail</w:t></w:r>" + run(" b"), ["a e\u2011mail b"]),
        (character("begin") + run("a") + "<w:r><w:fldChar/></w:r>" + run("b"), ["a", "b"]),
        (f'<w:bookmarkStart w:id="1"/>{run("A title")}<w:bookmarkEnd w:id="1"/>', ["A title"]),
        (
            run("A ") + f'<w:bookmarkStart w:id="1"/>{run("title")}<w:bookmarkEnd w:id="1"/>' + run(" now"),
            ["A title now"],
        ),
        (
            f'<w:bookmarkStart w:id="1"/>{run("a ")}<w:bookmarkStart w:id="2"/>'
            + f'{run("b")}<w:bookmarkEnd w:id="1"/>{run(" c")}',
            ["a b c"],
        ),
    ],
)
def test_what_stands_in_a_sentence(paragraph: str, expected: list[str]) -> None:
    data = document(paragraph)
    assert seen(data) == expected
    assert copied("a.docx", data) == data
    out = paragraph_of(translated("a.docx", data))
    assert re.sub("<w:t.*?</w:t>|\u2011|<w:noBreakHyphen/>|<w:r>|</w:r>", "", out) == re.sub(
        "<w:t.*?</w:t>|<w:noBreakHyphen/>|<w:r>|</w:r>", "", paragraph
    )
    words = re.findall("<w:t[ >].*?</w:t>", paragraph)
    assert sorted(re.sub("<.*?>|\u2011", "", "".join(re.findall("<w:t[ >].*?</w:t>", out))).lower()) == sorted(
        re.sub("<.*?>", "", "".join(words)).lower()
    )


def test_a_link_and_its_looks_follow_the_words() -> None:
    link = f'<w:hyperlink r:id="1">{run("the ", "<w:u/>")}{run("big", "<w:b/>")}{run(" page", "<w:u/>")}</w:hyperlink>'
    data = document(run("See ") + link + run(" now"))
    opened = open_file("a.docx", data, LIMITS)
    assert list(opened.texts) == ["See the big page now"]
    links = [
        Link((17, 20), (0, 5)),
        Link((0, 3), (6, 11)),
        Link((4, 7), (12, 15)),
        Link((8, 11), (16, 22)),
        Link((12, 16), (23, 28)),
    ]
    out = paragraph_of(opened.render([Aligned("Jetzt siehe die grosse Seite", links)], "de"))
    expected = run("die ", "<w:u/>") + run("grosse", "<w:b/>") + run(" Seite", "<w:u/>")
    assert out == run("Jetzt siehe ") + f'<w:hyperlink r:id="1">{expected}</w:hyperlink>'


def test_runs_that_differ_in_nothing_seen_are_one() -> None:
    data = document(
        run("One ", '<w:lang w:val="en-US"/>') + '<w:proofErr w:type="x"/>' + run("wo", "<w:noProof/>") + run("rd.")
    )
    assert texts("a.docx", data) == ["One word."]
    assert paragraph_of(translated("a.docx", data)) == run("ONE WORD. ", '<w:lang w:val="de"/>').replace(". ", ".")


def test_the_language_is_the_target_s() -> None:
    styles = '<w:styles><w:rPrDefault><w:lang w:val="en-GB" w:eastAsia="ja-JP"/></w:rPrDefault></w:styles>'
    runs = run("one", '<w:lang w:eastAsia="x" w:val="en-US"/>') + run(
        ' w:lang w:val="en"', '<w:b/><w:lang w:val="fr-FR"/>'
    )
    data = document(runs, styles=styles)
    out = copied("a.docx", data, "de")
    assert paragraph_of(out) == runs.replace('w:val="en-US"', 'w:val="de"')
    assert paragraph_of(out, "word/styles.xml") == styles.replace("en-GB", "de")
    assert copied("a.docx", data, "en") == data


LOOKS = st.sampled_from(["", "<w:b/>", "<w:i/>", "<w:vertAlign w:val='superscript'/>"])
TEXT = st.sampled_from(["one ", "two", " ", "3", "&amp; b", "", "<br"]).filter(lambda text: "<" not in text)
PIECES = st.recursive(
    st.builds(run, TEXT, LOOKS)
    | st.sampled_from(
        [
            '<w:bookmarkStart w:id="1"/>',
            '<w:bookmarkEnd w:id="1"/>',
            "<w:r><w:tab/></w:r>",
            '<w:r><w:footnoteReference w:id="2"/></w:r>',
            "<w:r><w:t>a</w:t><w:br/><w:t>b</w:t></w:r>",
            character("begin"),
            character("separate"),
            character("end"),
            "<w:r><w:t/></w:r>",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=4).map("".join)
        | inner.map(lambda x: f'<w:hyperlink r:id="1">{x}</w:hyperlink>')
        | inner.map(lambda x: field("HYPERLINK x", x))
        | inner.map(lambda x: field("PAGE", x))
    ),
    max_leaves=10,
)


@given(st.lists(PIECES, max_size=5).map("".join))
def test_nothing_is_lost(paragraph: str) -> None:
    data = document(paragraph)
    assert copied("a.docx", data) == data
    out = translated("a.docx", data)
    after = paragraph_of(out)
    for kept in (r"<w:(?:bookmark|footnote|fldChar|hyperlink|tab|br|instr)[^<>]*>", r"</w:hyperlink>"):
        assert sorted(re.findall(kept, after)) == sorted(re.findall(kept, paragraph))
    words = "<w:t[ >].*?</w:t>"
    assert sorted(re.sub("<.*?>", "", "".join(re.findall(words, after))).lower()) == sorted(
        re.sub("<.*?>", "", "".join(re.findall(words, paragraph))).lower()
    )
    assert seen(out) == [text.upper() for text in seen(data)] or "fldChar" in paragraph


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("word/document2.xml", "openxmlformats-officedocument.wordprocessingml.document.main"),
        ("doc/body.xml", "openxmlformats-officedocument.wordprocessingml.document.main"),
        ("word/document.xml", "ms-word.document.macroEnabled.main"),
        ("word/main.xml", "openxmlformats-officedocument.wordprocessingml.template.main"),
    ],
)
def test_the_body_and_its_parts_may_have_any_name(body: str, kind: str) -> None:
    """What a part is, the list of types says."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        types = {f"/{body}": kind, "/doc/h.xml": "openxmlformats-officedocument.wordprocessingml.header"}
        overrides = "".join(
            f'<Override PartName="{name}" ContentType="application/vnd.{type_}+xml"/>' for name, type_ in types.items()
        )
        archive.writestr("[Content_Types].xml", f"<Types>{overrides}</Types>")
        for name, word in ((body, "house"), ("doc/h.xml", "tree"), ("doc/other.xml", "hidden")):
            archive.writestr(name, f"<w:document xmlns:w='{NAMES}'><w:p>{run(word)}</w:p></w:document>")
    assert texts("a.docx", buffer.getvalue()) == ["house", "tree"]
