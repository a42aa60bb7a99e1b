"""PO files, held against polib and gettext itself."""

import re
import subprocess
from pathlib import Path

import polib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.files import FileRefused, open_file
from service.files.plural_forms import forms_of, parsed
from tests.service.files.opening import LIMITS, loud, texts, time_growth, translated

FILE = r"""# SOME TITLE.
#
msgid ""
msgstr ""
"Plural-Forms: nplurals=2; plural=(n "
"!= 1);\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Project-Id-Version: "
"x\n"

#: src/a/very/long/path/of/a/source/file.c:1123 src/a/very/long/path/of/a/source/file.c:1124 b.c:1
#,  c-format,no-wrap
msgid "open %s "
"now\n"
msgstr ""

# translator
#. extracted
#| msgid "old"
msgctxt "menu"
msgid "done"
msgstr   "fertig"


#, c-format, fuzzy
  msgid "rough"
msgstr "grob"

msgid "one file"
msgid_plural "many \"files\"\t\\"
msgstr[0] ""
msgstr[1] ""
#~ msgid "gone"
#~ msgstr ""
"""


def file(*entries: str, header: str = r'"Content-Type: text/plain; charset=UTF-8\n"') -> bytes:
    return "\n".join([f'msgid ""\nmsgstr ""\n{header}\n', *entries]).encode()


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_all_but_translations_and_the_language_comes_back_to_the_letter(line_break: str) -> None:
    expected = (
        FILE.replace('"x\\n"\n', '"x\\n"\n"Language: de\\n"\n')
        .replace('now\\n"\nmsgstr ""', 'now\\n"\nmsgstr "OPEN %S NOW\\n"')
        .replace(
            'msgstr[0] ""\nmsgstr[1] ""',
            r'''msgstr[0] "ONE FILE"
msgstr[1] "MANY \"FILES\"\t\\"''',
        )
    )
    data = FILE.replace("\n", line_break).encode()
    assert translated("a.po", data).decode() == expected.replace("\n", line_break)
    done = translated("a.po", data)
    assert translated("a.po", done) == done


