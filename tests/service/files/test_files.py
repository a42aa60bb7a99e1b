"""Files taken apart and put together: made and read by independent libraries, and real ones where there are any."""

import copy
import io
import re
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import polib
import pytest
from docx.oxml.ns import qn
from docx.oxml.shared import OxmlElement
from ebooklib import ITEM_DOCUMENT, epub
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from odf.draw import Frame, TextBox
from odf.opendocument import OpenDocumentText, load
from odf.text import H, LineBreak, Note, NoteBody, NoteCitation, P, Span
from selectolax.lexbor import LexborHTMLParser

from service.files import ENDINGS, Aligned, FileRefused, Limits, UnknownFormat, ending_of, open_file
from service.files.chunks import Collected
from service.text.alignment import Link

LIMITS = Limits(16 << 20)
DOC = Path("/usr/share/doc")


def loud(text: str) -> str:
    """Translate into capitals, but for private characters."""
    return "".join(character if ord(character) >= 0xE000 else character.upper() for character in text)


def translated(name: str, data: bytes, translate: Callable[[str], str] = loud, target: str = "de") -> bytes:
    opened = open_file(name, data, LIMITS)
    return opened.render([Aligned(translate(text)) for text in opened.texts], target)


def texts(name: str, data: bytes) -> list[str]:
    return [text for text in open_file(name, data, LIMITS).texts if text]


def same(text: str) -> str:
    return text


def test_names() -> None:
    assert ending_of("C:\\My files\\Notes.TXT") == ".txt"
    for bad in ("notes", "notes.exe", ".docx/", "", "a.docx.gz"):
        with pytest.raises(UnknownFormat, match="not translated"):
            ending_of(bad)


@given(st.text(max_size=200))
def test_plain_text(text: str) -> None:
    data = text.encode(errors="replace")
    assert translated("a.txt", data, same) == data
    opened = open_file("a.txt", data, LIMITS)
    assert re.sub(r"\s", "", "".join(opened.texts)) == re.sub(r"\s", "", data.decode()) or re.search(r"[<*_~\[]", text)


def test_pairs_of_tags_in_plain_text_follow_their_words() -> None:
    source = "Click <1>here</1> to go.\n- It is **very** old.\n\nAnother *day\ncame* here.\n"
    assert texts("a.txt", source.encode()) == ["Click here to go.", "- It is very old.", "Another *day\ncame* here.\n"]
    assert translated("a.txt", source.encode(), same) == source.encode()
    line = "a long line of words that an editor has wrapped where its <b>window</b> ends"
    assert texts("a.txt", f"{line}\n{line}".encode()) == [f"{line}\n{line}"]


@given(
    st.lists(
        st.sampled_from(["<b>", "</b>", "*", "**", "_", "[", "](a)", "a", "be ", "\n", "\n\n", "<1>", "</1>", ". "])
    )
)
def test_whatever_the_pairs_a_text_comes_back_to_the_byte(pieces: list[str]) -> None:
    data = "".join(pieces).encode()
    assert translated("a.txt", data, same) == data
    loud_one = translated("a.txt", data).decode()
    assert sorted(re.sub(r"\s", "", loud_one.lower())) == sorted(re.sub(r"\s", "", data.decode().lower()))


def test_utf_16_stays_utf_16() -> None:
    for codec in ("utf-16-le", "utf-16-be"):
        data = ("\ufeff" + "one\r\n\r\ntwo").encode(codec)
        assert translated("a.txt", data).decode("utf-16") == "ONE\r\n\r\nTWO"


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending not in (".docx", ".odt", ".epub")])
def test_what_is_no_text_is_refused(ending: str) -> None:
    with pytest.raises(FileRefused):
        open_file(f"a{ending}", b"\xff\x00\x80 nothing", LIMITS)


