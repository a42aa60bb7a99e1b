"""Workbooks and presentations, written part by part; every part that holds no text is byte for byte the same."""

import io
import re
import zipfile
from collections.abc import Callable
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from service.files import Aligned, FileRefused, open_file
from service.text.alignment import Link
from tests.linear import growth
from tests.service.files.opening import LIMITS, copied, texts, translated

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n'
SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
DRAWINGS = "http://schemas.openxmlformats.org/drawingml/2006/main"
STRINGS = f"""{HEAD}<sst xmlns='{SHEETS}' count="6">
<si><t>The price</t></si><si><t xml:space="preserve"> of it </t></si>
<si><r><t>A </t></r><r><rPr><b/></rPr><t>red</t></r><r><rPr><b /></rPr><t xml:space="preserve"> car</t></r></si>
<si><t>Name</t><rPh sb="0" eb="1"><t>kept</t></rPh></si><si><t/></si><si><t>a &amp; b
line two</t></si></sst>"""
SHEET = f"""{HEAD}<worksheet xmlns="{SHEETS}"><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c>
<c r="B1"><f>A1&amp;"x"</f><v>1.50</v></c><c r="C1" t="inlineStr"><is><t>Inline text</t></is></c></row>
</sheetData></worksheet>"""
TABLE = f'<table xmlns="{SHEETS}"><tableColumns><tableColumn id="1" name="Name"/></tableColumns></table>'
NOTES = f'<comments xmlns="{SHEETS}"><comment><text><r><t>A note</t></r></text></comment></comments>'
SLIDE = f"""{HEAD}<p:sld xmlns:p="p" xmlns:a="{DRAWINGS}"><p:txBody><a:p><a:pPr lvl="1"/>
<a:r><a:rPr lang="en-US"/><a:t>The\nship</a:t></a:r><a:r><a:rPr lang="de-DE" dirty='0'/><a:t> is </a:t></a:r>
<a:r><a:rPr b="1"/><a:t>red &amp; new</a:t></a:r><a:br/><a:r><a:t>below</a:t></a:r>
<a:fld type="slidenum"><a:t>12</a:t></a:fld><a:endParaRPr/></a:p><a:p/></p:txBody></p:sld>"""


