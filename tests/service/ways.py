"""Every way of texts through the service, texts in, translations out: dialects, files, the command line."""

import csv
import html
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

import docx
import httpx
import polib
from docx.text.paragraph import Paragraph
from lxml import etree
from odf.opendocument import OpenDocumentText, load
from odf.style import Style, TextProperties
from odf.text import P, Span

from tests.conftest import DEFAULT_MODEL, ROOT
from tests.service.running import PAIR, texts_of, translate

Way = Callable[[httpx.Client, Sequence[str]], list[str]]
TIMES = "00:00:01.000 --> 00:00:02.000"
_ANDROID = str.maketrans({"\\": r"\\", "'": r"\'", '"': r"\"", "\n": r"\n", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_XLIFF = "urn:oasis:names:tc:xliff:document:1.2"
_SUPERSCRIPT = re.compile(r'<g id="1">(.*?)</g>')


def native(client: httpx.Client, texts: Sequence[str]) -> list[str]:
    return texts_of(translate(client, list(texts)))


def streamed(client: httpx.Client, text: str) -> str:
    """Translate by /v1/translate/stream; a text without spaces or marks around its sentences."""
    with client.stream("POST", "/v1/translate/stream", json={"text": text, **PAIR}) as reply:
        events = [json.loads(line.removeprefix("data:")) for line in reply.iter_lines() if line.startswith("data:")]
    return "".join(event["translation"] for event in events if "sentence" in event)


def _libretranslate(form: str) -> Way:
    def send(client: httpx.Client, texts: Sequence[str]) -> list[str]:
        reply = client.post("/translate", json={"q": list(texts), "format": form, **PAIR})
        return list(reply.json()["translatedText"])

    return send


def _deepl(handling: str | None) -> Way:
    def send(client: httpx.Client, texts: Sequence[str]) -> list[str]:
        body = {"source_lang": "EN", "target_lang": "DE"} | ({"tag_handling": handling} if handling else {})
        replies = [
            client.post("/v2/translate", json={"text": list(texts[begin : begin + 50]), **body})
            for begin in range(0, len(texts), 50)
        ]
        return [each["text"] for reply in replies for each in reply.json()["translations"]]

    return send


def _google(form: str) -> Way:
    def send(client: httpx.Client, texts: Sequence[str]) -> list[str]:
        reply = client.post("/language/translate/v2", json={"q": list(texts), "format": form, **PAIR})
        return [each["translatedText"] for each in reply.json()["data"]["translations"]]

    return send


def _azure(form: str) -> Way:
    def send(client: httpx.Client, texts: Sequence[str]) -> list[str]:
        query = {"api-version": "3.0", "from": "en", "to": "de", "textType": form}
        body = [{"Text": text} for text in texts]
        reply = client.post("/translator/text/v3.0/translate", params=query, json=body)
        return [each["translations"][0]["text"] for each in reply.json()]

    return send


def _command(client: httpx.Client, texts: Sequence[str], *options: str) -> list[str]:
    command = [sys.executable, "-m", "service", "translate", "--model", str(DEFAULT_MODEL), *options]
    done = subprocess.run(
        command, input="\n\n".join(texts), capture_output=True, text=True, cwd=ROOT, check=True, timeout=300
    )
    return done.stdout.split("\n\n")


def translated_file(client: httpx.Client, name: str, data: bytes, **fields: str) -> bytes:
    """Send a file by LibreTranslate's route, which answers when it is done."""
    reply = client.post("/translate_file", files={"file": (name, data)}, data={**PAIR, **fields})
    assert reply.status_code == 200, reply.text
    return client.get(reply.json()["translatedFileUrl"]).content


def _file(name: str, write: Callable[[Sequence[str]], bytes], read: Callable[[bytes], Iterable[str]]) -> Way:
    return lambda client, texts: list(read(translated_file(client, name, write(texts))))


def _text(template: str, between: str = "", spell: Callable[[str], str] = str) -> Callable[[Sequence[str]], bytes]:
    """Return what writes a file: a template with one place, in which each text stands, spelt and framed.

    The frame of a text is what the template has between two bars.
    """
    head, frame, tail = template.split("|")
    return lambda texts: (head + between.join(frame.replace("*", spell(text)) for text in texts) + tail).encode()


def _found(pattern: str, unspell: Callable[[str], str] = str) -> Callable[[bytes], Iterator[str]]:
    return lambda data: (unspell(found) for found in re.findall(pattern, data.decode(), re.DOTALL))


def _blocks(data: bytes) -> list[str]:
    return data.decode().split("\n\n")


def _cues(data: bytes) -> Iterator[str]:
    return (cue.strip("\n").split("\n", 1)[1] for cue in re.split(r"\n\n(?=\d\d:)", data.decode())[1:])


def _srt(texts: Sequence[str]) -> bytes:
    return "\n\n".join(f"{n}\n{TIMES.replace('.', ',')}\n{text}" for n, text in enumerate(texts, 1)).encode()


def _po(texts: Sequence[str]) -> bytes:
    file = polib.POFile(wrapwidth=0)
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    file.extend(polib.POEntry(msgid=text) for text in dict.fromkeys(texts))
    return str(file).encode()


def _csv(texts: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([["key", "text"], *([f"k{n}", text] for n, text in enumerate(texts))])
    return out.getvalue().encode()


def _unescaped(resource: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], html.unescape(resource))


def _paragraph(document: Paragraph, text: str) -> None:
    """Write runs; those that stand in <g id="1"> are superscript."""
    for number, part in enumerate(_SUPERSCRIPT.split(text)):
        if part:
            run = document.add_run(part)
            run.font.superscript = True if number % 2 else None


def _word(texts: Sequence[str]) -> bytes:
    document, buffer = docx.Document(), io.BytesIO()
    for text in texts:
        _paragraph(document.add_paragraph(), text)
    document.save(buffer)
    return buffer.getvalue()


def _word_texts(data: bytes) -> Iterator[str]:
    for paragraph in docx.Document(io.BytesIO(data)).paragraphs:
        runs = [(run.font.superscript, run.text) for run in paragraph.runs if run.text]
        yield "".join(f'<g id="1">{text}</g>' if is_raised else text for is_raised, text in runs)


def _odt(texts: Sequence[str]) -> bytes:
    document, buffer = OpenDocumentText(), io.BytesIO()
    raised = Style(name="Raised", family="text")
    raised.addElement(TextProperties(textposition="super 58%"))
    document.automaticstyles.addElement(raised)
    for text in texts:
        paragraph = P()
        for number, part in enumerate(_SUPERSCRIPT.split(text)):
            if number % 2:
                paragraph.addElement(Span(stylename=raised, text=part))
            else:
                paragraph.addText(part)
        document.text.addElement(paragraph)
    document.write(buffer)
    return buffer.getvalue()


def _odt_texts(data: bytes) -> Iterator[str]:
    for paragraph in load(io.BytesIO(data)).getElementsByType(P):
        yield "".join(
            f'<g id="1">{node}</g>' if getattr(node, "tagName", "") == "text:span" else str(node)
            for node in paragraph.childNodes
        )


def _epub(texts: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"/>'
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><body>' + "\n".join(texts) + "</body></html>"
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (
            ("mimetype", "application/epub+zip"),
            ("META-INF/container.xml", container),
            ("a.xhtml", page),
        ):
            archive.writestr(name, content)
    return buffer.getvalue()


def _epub_page(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("a.xhtml")


_PARAGRAPHS = _found("<p>(.*?)</p>", html.unescape)
_TARGETS = _found("<target[^<>]*>(.*?)</target>")
_UNITS = f'<xliff version="1.2" xmlns="{_XLIFF}"><file source-language="en" target-language="de" original="a"><body>|'
_UNITS += '<trans-unit id="a"><source>*</source></trans-unit>|</body></file></xliff>'

DIALECTS: dict[str, Way] = {
    "native": native,
    "libretranslate": _libretranslate("text"),
    "deepl": _deepl(None),
    "google": _google("text"),
    "azure": _azure("plain"),
}
PLAIN: dict[str, Way] = DIALECTS | {
    "command": _command,
    "txt": _file("a.txt", lambda texts: "\n\n".join(texts).encode(), _blocks),
    "md": _file("a.md", lambda texts: "\n\n".join(texts).encode(), _blocks),
    "html": _file("a.html", _text("|<p>*</p>\n|", "", lambda text: html.escape(text, quote=False)), _PARAGRAPHS),
    "epub": _file(
        "a.epub",
        lambda texts: _epub([f"<p>{escape(text)}</p>" for text in texts]),
        lambda data: _PARAGRAPHS(_epub_page(data)),
    ),
    "po": _file("a.po", _po, lambda data: (entry.msgstr for entry in polib.pofile(data.decode()))),
    "xliff": _file(
        "a.xliff",
        _text(_UNITS, "", escape),
        lambda data: (target.text or "" for target in etree.fromstring(data).iter(f"{{{_XLIFF}}}target")),
    ),
    "srt": _file(
        "a.srt", _srt, lambda data: (cue.split("\n", 2)[2] for cue in re.split(r"\n\n(?=\d+\n\d\d:)", data.decode()))
    ),
    "vtt": _file(
        "a.vtt",
        _text(f"WEBVTT\n\n|{TIMES}\n*|\n", "\n\n", escape),
        lambda data: map(html.unescape, _cues(data)),
    ),
    "docx": _file("a.docx", _word, _word_texts),
    "odt": _file("a.odt", _odt, _odt_texts),
    "android": _file(
        "res/values/a.xml",
        _text('<resources>|<string name="a">*</string>\n|</resources>', "", lambda text: text.translate(_ANDROID)),
        _found("<string[^<>]*>(.*?)</string>", _unescaped),
    ),
    "json": _file(
        "a.json",
        lambda texts: json.dumps({f"k{n}": text for n, text in enumerate(texts)}).encode(),
        lambda data: json.loads(data).values(),
    ),
    "csv": _file("a.csv", _csv, lambda data: (row[1] for row in list(csv.reader(io.StringIO(data.decode())))[1:])),
}
# Texts are markup: paragraphs of HTML.
HTML: dict[str, Way] = {
    "libretranslate": _libretranslate("html"),
    "deepl": _deepl("html"),
    "google": _google("html"),
    "azure": _azure("html"),
    "html": _file("a.html", lambda texts: "\n".join(texts).encode(), _found("<p>.*?</p>")),
    "epub": _file("a.epub", _epub, lambda data: _found("<p>.*?</p>")(_epub_page(data))),
    "md": _file("a.md", lambda texts: "\n\n".join(texts).encode(), _blocks),
}
# Texts are XML, whose pairs are <g id="1">: of superscript in documents.
XML: dict[str, Way] = {
    "deepl": _deepl("xml"),
    "xliff": _file("a.xlf", _text(_UNITS), _TARGETS),
    "docx": _file("a.docx", _word, _word_texts),
    "odt": _file("a.odt", _odt, _odt_texts),
}


def _with_native_terms(client: httpx.Client, texts: Sequence[str], terms: Mapping[str, str]) -> list[str]:
    return texts_of(translate(client, list(texts), glossary=terms))


def _with_libretranslate_s(client: httpx.Client, texts: Sequence[str], terms: Mapping[str, str]) -> list[str]:
    reply = client.post("/translate", json={"q": list(texts), "glossary": terms, **PAIR})
    return list(reply.json()["translatedText"])


def _stored(client: httpx.Client, terms: Mapping[str, str]) -> str:
    """Store a glossary by DeepL's route; return its id."""
    entries = "\n".join(map("\t".join, terms.items()))
    body = {"name": "a", "source_lang": "en", "target_lang": "de", "entries": entries, "entries_format": "tsv"}
    return str(client.post("/v2/glossaries", json=body).json()["glossary_id"])


def _with_deepl_s(client: httpx.Client, texts: Sequence[str], terms: Mapping[str, str]) -> list[str]:
    body = {"text": list(texts), "source_lang": "EN", "target_lang": "DE", "glossary_id": _stored(client, terms)}
    return [each["text"] for each in client.post("/v2/translate", json=body).json()["translations"]]


def _with_a_file_s(client: httpx.Client, texts: Sequence[str], terms: Mapping[str, str]) -> list[str]:
    return _blocks(translated_file(client, "a.txt", "\n\n".join(texts).encode(), glossary=_stored(client, terms)))


def _with_the_command_s(client: httpx.Client, texts: Sequence[str], terms: Mapping[str, str]) -> list[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as file:
        file.write("\n".join(map("\t".join, terms.items())))
        file.flush()
        return _command(client, texts, "--glossary", file.name)


# With the terms of a glossary; Google's and Azure's protocols have none.
GLOSSARY: dict[str, Callable[[httpx.Client, Sequence[str], Mapping[str, str]], list[str]]] = {
    "native": _with_native_terms,
    "libretranslate": _with_libretranslate_s,
    "deepl": _with_deepl_s,
    "file": _with_a_file_s,
    "command": _with_the_command_s,
}
