"""A file of each format with the same sentences, for what measures files."""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence

import docx

_ODT = b"application/vnd.oasis.opendocument.text"
_CONTAINER = b'<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"/>'
_SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DRAWINGS = "http://schemas.openxmlformats.org/drawingml/2006/main"
_XLIFF = "urn:oasis:names:tc:xliff:document:1.2"


def files(lines: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield a name and a file of each format with these lines; "number 5" in one is bold, where a format has that."""
    tagged = [re.sub(r"(number \d+)", r"<b>\1</b>", line) for line in lines]
    numbered = list(enumerate(lines))
    page = "<html><body>" + "".join(f"<p>{line}</p>\n" for line in tagged) + "</body></html>"
    cues = [f"00:{n // 60:02}:{n % 60:02},000 --> 00:{n // 60:02}:{n % 60:02},900\n{line}\n" for n, line in numbered]
    texts = {
        "txt": "\n".join(lines),
        "html": page,
        "md": "\n\n".join(line.replace("<b>", "**").replace("</b>", "**") for line in tagged),
        "srt": "\n".join(f"{n}\n{cue}" for n, cue in enumerate(cues, 1)),
        "vtt": "WEBVTT\n\n" + "\n".join(cue.replace(",", ".", 2) for cue in cues),
        "po": "".join(f'msgid "{line}"\nmsgstr ""\n\n' for line in lines),
        "xlf": _xliff(tagged),
        "json": "{\n" + ",\n".join(f'"k{n}": "{line}"' for n, line in numbered) + "\n}\n",
        "arb": '{\n"@@locale": "en",\n' + ",\n".join(f'"k{n}": "{line}"' for n, line in numbered) + "\n}\n",
        "yaml": "en:\n" + "".join(f'  k{n}: "{line}"\n' for n, line in numbered),
        "properties": "".join(f"k{n} = {line}\n" for n, line in numbered),
        "strings": "".join(f'"k{n}" = "{line}";\n' for n, line in numbered),
        "xml": "<resources>\n"
        + "".join(f'<string name="k{n}">{line}</string>\n' for n, line in enumerate(tagged))
        + "</resources>\n",
        "resx": "<root>\n"
        + "".join(f'<data name="k{n}"><value>{line}</value></data>\n' for n, line in numbered)
        + "</root>\n",
        "ftl": "".join(f"k{n} = {line}\n" for n, line in numbered),
        "csv": "key,text\n" + "".join(f'k{n},"{line}"\n' for n, line in numbered),
        "tsv": "key\ttext\n" + "".join(f"k{n}\t{line}\n" for n, line in numbered),
    }
    for ending, text in texts.items():
        yield f"a.{ending}", text.encode()
    yield "a.docx", _word(tagged)
    body = "".join(f"<text:p>{line}</text:p>" for line in lines)
    odt = f'<office:document-content xmlns:office="o" xmlns:text="t">{body}</office:document-content>'
    yield "a.odt", _archive({"mimetype": _ODT, "content.xml": odt.encode()})
    book = {"mimetype": b"application/epub+zip", "META-INF/container.xml": _CONTAINER, "a.xhtml": page.encode()}
    yield "a.epub", _archive(book)
    strings = "".join(f"<si><t>{line}</t></si>" for line in lines)
    shared = f'<sst xmlns="{_SHEETS}">{strings}</sst>'.encode()
    yield "a.xlsx", _archive({"xl/workbook.xml": b"<workbook/>", "xl/sharedStrings.xml": shared})
    paragraphs = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in lines)
    slide = f'<p:sld xmlns:p="p" xmlns:a="{_DRAWINGS}"><p:txBody>{paragraphs}</p:txBody></p:sld>'.encode()
    yield "a.pptx", _archive({"ppt/presentation.xml": b"<presentation/>", "ppt/slides/slide1.xml": slide})


def _xliff(tagged: Sequence[str]) -> str:
    marked = [line.replace("<b>", '<g id="1">').replace("</b>", "</g>") for line in tagged]
    units = "".join(f'<trans-unit id="{n}"><source>{line}</source></trans-unit>\n' for n, line in enumerate(marked))
    file = f'<file source-language="en" original="a"><body>{units}</body></file>'
    return f'<xliff version="1.2" xmlns="{_XLIFF}">{file}</xliff>'


def _word(tagged: Sequence[str]) -> bytes:
    """Write paragraphs into the document that python-docx begins with, its styles and all."""
    buffer, run, end = io.BytesIO(), '<w:r><w:t xml:space="preserve">', "</w:t></w:r>"
    docx.Document().save(buffer)
    bold = [line.replace("<b>", f"{end}<w:r><w:rPr><w:b/></w:rPr><w:t>").replace("</b>", end + run) for line in tagged]
    body = "".join(f"<w:p>{run}{line}{end}</w:p>" for line in bold).encode()
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    document = members["word/document.xml"]
    return _archive(members | {"word/document.xml": document.replace(b"<w:sectPr", body + b"<w:sectPr", 1)})


def _archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