@pytest.mark.parametrize("ending", ENDINGS)
@given(data=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_comes_is_read_or_refused(ending: str, data: bytes) -> None:
    try:
        opened = open_file(f"a{ending}", data, LIMITS)
    except FileRefused:
        return
    opened.render([Aligned(text) for text in opened.texts], "de")


def test_html() -> None:
    page = b"<!DOCTYPE html><html lang=en><title>A b</title><p title='say'>One <b>two</b>, <code>x</code>.</p>"
    assert translated("a.html", page) == (
        b"<!DOCTYPE html><html lang=de><title>A B</title><p title='SAY'>ONE <b>TWO</b>, <code>x</code>.</p>"
    )


MARKDOWN = """---
title: kept
---
# One *two*

A paragraph with [a link](http://example.org/a_b "kept") and `code here`,
which goes on in a second line that is rather long, as an editor
wraps lines, with **strong words** and <http://auto.example.org>.\x20\x20
Behind a hard break.

> quoted once
> > and twice

- an item
  that goes on
- [ ] a task

3. a number

| head | other |
|------|-------|
| cell | `two` |

```python
kept = 1
```

    kept too

Setext
======

[ref]: http://example.org
The end &amp; ![image text](i.png) with a_name and 2 * 3 * 4.
"""


def structure(source: str) -> list[tuple[str, str]]:
    """Return tags and addresses as markdown-it sees them."""
    tree = LexborHTMLParser(MarkdownIt("commonmark").enable("table").render(source))
    return [(node.tag, node.attributes.get("href") or node.attributes.get("src") or "") for node in tree.css("body *")]


def test_markdown() -> None:
    out = translated("a.md", MARKDOWN.encode()).decode()
    assert structure(out) == structure(MARKDOWN)
    assert out.startswith(
        '---\ntitle: kept\n---\n# ONE *TWO*\n\nA PARAGRAPH WITH [A LINK](http://example.org/a_b "kept")'
    )
    for kept in (
        "`code here`",
        "kept = 1\n",
        "    kept too\n",
        "| `two` |",
        "- [ ] A TASK",
        "> > AND TWICE",
        "3. A NUMBER",
    ):
        assert kept in out
    assert "AUTO" not in out
    assert max(map(len, out.splitlines())) <= max(map(len, MARKDOWN.splitlines())) + 20


LINKS = """see [the page] and [it][], `[it]`, [`a[0]`][it], [that][it].

[the page]: http://a.org
[it]: http://b.org
"""


@pytest.mark.parametrize("shift", range(0, 80, 5))
def test_a_wrapped_paragraph_begins_no_list_and_links_keep_their_labels(shift: int) -> None:
    words = "seven words make a line of it "
    source = f"{'x' * shift}{words * 4}\n{words}and 1. is no item - nor is this # a title {words}\n{LINKS}"
    out = translated("a.md", source.encode()).decode()
    a, b, code = ("a", "http://a.org"), ("a", "http://b.org"), ("code", "")
    assert structure(out) == structure(source) == [("p", ""), a, b, code, b, code, b]


PO = """# A comment.
msgid ""
msgstr ""
"Project-Id-Version: x\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

#. extracted
#: a.c:1
#, c-format
msgid "open %s\\n"
msgstr ""

msgctxt "menu"
msgid "done"
msgstr "fertig"

#, fuzzy
msgid "rough"
msgstr "grob"

msgid "one file"
msgid_plural "many files"
msgstr[0] ""
msgstr[1] ""
"""


def test_po() -> None:
    before, after = polib.pofile(PO), polib.pofile(translated("a.po", PO.encode()).decode())
    assert [entry.msgid for entry in after] == [entry.msgid for entry in before]
    assert [entry.comment for entry in after] == [entry.comment for entry in before]
    assert [(entry.flags, entry.occurrences, entry.msgctxt) for entry in after] == [
        (entry.flags, entry.occurrences, entry.msgctxt) for entry in before
    ]
    assert [entry.msgstr for entry in after][:3] == ["OPEN %S\n", "fertig", "grob"]
    assert after[3].msgstr_plural == {0: "ONE FILE", 1: "MANY FILES"}
    assert after.metadata["Language"] == "de"


def test_a_po_file_s_text_is_no_path(tmp_path: Path) -> None:
    secret = tmp_path / "secret.po"
    secret.write_text(PO)
    with pytest.raises(FileRefused):
        open_file("a.po", str(secret).encode(), LIMITS)


SRT = """1
00:00:01,000 --> 00:00:02,000
Hello <i>there</i>
my old friend.

2
00:00:03,000 --> 00:00:04,000
- Hi.
- Ho.
"""
VTT = """WEBVTT kept

NOTE kept --

id
00:01.000 --> 00:02.000 align:start
<v Ann>one</v>


STYLE
::cue {}
"""


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_subtitles(line_break: str) -> None:
    srt, vtt = SRT, VTT
    for name, source in (("a.srt", srt), ("a.vtt", vtt)):
        data = source.replace("\n", line_break).encode()
        assert translated(name, data, same) == data
    out = translated("a.srt", srt.replace("\n", line_break).encode()).decode().split(line_break)
    assert out[:4] == ["1", "00:00:01,000 --> 00:00:02,000", "HELLO <i>THERE</i>", "MY OLD FRIEND."]
    assert out[6:9] == ["00:00:03,000 --> 00:00:04,000", "- HI.", "- HO."]
    ampersand = srt.replace("Hello", "Tom & Jerry < &amp; 3")  # SubRip knows no references
    assert b"TOM & JERRY < &AMP; 3" in translated("a.srt", ampersand.encode())
    assert b"A &amp; B &lt; C" in translated("a.vtt", vtt.replace("one<", "a &amp; b &lt; c<").encode())
    expected = vtt.replace(">one<", ">ONE<").replace("\n", line_break)
    assert translated("a.vtt", vtt.replace("\n", line_break).encode()).decode() == expected


def test_a_translated_cue_breaks_no_tag_and_leaves_out_when_words_are_said() -> None:
    cue = """WEBVTT

00:01.000 --> 00:02.000
<font color="red">one two</font> three
<b class="a b">four</b> \U00100000 five
00:02.000 --> 00:03.000
six<00:02.200><c> seven</c><00:00:02.500><c> eight</c>
"""
    assert translated("a.vtt", cue.encode(), same).decode() == cue
    out = translated("a.vtt", cue.encode()).decode()
    assert out.split("\n")[3:5] == ['<font color="red">ONE TWO</font> THREE', '<b class="a b">FOUR</b> \U00100000 FIVE']
    assert out.split("\n")[6] == "SIX <c>SEVEN</c> <c>EIGHT</c>"


XLIFF = """<?xml version="1.0"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2"><file source-language="en" original="a"><body>
<trans-unit id="1"><source>One <g id="1">two</g> <x id="2"/>three &amp; <ph id="3">%s</ph></source></trans-unit>
<trans-unit id="2"><source>done</source><target>fertig</target></trans-unit>
<trans-unit id="3" translate="no"><source>kept</source></trans-unit>
<trans-unit id="5"><source>Start <mrk mtype="protected">sub3 now</mrk> first</source></trans-unit>
<trans-unit id="4"><source>new</source><target state="new">new</target></trans-unit>
</body></file></xliff>"""
XLIFF_2 = """<xliff version="2.0" srcLang="en" xmlns="urn:oasis:names:tc:xliff:document:2.0"><file id="f"><unit id="u">
<segment><source>One <pc id="1">two</pc></source></segment>
<segment state="final"><source>a</source><target>b</target></segment>
</unit></file></xliff>"""


def targets(data: bytes) -> list[str | None]:
    root = ElementTree.fromstring(data)
    holders = [e for e in root.iter() if e.tag.rsplit("}")[-1] in ("trans-unit", "segment")]
    found = [holder.find("{*}target") for holder in holders]
    return [None if target is None else "".join(target.itertext()) for target in found]


def test_xliff() -> None:
    out = translated("a.xlf", XLIFF.encode())
    assert targets(out) == ["ONE TWO THREE & %s", "fertig", None, "START sub3 now FIRST", "NEW"]
    root = ElementTree.fromstring(out)
    target = root.find(".//{*}target")
    assert target is not None
    assert [(e.tag.rsplit("}")[-1], e.get("id")) for e in target] == [("g", "1"), ("x", "2"), ("ph", "3")]
    file = root.find("{*}file")
    assert file is not None
    assert file.get("target-language") == "de"
    second = translated("a.xliff", XLIFF_2.encode())
    assert targets(second) == ["ONE TWO", "b"]
    assert ElementTree.fromstring(second).get("trgLang") == "de"


def word_file() -> bytes:
    document = docx.Document()
    document.add_heading("The heading", 1)
    paragraph = document.add_paragraph("One ")
    paragraph.add_run("two").bold = True
    paragraph.add_run(" three")
    paragraph.add_run(" four.")  # looks like the one before: one text with it
    document.add_paragraph("an item", style="List Bullet")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.sections[0].header.paragraphs[0].text = "the header"
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_word() -> None:
    data = word_file()
    assert "three four." in " ".join(open_file("a.docx", data, LIMITS).texts)
    document = docx.Document(io.BytesIO(translated("a.docx", data)))
    assert [paragraph.text for paragraph in document.paragraphs] == ["THE HEADING", "ONE TWO THREE FOUR.", "AN ITEM"]
    assert [(run.text, run.bold) for run in document.paragraphs[1].runs][:3] == [
        ("ONE ", None),
        ("TWO", True),
        (" THREE FOUR.", None),
    ]
    assert document.paragraphs[0].style.name == "Heading 1"
    assert [cell.text for cell in document.tables[0].rows[0].cells] == ["LEFT", "RIGHT"]
    assert document.sections[0].header.paragraphs[0].text == "THE HEADER"


def reversed_words(text: str) -> Aligned:
    """Put the words of a text in the opposite order, with links."""
    words = list(re.finditer(r"\S+", text))[::-1]
    links, end = [], 0
    for word in words:
        links.append(Link(word.span(), (end, end + len(word[0]))))
        end += len(word[0]) + 1
    return Aligned(" ".join(word[0] for word in words), links)


def turned(name: str, data: bytes) -> bytes:
    """Translate a file so that its words are in the opposite order."""
    opened = open_file(name, data, LIMITS)
    return opened.render([reversed_words(text) for text in opened.texts], "de")


def test_looks_and_links_of_word_follow_their_words() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("I have ")
    paragraph.add_run("never").bold = True
    paragraph.add_run(" seen ")
    paragraph.add_run("this & that").italic = True
    paragraph.add_run(" ")
    link = OxmlElement("w:hyperlink")
    link.set(qn("w:anchor"), "place")
    link.append(copy.deepcopy(paragraph.runs[0]._r))
    link[0].text = "here"
    paragraph._p.append(link)
    paragraph.add_run(" before")
    second = document.add_paragraph("one ")
    second.add_run("two").bold = True
    second.runs[1].add_break()  # what a run holds beside text can't be moved: each look by itself
    second.add_run("three")
    buffer = io.BytesIO()
    document.save(buffer)
    opened = open_file("a.docx", buffer.getvalue(), LIMITS)
    assert opened.texts == ["I have never seen this & that here before", "one", "two", "three"]
    out = docx.Document(io.BytesIO(turned("a.docx", buffer.getvalue())))
    first = out.paragraphs[0]
    runs = [run for part in first.iter_inner_content() for run in getattr(part, "runs", [part])]
    looks = [(run.text.strip(), run.bold, run.italic) for run in runs]
    assert [look for look in looks if look[0]] == [
        ("before", None, None),
        ("here", None, None),
        ("that & this", None, True),
        ("seen", None, None),
        ("never", True, None),
        ("have I", None, None),
    ]
    assert [link.fragment for link in first.hyperlinks] == ["place"]
    assert [run.text for run in out.paragraphs[1].runs] == ["one ", "two\n", "three"]


def test_marks_of_word_stand_in_their_sentences() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("It is ")
    paragraph.add_run("well").bold = True
    for name in ("w:footnoteReference", "w:commentReference"):
        mark = OxmlElement(name)
        mark.set(qn("w:id"), "2")
        paragraph.add_run()._r.append(mark)
    paragraph.add_run(" known & so").italic = True
    link = OxmlElement("w:hyperlink")  # all there is beside a mark: what is outside of it is none
    link.append(copy.deepcopy(paragraph.runs[1]._r))
    second = document.add_paragraph("")
    second._p.append(link)
    second._p.append(copy.deepcopy(paragraph.runs[2]._r))
    buffer = io.BytesIO()
    document.save(buffer)
    texts = open_file("a.docx", buffer.getvalue(), LIMITS).texts
    assert [re.sub("[\U000f0000-\U0010ffff]", "*", text) for text in texts] == ["It is well** known & so", "well"]
    out = docx.Document(io.BytesIO(turned("a.docx", buffer.getvalue())))
    first, second = out.paragraphs

    def tags(element: Any) -> list[str]:
        return [part.tag.rsplit("}")[-1] for part in element.iter() if "Reference" in part.tag or part.tag == qn("w:t")]

    assert [(run.text.strip(), run.bold, run.italic) for run in first.runs if run.text.strip()] == [
        ("so & known", None, True),
        ("well", True, None),
        ("is It", None, None),
    ]
    assert [tag for tag in tags(first._p) if tag != "t"] == ["footnoteReference", "commentReference"]
    assert tags(second._p) == ["t", "footnoteReference"]
    assert second.hyperlinks[0].text == "well"


def test_inline_tags_of_every_format_follow_their_words() -> None:
    po = 'msgid "a <b>b</b> & < c\\n"\n"d <i>e</i>"\nmsgstr ""\n'
    assert polib.pofile(turned("a.po", po.encode()).decode())[0].msgstr == "c < & <b>b</b> a\n<i>e</i> d"
    md = "a **b** [c *d*](e_f)\n"
    assert turned("a.md", md.encode()).decode() == "[*d* c](e_f) **b** a\n"
    assert turned("a.md", b"- see 1.\n- b a -\n") == b"- 1\\. see\n- \\- a b\n"  # no list in the list
    xliff = XLIFF.replace("One", "One day")
    target = ElementTree.fromstring(turned("a.xlf", xliff.encode())).find(".//{*}target")
    assert target is not None
    assert [(e.tag.rsplit("}")[-1], e.text) for e in target] == [("ph", "%s"), ("x", None), ("g", "two")]
    odt = b"<d xmlns:text='t'><text:p>a <text:s>b</text:s> c<text:note><text:p>d e</text:p></text:note> f</text:p></d>"
    out = zipfile.ZipFile(io.BytesIO(turned("a.odt", packed({"mimetype": ODT_TYPE, "content.xml": odt}))))
    turned_note = b"<text:note><text:p>e d</text:p></text:note>"  # the note stays at its word
    assert out.read("content.xml") == (
        b"<d xmlns:text='t'><text:p>f c" + turned_note + b" <text:s>b</text:s> a</text:p></d>"
    )


def odt_file() -> bytes:
    document = OpenDocumentText()
    document.text.addElement(H(outlinelevel=1, text="The heading"))
    paragraph = P(text="One ")
    paragraph.addElement(Span(text="two"))
    paragraph.addText(" three & four.")
    paragraph.addElement(LineBreak())
    document.text.addElement(paragraph)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_odt() -> None:
    out = translated("a.odt", odt_file())
    document = load(io.BytesIO(out))
    assert [str(element) for kind in (H, P) for element in document.getElementsByType(kind)] == [
        "THE HEADING",
        "ONE TWO THREE & FOUR.",
    ]
    assert zipfile.ZipFile(io.BytesIO(out)).infolist()[0].filename == "mimetype"
    assert zipfile.ZipFile(io.BytesIO(out)).infolist()[0].compress_type == zipfile.ZIP_STORED


def epub_file(tmp_path: Path) -> bytes:
    book = epub.EpubBook()
    book.set_identifier("one")
    book.set_title("The title")
    book.set_language("en")
    chapter = epub.EpubHtml(title="The chapter", file_name="one.xhtml")
    chapter.content = '<html><body><h1>The chapter</h1><p>One <b>two</b>.</p><p translate="no">kept</p></body></html>'
    book.add_item(chapter)
    book.toc = (epub.Link("one.xhtml", "The chapter", "c"),)
    book.spine = ["nav", chapter]
    book.add_item(epub.EpubNcx())
    book.add_item(epub.EpubNav())
    epub.write_epub(str(tmp_path / "a.epub"), book)
    return (tmp_path / "a.epub").read_bytes()


def test_what_is_anchored_in_a_sentence_of_an_odt_does_not_end_it() -> None:
    document = OpenDocumentText()
    paragraph = P(text="It is known")
    note = Note(noteclass="footnote")
    note.addElement(NoteCitation(text="1"))
    body = NoteBody()
    body.addElement(P(text="By whom?"))
    note.addElement(body)
    paragraph.addElement(note)
    paragraph.addText(" that ")
    frame = Frame(anchortype="as-char", width="1cm", height="1cm")
    box = TextBox()
    box.addElement(P(text="in the box"))
    frame.addElement(box)
    paragraph.addElement(frame)
    paragraph.addText(" it is so.")
    document.text.addElement(paragraph)
    buffer = io.BytesIO()
    document.save(buffer)
    texts = [
        re.sub("[\U000f0000-\U0010ffff]", "*", text)
        for text in open_file("a.odt", buffer.getvalue(), LIMITS).texts
        if text
    ]
    assert texts == ["It is known* that * it is so.", "By whom?", "in the box"]
    (out, *_) = load(io.BytesIO(translated("a.odt", buffer.getvalue()))).getElementsByType(P)
    assert str(out) == "IT IS KNOWN1BY WHOM? THAT IN THE BOX IT IS SO."


def test_epub(tmp_path: Path) -> None:
    (tmp_path / "b.epub").write_bytes(translated("a.epub", epub_file(tmp_path)))
    book = epub.read_epub(str(tmp_path / "b.epub"), {"ignore_ncx": False})
    text = " ".join(item.get_content().decode() for item in book.get_items_of_type(ITEM_DOCUMENT))
    assert "<p>ONE <b>TWO</b>.</p>" in text
    assert ">kept</p>" in text
    assert book.toc[0].title == "THE CHAPTER"


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


GROWING = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 9))
BOMB = b'<!DOCTYPE a [<!ENTITY l0 "lol">' + GROWING + b"]><a>&l8;</a>"
OUTSIDE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
ODT_TYPE = b"application/vnd.oasis.opendocument.text"