def packed(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def workbook(strings: str = STRINGS, sheet: str = SHEET, table: str = TABLE) -> bytes:
    return packed(
        {
            "[Content_Types].xml": "<Types/>",
            "xl/workbook.xml": "<workbook  />",
            "xl/sharedStrings.xml": strings,
            "xl/worksheets/sheet1.xml": sheet,
            "xl/tables/table1.xml": table,
            "xl/comments1.xml": NOTES,
        }
    )


def presentation(slide: str = SLIDE) -> bytes:
    return packed(
        {
            "ppt/presentation.xml": "<presentation  />",
            "ppt/slides/slide1.xml": slide,
            "ppt/slideLayouts/slideLayout1.xml": SLIDE,
            "ppt/notesSlides/notesSlide1.xml": SLIDE.replace("below", "a note"),
        }
    )


TEXT = st.text("ab \n&<'é\"", max_size=6).map(escape) | st.sampled_from(["two words", " ", "&#233;", "<!-- c -->"])
LOOK = st.sampled_from(["", "<rPr><b/></rPr>", "<rPr lang='x'/>", "<rPr ><i/></rPr>"])
RUN = st.builds("<r>{}<t{}>{}</t></r>".format, LOOK, st.sampled_from(["", " xml:space='preserve'"]), TEXT)
STRING = TEXT.map("<si><t>{}</t></si>".format) | st.lists(RUN | st.just("<br/>"), max_size=5).map(
    lambda runs: f"<si>{''.join(runs)}</si>"
)


@given(st.lists(STRING, max_size=4).map("\n".join))
def test_what_is_not_translated_comes_back_as_it_was(strings: str) -> None:
    data = workbook(f"<sst>{strings}</sst>")
    assert unpacked(copied("a.xlsx", data)) == unpacked(data)
    slide = f"<sld>{strings.replace('<si>', '<p>').replace('</si>', '</p>')}</sld>"
    assert unpacked(copied("a.pptx", presentation(slide), "en")) == unpacked(presentation(slide))


@given(st.lists(STRING, max_size=4).map("\n".join))
def test_what_is_translated_is_well_formed_and_all_there(strings: str) -> None:
    for name, data, part, holder in (
        ("a.xlsx", workbook(f"<sst>{strings}</sst>"), "xl/sharedStrings.xml", "si"),
        ("a.pptx", presentation(f"<s>{strings}</s>".replace("si>", "p>")), "ppt/slides/slide1.xml", "p"),
    ):
        before, after = (etree.fromstring(unpacked(some)[part]) for some in (data, translated(name, data)))
        shown = [["".join(one.itertext()) for one in tree.iter(holder)] for tree in (before, after)]
        spaceless = [[re.sub(r"\s", "", text.upper()) for text in some] for some in shown]
        assert spaceless[0] == spaceless[1]
        looks = [{etree.tostring(look, method="c14n") for look in tree.iter("rPr")} for tree in (before, after)]
        assert looks[1] <= looks[0]


def test_workbook() -> None:
    expected = ["The price", "of it", "A red car", "a & b", "line two", "Inline text", "A note"]
    assert texts("a.xlsx", workbook()) == expected
    after = unpacked(translated("a.xlsx", workbook()))
    assert after["xl/sharedStrings.xml"] == (
        STRINGS.replace("The price", "THE PRICE")
        .replace(" of it ", " OF IT ")
        .replace("<t>A </t>", "<t>A</t>")
        .replace('<t>red</t></r><r><rPr><b /></rPr><t xml:space="preserve"> car', '<t xml:space="preserve"> RED CAR')
        .replace("a &amp; b\nline two", "A &amp; B\nLINE TWO")
    )
    assert after["xl/worksheets/sheet1.xml"] == SHEET.replace("Inline text", "INLINE TEXT")
    assert after["xl/comments1.xml"] == NOTES.replace("A note", "A NOTE")
    untouched = ("[Content_Types].xml", "xl/workbook.xml", "xl/tables/table1.xml")
    assert all(after[name] == unpacked(workbook())[name] for name in untouched)


def reversed_words(text: str) -> Aligned:
    """Return the words of a text, last first, and where each comes from."""
    words = list(re.finditer(r"\S+", text))[::-1]
    links, end = [], 0
    for word in words:
        links.append(Link(word.span(), (end, end + len(word[0]))))
        end += len(word[0]) + 1
    return Aligned(" ".join(word[0] for word in words), links)


def test_looks_follow_their_words() -> None:
    opened = open_file("a.pptx", presentation(), LIMITS)
    assert [text for text in opened.texts if text][:2] == ["The ship is red & new", "below"]
    after = unpacked(opened.render([reversed_words(text) for text in opened.texts], "de"))
    tree = etree.fromstring(after["ppt/slides/slide1.xml"].encode())
    runs = [
        (run.findtext(f"{{{DRAWINGS}}}t"), (run.find(f"{{{DRAWINGS}}}rPr[@b]") is not None))
        for run in tree.iter(f"{{{DRAWINGS}}}r")
    ]
    assert [(text.strip(), bold) for text, bold in runs if text and text.strip()] == [
        ("new & red", True),
        ("is ship The", False),
        ("below", False),
    ]
    assert after["ppt/slideLayouts/slideLayout1.xml"] == SLIDE


def test_presentation() -> None:
    after = unpacked(translated("a.pptx", presentation(), target="en"))
    assert (
        '<a:t>BELOW</a:t></a:r>\n<a:fld type="slidenum"><a:t>12</a:t></a:fld><a:endParaRPr/></a:p><a:p/>'
        in after["ppt/slides/slide1.xml"]
    )
    assert "A NOTE" in after["ppt/notesSlides/notesSlide1.xml"]


BOMB = '<!DOCTYPE a [<!ENTITY l "lol">]><a>&l;</a>'


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.xlsx", b"plain", "damaged"),
        ("a.xlsx", packed({"a": "b"}), "no workbook"),
        ("a.pptx", packed({"a": "b"}), "no presentation"),
        ("a.xlsx", workbook(BOMB), "document type"),
        ("a.xlsx", workbook(table=BOMB), "document type"),
        ("a.pptx", presentation(BOMB), "document type"),
        ("a.xlsx", workbook("<sst><si></sst>"), "can't be read"),
        ("a.xlsx", packed({f"{number}": "" for number in range(2001)}), "2,000 parts"),
        ("a.pptx", packed({"ppt/presentation.xml": b"\0" * (LIMITS.max_bytes + 1)}), "unpacks to more"),
    ],
)
def test_other_files_are_refused(name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(FileRefused, match=sentence):
        open_file(name, data, LIMITS)


@pytest.mark.parametrize(
    "middle",
    [
        "<si><t>two words</t></si>",
        "<r><t>a b</t></r>",
        "<r><rPr><b/></rPr><t>a</t></r><r><t>b</t></r>",
        "<r><t>a</t></r>\n",
    ],
)
def test_time_is_linear(middle: str) -> None:
    def work(n: int) -> Callable[[], object]:
        data = workbook(f"<sst><si>{middle * n}</si></sst>")
        return lambda: translated("a.xlsx", data)

    assert growth(work, 100) <= 2.5
