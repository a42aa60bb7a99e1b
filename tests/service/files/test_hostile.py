"""Files that were made to take long: their time grows with their size, or they are refused."""

import io
import stat
import zipfile
from collections.abc import Callable

import pytest

from service.files import FileRefused, open_file
from tests.linear import growth
from tests.service.files.opening import LIMITS, translated

WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PLAIN, BOLD = "<w:r><w:t>tree </w:t></w:r>", "<w:r><w:rPr><w:b/></w:rPr><w:t>tree </w:t></w:r>"


def paragraph(content: str, links: str = "urn:links") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        body = f"<w:body><w:p>{PLAIN}{content}</w:p></w:body>"
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{WORDS}" xmlns:r="{links}">{body}</w:document>')
    return buffer.getvalue()


def numbered(template: str) -> Callable[[int], bytes]:
    return lambda n: paragraph("".join(template.replace("#", str(number)) for number in range(n)))


def xliff(content: str, names: str = "") -> bytes:
    body = f'<file source-language="en"><body>{content}</body></file>'
    return f'<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2"{names}>{body}</xliff>'.encode()


CUE = b"1\n00:00:00,000 --> 00:00:01,000\n"
UNIT = "<trans-unit><source>tree</source></trans-unit>"
FILES: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "runs, alternately bold": ("a.docx", lambda n: paragraph((PLAIN + BOLD) * n)),
    "footnote marks": ("a.docx", numbered(PLAIN + '<w:r><w:footnoteReference w:id="#"/></w:r>')),
    "hyperlinks": ("a.docx", numbered(f'{PLAIN}<w:hyperlink r:id="#">{PLAIN}</w:hyperlink>')),
    "a link of runs": ("a.docx", lambda n: paragraph(f'<w:hyperlink r:id="1">{PLAIN * n}</w:hyperlink>')),
    "a link of looks": ("a.docx", lambda n: paragraph(f'<w:hyperlink r:id="1">{(PLAIN + BOLD) * n}</w:hyperlink>')),
    "a run of texts": ("a.docx", lambda n: paragraph(f"<w:r>{'<w:t>tree </w:t>' * n}</w:r>")),
    "units": ("a.xlf", lambda n: xliff(UNIT * n)),
    "sources": ("a.xlf", lambda n: xliff(f"<trans-unit>{'<source>tree</source>' * n}</trans-unit>")),
    "words of digits": ("a.srt", lambda n: CUE + b"a " + b"1" * n + b"\n" + b"1" * n + b" " + b"1" * n + b"\n"),
    "open comments": ("a.md", lambda n: b"a " + b"<!--" * n),
    "spaces": ("a.md", lambda n: b"a" + b" " * n + b"b\nc"),
    "inline tags": ("a.html", lambda n: b"<p>" + b"<a>x</a>" * n),
    "attributes": ("a.html", lambda n: b"<p " + b"a" * n + b">x"),
    "elements in a sentence": ("a.html", lambda n: b"<p>a" + b"<img>a" * n),
    "copied elements": ("a.html", lambda n: b"<code>" * n + b"</b>" * n),
}


@pytest.mark.parametrize("kind", FILES)
def test_time_is_linear(kind: str) -> None:
    name, made = FILES[kind]

    def work(n: int) -> Callable[[], object]:
        data = made(n)
        return lambda: translated(name, data)

    assert growth(work, 200) <= 2.5


def test_namespaces_are_bounded() -> None:
    def names(count: int) -> str:
        return "".join(f' xmlns:a{number}="u{number}"' for number in range(count))

    assert len(open_file("a.xlf", xliff(UNIT, names(99)), LIMITS).texts) == 1
    with pytest.raises(FileRefused, match="more than 100 namespaces"):
        open_file("a.xlf", xliff(UNIT, names(100)), LIMITS)


@pytest.mark.parametrize("number", ["1" * 5000, "x" + "f" * 5000])
def test_a_reference_of_thousands_of_digits_is_copied(number: str) -> None:
    page = f"<p>tree &#{number}; &amp;</p>".encode()
    assert translated("a.html", page) == page.replace(b"tree", b"TREE")


def test_a_namespace_may_have_a_relative_name() -> None:
    assert open_file("a.docx", paragraph(BOLD + PLAIN, links="r"), LIMITS).texts == ["tree tree tree"]


def docx_with(name: str, mode: int = 0) -> bytes:
    buffer = io.BytesIO(paragraph(""))
    with zipfile.ZipFile(buffer, "a") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../evil", 0),
        ("word/../../evil", 0),
        ("/etc/cron.d/evil", 0),
        ("\\evil", 0),
        ("..\\evil", 0),
        ("C:\\evil", 0),
        ("C:evil", 0),
        ("word/link", stat.S_IFLNK | 0o777),
        ("word/pipe", stat.S_IFIFO | 0o600),
        ("word/device", stat.S_IFCHR | 0o600),
    ],
)
def test_what_would_leave_its_folder_when_unpacked_is_refused(name: str, mode: int) -> None:
    with pytest.raises(FileRefused, match="outside"):
        open_file("a.docx", docx_with(name, mode), LIMITS)


@pytest.mark.parametrize(
    ("name", "mode"), [("word/..evil", 0), ("word\\a", stat.S_IFREG | 0o644), ("media/", stat.S_IFDIR | 0o755)]
)
def test_what_stays_in_its_folder_is_copied(name: str, mode: int) -> None:
    with zipfile.ZipFile(io.BytesIO(translated("a.docx", docx_with(name, mode)))) as archive:
        assert name in archive.namelist()