@pytest.mark.parametrize("xml", [BOMB, OUTSIDE], ids=["entities that grow", "an entity that is a file"])
def test_entities_are_refused(xml: bytes) -> None:
    for name, data in {
        "a.xliff": xml.replace(b"<a>", b"<xliff>").replace(b"</a>", b"</xliff>"),
        "a.docx": packed({"word/document.xml": xml}),
        "a.odt": packed({"mimetype": ODT_TYPE, "content.xml": xml}),
        "a.epub": packed({"mimetype": b"application/epub+zip", "a.xhtml": xml}),
    }.items():
        with pytest.raises(FileRefused, match=r"document type|entities|entity amplification"):
            open_file(name, data, LIMITS)


@pytest.mark.parametrize("ending", [".docx", ".odt", ".epub"])
def test_archives_that_are_too_much_or_broken_are_refused(ending: str) -> None:
    many = {f"{n}": b"" for n in range(2001)}
    bomb = {"mimetype": ODT_TYPE, "word/document.xml": b"\0" * (LIMITS.max_bytes + 1)}
    good = packed({"mimetype": b"x", "a": b"abc" * 1000})
    unusual = packed({"mimetype": ODT_TYPE}, zipfile.ZIP_LZMA)
    for data, words in [
        (packed(many), "2,000 parts"),
        (packed(bomb), "unpacks to more"),
        (unusual, "unusual"),
        (good[:-30], "damaged"),
        (b"PK\x03\x04", "damaged"),
        (good, "is no|has no"),
    ]:
        with pytest.raises(FileRefused, match=words):
            open_file(f"a{ending}", data, LIMITS)