def test_long_translations_are_broken_as_gettext_breaks_them(tmp_path: Path) -> None:
    words = "a sentence of words that is by far too long for one line of a file"
    second = f'"{words} a "\n"sentence of words that is by far too long for one line of a file\\n"'
    data = file(f'msgid ""\n"{words}\\n"\n"{words}\\n"\nmsgstr ""\n', f'msgid ""\n{second}\nmsgstr ""\n')
    (tmp_path / "a.po").write_bytes(translated("a.po", data, str))
    try:
        done = subprocess.run(["msgcat", "-o", "-", str(tmp_path / "a.po")], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("gettext is not installed")
    assert done.stdout == (tmp_path / "a.po").read_bytes()
    unbroken = file(f'msgid "{words} {words}"\nmsgstr ""\n')
    assert f'msgstr "{words} {words}"\n' in translated("a.po", unbroken, str).decode()


@pytest.mark.parametrize(
    ("target", "header", "strings"),
    [
        ("ja", "nplurals=1; plural=0;", ["B"]),
        ("de", "nplurals=2; plural=(n != 1);", ["A", "B"]),
        (
            "pl",
            "nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);",
            ["A", "B", "B"],
        ),
        ("ar", None, ["B", "A", "B", "B", "B", "B"]),
        ("pt-BR", "nplurals=2; plural=(n > 1);", ["A", "B"]),
    ],
)
def test_a_file_gets_the_plural_forms_of_the_target(target: str, header: str | None, strings: list[str]) -> None:
    entry = 'msgid "a"\nmsgid_plural "b"\nmsgstr[0] ""\nmsgstr[1] ""\n'
    for given_header in ("", '"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\\n"'):
        data = file(entry, header='"Content-Type: text/plain; charset=UTF-8\\n"\n' + given_header)
        out = polib.pofile(translated("a.po", data, target=target).decode())
        assert out.metadata["Plural-Forms"] == (header or forms_of(target).source)
        assert list(out[0].msgstr_plural.values()) == strings


def test_plural_forms_in_use_stay() -> None:
    forms = '"Plural-Forms: nplurals=3; plural=n==1 ? 0 : n==2 ? 1 : 2;\\n"'
    entries = [
        f'msgid "a{n}"\nmsgid_plural "b"\nmsgstr[0] "{done}"\nmsgstr[1] ""\n' for n, done in enumerate(["x", ""])
    ]
    out = translated("a.po", file(*entries, header=forms)).decode()
    assert forms in out
    assert list(polib.pofile(out)[1].msgstr_plural.values()) == ["A1", "B", "B"]


def test_forms_of_all_languages_are_expressions_and_others_are_refused() -> None:
    for language in ["ar", "cy", "ga", "is", "lt", "lv", "mk", "mt", "pl", "ro", "sl", "ru", "cs", "fr", "ja", "de"]:
        forms = forms_of(language)
        assert parsed(forms.source) == forms
        assert forms.number == 1 or forms.of_one < forms.number
    for wrong in (
        "",
        "nplurals=2; plural=__import__('os');",
        "nplurals=2; plural=" + "(" * 99,
        "nplurals=2;plural=n%0;",
    ):
        assert parsed(wrong) is None


@pytest.mark.parametrize(
    ("codec", "declared"), [("latin-1", "ISO-8859-1"), ("cp1252", "windows-1252"), ("koi8-r", "KOI8-R"), ("gbk", "GBK")]
)
def test_a_declared_charset_is_read_and_written(codec: str, declared: str) -> None:
    letter = {"latin-1": "é", "cp1252": "€", "koi8-r": "ж", "gbk": "中"}[codec]
    data = file(
        f'# {letter}\nmsgid "a"\nmsgstr ""\n', header=f'"Content-Type: text/plain; charset={declared}\\n"'
    ).decode()
    out = translated("a.po", data.encode(codec), lambda text: text + letter)
    assert out == data.replace("\n\n", '\n"Language: de\\n"\n\n', 1).replace(
        '"a"\nmsgstr ""', f'"a"\nmsgstr "a{letter}"'
    ).encode(codec)
    other = translated("a.po", data.encode(codec), lambda text: text + "ﬃ")  # which none of them has
    assert b"charset=UTF-8\\n" in other
    assert f'# {letter}\nmsgid "a"\nmsgstr "aﬃ"' in other.decode()


def test_a_template_is_written_in_utf_8() -> None:
    data = file('msgid "a"\nmsgstr ""\n', header='"Content-Type: text/plain; charset=CHARSET\\n"')
    assert b"charset=CHARSET" in translated("a.po", data)
    assert b"charset=UTF-8" in translated("a.po", data, lambda _: "ä")


@pytest.mark.parametrize(
    "wrong",
    [
        "nothing",
        'msgid "a"\n',
        'msgid "a"\nmsgstr "b\n',
        '"a"\n',
        'msgstr "a"\n',
        'msgid "a" b\nmsgstr ""\n',
        "/etc/a.po",
    ],
)
def test_what_is_no_po_file_is_refused(wrong: str) -> None:
    with pytest.raises(FileRefused, match="no PO file"):
        open_file("a.po", wrong.encode(), LIMITS)


VALUES = st.text('aé "\\\n\t%{}<>#&;~', max_size=12)


@given(
    st.lists(
        st.tuples(VALUES, VALUES | st.none(), VALUES, st.sampled_from(["", "fuzzy", "c-format"]), st.booleans()),
        max_size=5,
    ),
    st.sampled_from([20, 78, 400]),
)
def test_python_reads_the_translated_messages(
    messages: list[tuple[str, str | None, str, str, bool]], width: int
) -> None:
    file = polib.POFile(wrapwidth=width)
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for number, (source, plural, translation, flag, is_obsolete) in enumerate(messages):
        entry = polib.POEntry(msgctxt=str(number), msgid=source, msgstr=translation, obsolete=is_obsolete)
        if plural:
            entry.msgstr, entry.msgid_plural, entry.msgstr_plural = "", plural, {0: "", 1: translation}
        entry.flags = [flag] if flag else []
        file.append(entry)
    data = f"{file}\n"
    out = translated("a.po", data.encode()).decode()
    # what gettext's line of a message isn't, is to the letter what it was
    assert without_translations(out) == without_translations(data)
    for before, after in zip(polib.pofile(data), polib.pofile(out), strict=True):
        if before.msgstr or any(before.msgstr_plural.values()) or before.fuzzy or before.obsolete:
            assert str(after) == str(before)
        elif before.msgid_plural:
            assert list(after.msgstr_plural.values()) == [loud_lines(before.msgid), loud_lines(before.msgid_plural)]
        else:
            assert after.msgstr == loud_lines(before.msgid)


def loud_lines(text: str) -> str:
    """Tags and what is no word stay: here there are none."""
    return re.sub(r"[^\n]+", lambda line: loud(line[0]), text)


def without_translations(text: str) -> list[str]:
    kept, is_translation = [], False
    for line in text.split("\n"):
        is_translation = line.startswith("msgstr") or (is_translation and line.startswith('"'))
        kept += [] if is_translation else [line]
    return kept


def test_time_is_linear() -> None:
    assert time_growth("a.po", [file(), b'msgid "a"\nmsgstr ""\n\n', b""], 50) < 2.7
    assert time_growth("a.po", [file() + b'msgid "', b"a ", b'"\nmsgstr ""\n']) < 2.7
    assert time_growth("a.po", [b'msgid ""\nmsgstr ""\n"', b"Language:", b'"\n']) < 2.7
    assert texts("a.po", file() + b'msgid "' + b"a " * 3 + b'"\nmsgstr ""\n') == ["a a a"]
