"""Encodings that files declare, or are known to be in; and the marks of their language."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import FileRefused, open_file
from service.files.charsets import decoded, decoded_or_western
from tests.service.files.opening import LIMITS, copied, texts, translated

PAGE = "<!DOCTYPE html><html{lang}><head>{meta}</head><body>éé one</body></html>"
HTML = '<meta charset="{}">'
OLD_HTML = "<META http-equiv=Content-Type content='text/html; charset={}'>"
XHTML = '<?xml version="1.0" encoding="{}"?>'


@pytest.mark.parametrize("meta", [HTML, OLD_HTML])
@pytest.mark.parametrize(("declared", "codec"), [("windows-1252", "cp1252"), ("ISO-8859-1", "cp1252"), ("gbk", "gbk")])
def test_a_page_is_read_and_written_in_its_charset(meta: str, declared: str, codec: str) -> None:
    page = PAGE.format(lang="", meta=meta.format(declared))
    assert texts("a.html", page.encode(codec)) == ["éé one"]
    expected = page.replace("éé one", "ÉÉ ONE").encode(codec, "xmlcharrefreplace")
    assert translated("a.html", page.encode(codec)) == expected
    assert b">&#128516;<" in translated("a.html", page.encode(codec), lambda _: "\U0001f604")


def test_a_page_of_ascii_is_written_in_its_charset_and_one_of_utf_8_in_that() -> None:
    page = PAGE.format(lang="", meta=HTML.format("windows-1252"))
    assert translated("a.html", page.replace("é", "e").encode(), lambda _: "ä").decode("cp1252").count("ä") == 1
    assert (
        translated("a.html", page.encode()) == page.replace("éé one", "ÉÉ ONE").encode()
    )  # editors leave the declaration
    xhtml = XHTML.format("iso-8859-1") + page
    assert translated("a.xhtml", xhtml.encode("cp1252")) == xhtml.replace("éé one", "ÉÉ ONE").encode("cp1252")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("ending", ["html", "po", "srt", "vtt", "txt", "md", "csv"])
def test_wide_characters_with_their_mark(codec: str, ending: str) -> None:
    source = {
        "html": PAGE.format(lang="", meta=HTML.format("utf-8")),
        "po": 'msgid "éé one"\nmsgstr ""\n',
        "csv": "key,text\na,éé one\n",
    }.get(ending, "1\n00:00:01.000 --> 00:00:02.000\néé one\n")
    data = ("\ufeff" + source).encode(codec)
    out = translated(f"a.{ending}", data)
    assert out[:4] == data[:4]
    assert "ÉÉ ONE" in out.decode(codec)
    if ending != "po":  # where a message without a translation gets one
        assert copied(f"a.{ending}", data) == data


def test_a_page_of_an_old_macintosh() -> None:
    page = PAGE.format(lang="", meta=HTML.format("macintosh"))
    out = translated("a.html", page.encode("mac-roman"))
    assert out == page.replace("éé one", "ÉÉ ONE").encode("mac-roman")


@pytest.mark.parametrize("ending", ["srt", "txt", "csv"])
def test_windows_1252_without_a_declaration(ending: str) -> None:
    source = {"csv": "key;text\na;“éé” one\n", "txt": "“éé” one\n"}.get(ending, "1\n0:01,0 --> 0:02,0\n“éé” one\n")
    data = source.encode("cp1252")
    assert "“ÉÉ” ONE" in translated(f"a.{ending}", data).decode("cp1252")
    assert copied(f"a.{ending}", data) == data
    assert translated(f"a.{ending}", data, lambda text: text + " 中").startswith(b"\xef\xbb\xbf")  # which players know


@pytest.mark.parametrize(
    "data",
    [
        "привет мир".encode("cp1251"),
        "γεια σου".encode("cp1253"),
        b"\x81\x8d",
        "a\0b\x80".encode("cp1252", "ignore") + b"\xff",
    ],
)
def test_other_encodings_are_refused(data: bytes) -> None:
    with pytest.raises(FileRefused, match="not text in UTF-8"):
        decoded_or_western(data)


@pytest.mark.parametrize(
    ("declared", "words"),
    [("utf-7", "not known"), ("rot13", "not known"), ("utf-8", "which it says"), ("gb\0", "not known")],
)
def test_a_declaration_that_cannot_be_followed_is_refused(declared: str, words: str) -> None:
    with pytest.raises(FileRefused, match=words):
        decoded(b"\xe4", declared)


@given(
    st.text(max_size=50),
    st.sampled_from(["utf-8", "cp1252", "latin-1", "koi8-r", "gbk", "shift_jis", "big5"]),
)
def test_what_is_read_is_written(text: str, codec: str) -> None:
    data = text.encode(codec, "ignore")
    source = decoded(data, codec)
    assert source.encode(source.text) == data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" lang=en", " lang=de"),
        (' class="a" lang="en-US" xml:lang="en-US"', ' class="a" lang="de" xml:lang="de"'),
        (" XML:LANG='en'", " XML:LANG='de'"),
        (' lang="de-AT"', ' lang="de-AT"'),
        (' hreflang="en" data-lang="en"', ' hreflang="en" data-lang="en"'),
        ("", ""),
    ],
)
def test_the_language_of_a_page_is_the_target_s(old: str, new: str) -> None:
    before, after = (
        f'<!--<html lang="en">-->{PAGE.format(lang=lang, meta="")}<p lang="en">&lt;html lang="en"> 1'
        for lang in (old, new)
    )
    assert copied("a.html", before.encode(), "de").decode() == after


def packed(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, str]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_language_of_an_epub_and_an_odt() -> None:
    members = {
        "mimetype": "application/epub+zip",
        "a.opf": '<package xml:lang="en"><dc:language>en-GB</dc:language><dc:language>fr</dc:language></package>',
        "a.xhtml": '<html lang="en" xml:lang="en"><p>one <i lang="la">et</i></p></html>',
        "a.ncx": '<ncx xml:lang="en"><text>one</text></ncx>',
    }
    assert unpacked(copied("a.epub", packed(members), "de")) == {
        "mimetype": "application/epub+zip",
        "a.opf": '<package xml:lang="de"><dc:language>de</dc:language><dc:language>fr</dc:language></package>',
        "a.xhtml": '<html lang="de" xml:lang="de"><p>one <i lang="la">et</i></p></html>',
        "a.ncx": '<ncx xml:lang="de"><text>one</text></ncx>',
    }
    assert unpacked(copied("a.epub", packed(members), "en")) == members
    style = '<style:text-properties fo:color="#000" fo:language="{}" fo:country="{}" style:x="y"/>'
    members = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": "<a>" + style.format("fr", "FR") + '<text:p>one fo:language="en"</text:p></a>',
        "styles.xml": "<a>" + style.format("en", "US") + style.format("en", "GB") + "</a>",
        "meta.xml": "<a><dc:language>en-US</dc:language></a>",
    }
    assert unpacked(copied("a.odt", packed(members), "de")) == members | {
        "styles.xml": "<a>" + style.format("de", "none") * 2 + "</a>",
        "meta.xml": "<a><dc:language>de</dc:language></a>",
    }
    assert unpacked(copied("a.odt", packed(members), "en")) == members


def test_a_file_in_a_wrong_encoding_is_refused() -> None:
    for name in ("a.md", "a.json", "a.yaml", "a.vtt", "a.ftl", "a.html", "a.po"):
        with pytest.raises(FileRefused):
            open_file(name, b'{"a": "\xe4"}', LIMITS)