def test_an_archive_that_lies_about_its_sizes_is_bounded() -> None:
    data = bytearray(packed({"mimetype": ODT_TYPE, "content.xml": b"\0" * (LIMITS.max_bytes + 1)}))
    size = (LIMITS.max_bytes + 1).to_bytes(4, "little")
    assert size in data
    with pytest.raises(FileRefused):
        open_file("a.odt", bytes(data.replace(size, (5).to_bytes(4, "little"))), LIMITS)


def real(ending: str, most: int = 12) -> list[Path]:
    paths = sorted(path for path in DOC.rglob(f"*{ending}") if path.is_file()) if DOC.is_dir() else []
    return paths[:: max(1, len(paths) // most)][:most]


@pytest.mark.parametrize("ending", [".html", ".txt", ".md"])
def test_real_documents_come_back_as_they_were(ending: str) -> None:
    paths = real(ending)
    if not paths:
        pytest.skip(f"no {ending} files under {DOC}")
    for path in paths:
        data = path.read_bytes()[:300_000]
        try:
            data.decode()
        except UnicodeDecodeError:
            continue
        out = translated(path.name, data, same, target="en")
        if ending == ".md":
            assert re.sub(r"\s+", " ", MarkdownIt("commonmark").enable("table").render(out.decode())) == re.sub(
                r"\s+", " ", MarkdownIt("commonmark").enable("table").render(data.decode())
            ), path
        else:
            assert out == data, path


def test_real_messages_pass_msgfmt(tmp_path: Path) -> None:
    """Check our PO file with gettext itself."""
    (tmp_path / "a.po").write_bytes(translated("a.po", PO.encode(), same))
    try:
        done = subprocess.run(
            ["msgfmt", "-c", "-o", str(tmp_path / "a.mo"), str(tmp_path / "a.po")], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("gettext is not installed")
    assert done.returncode == 0, done.stderr


def test_tags_of_a_page_follow_their_words_over_pieces_of_a_text() -> None:
    opened = open_file("a.html", b"<p>one <b>two</b></p><p>three <i>four</i></p>", LIMITS)
    collected = Collected(opened.texts)
    assert list(opened.texts) == ["one two", "three four"]
    collected.add(0, "one ", "EINS ", [Link((0, 3), (0, 4))])
    collected.add(0, "two", "ZWEI", [Link((0, 3), (0, 4))])
    collected.add(1, "three four", "VIER DREI", [Link((6, 10), (0, 4)), Link((0, 5), (5, 9))])
    assert opened.render(collected, "de") == b"<p>EINS <b>ZWEI</b></p><p><i>VIER</i> DREI</p>"
