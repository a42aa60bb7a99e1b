"""Markdown in its dialects: structure stays, prose is translated."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.service.files.opening import copied, loud, texts, time_growth, translated

LINK = 'is good. [by](<c d> (a title)), [me](f "it\\"s") and ![go](h \'i\')'


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("> [!NOTE]\n> The door is open.\n> It is.", "> [!NOTE]\n> THE DOOR IS OPEN. IT IS."),
        ("> [!tip]- A title\n> text", "> [!tip]- A TITLE\n> TEXT"),
        (":::tip\nClose the door.\n:::", ":::tip\nCLOSE THE DOOR.\n:::"),
        ("::: warning Be careful\none\n:::\ntwo", "::: warning BE CAREFUL\nONE\n:::\nTWO"),
        (":::note[My title]{.x}\n\none\n\n:::", ":::note[MY TITLE]{.x}\n\nONE\n\n:::"),
        (":::{note} A title\none\n:::", ":::{note} A TITLE\nONE\n:::"),
        ("!!! note\n    Close the door.", "!!! note\n    CLOSE THE DOOR."),
        ('??? tip "A title"\n\n    one\n\n    two\n\nthree', '??? tip "A TITLE"\n\n    ONE\n\n    TWO\n\nTHREE'),
        ('=== "Tab one"\n\n    one', '=== "TAB ONE"\n\n    ONE'),
        ("!!! note\n    !!! tip\n        one", "!!! note\n    !!! tip\n        ONE"),
        ("!!! Attention please", "!!! ATTENTION PLEASE"),
        ("[^1]: First note here.\n[^2]: Second note here.", "[^1]: FIRST NOTE HERE.\n[^2]: SECOND NOTE HERE."),
        ("[^a]: a\n\n    more", "[^a]: A\n\n    MORE"),
        ("[^a]:\n    one", "[^a]:\n    ONE"),
        ("Apple\n:   A fruit\n:   Or not\n\n    more", "APPLE\n:   A FRUIT\n:   OR NOT\n\n    MORE"),
        ('+++\ntitle = "Hello"\n+++\none', '+++\ntitle = "Hello"\n+++\nONE'),
        ("---\ntitle: Hello\n---\none", "---\ntitle: Hello\n---\nONE"),
        ("[link](a.md 'The title') is good.", "[LINK](a.md 'The title') IS GOOD."),
        (f"one {LINK}", 'ONE IS GOOD. [BY](<c d> (a title)), [ME](f "it\\"s") AND ![GO](h \'i\')'),
        ("Good morning\\\nmy friend.", "GOOD MORNING\\\nMY FRIEND."),
        ("Good morning  \nmy friend.\\\nAnd  \nso on", "GOOD MORNING  \nMY FRIEND.\\\nAND  \nSO ON"),
        ("> one\\\n> two", "> ONE\\\n> TWO"),
        ("__init__.py is a file and so is `__main__`.", "__init__.py IS A FILE AND SO IS `__main__`."),
        ("__one__ is bold.", "__ONE__ IS BOLD."),
        ("a ==marked== word, x == y", "A ==MARKED== WORD, X == Y"),
        ("see [[Page name]] and [[1]](a.b) here", "SEE [[Page name]] AND [[1]](a.b) HERE"),
        ("one <!-- a note --> two", "ONE <!-- a note -->TWO".replace("-->", "--> ")),
        ("one\n\n$$\nE = m c^2\n$$\n\ntwo", "ONE\n\n$$\nE = m c^2\n$$\n\nTWO"),
        ("\\[\ny = two\n\\]\none", "\\[\ny = two\n\\]\nONE"),
        ("\\begin{align}\nx &= two\n\\end{align}", "\\begin{align}\nx &= two\n\\end{align}"),
        ("Water $x_1$ is $$y$$ and \\(a + b\\).", "WATER $x_1$ IS $$y$$ AND \\(a + b\\)."),
        ("It costs $5 and $6 \\(not more than that\\).", "IT COSTS $5 AND $6 \\(NOT MORE THAN THAT\\)."),
        ("$$\none", "$$ ONE"),
        ("```\n$$\nx\n:::tip\n> [!NOTE]\n```\none", "```\n$$\nx\n:::tip\n> [!NOTE]\n```\nONE"),
        ('<div align="x">\n<h1>A title</h1>\none\n</div>', '<div align="x">\n<h1>A TITLE</h1>\nONE\n</div>'),
        ("- <details>\n  <summary>one</summary>\n\n  two", "- <details>\n  <summary>ONE</summary>\n\n  TWO"),
        ("<!-- one -->\n<script>\nvar two;\n</script>", "<!-- one -->\n<script>\nvar two;\n</script>"),
        ("one<br>two", "ONE<br>TWO"),
        ("> <div>\n> The door\n> </div>\n\ntwo", "> <div>\n> THE DOOR\n> </div>\n\nTWO"),
        (
            "> - <table>\n>   <tr><td>one\n>   two</td>\n>   </table>",
            "> - <table>\n>   <tr><td>ONE TWO</td>\n>   </table>",
        ),
        ("> > <p>one</p>\n> >\n> > two", "> > <p>ONE</p>\n> >\n> > TWO"),
        ("{{< note >}}\none\n{{< /note >}}\ntwo", "{{< note >}}\nONE\n{{< /note >}}\nTWO"),
        ("> {% tip %}\n> one\n> {% endtip %}", "> {% tip %}\n> ONE\n> {% endtip %}"),
        ("{{% a %}} {{% b %}}\none", "{{% a %}} {{% b %}}\nONE"),
        ("So 2*3*4 is **5** of *it*.", "SO 2*3*4 IS **5** OF *IT*."),
        ("***very* good *5*** words", "***VERY* GOOD *5*** WORDS"),
    ],
)
def test_dialects(source: str, expected: str, line_break: str) -> None:
    data, wanted = (f"{text}\n".replace("\n", line_break).encode() for text in (source, expected))
    assert translated("a.md", data) == wanted
    assert copied("a.md", data) == data
    assert copied("a.md", data.rstrip()) == data.rstrip()


def test_a_wrapped_paragraph_comes_back_to_the_byte_and_its_translation_is_wrapped() -> None:
    line = "a long line of words that an editor wraps where its window ends, as so many"
    source = f"* {line}\n  {line}\n   {line}\n"
    assert copied("a.md", source.encode()).decode() == source
    out = translated("a.md", source.encode(), lambda text: f"{text} and more").decode()
    assert [row[:2] for row in out.splitlines()] == ["* ", "  ", "  ", "  "]


MARKS = "    |> |- |# |**|`|$|$$|\\|  \n|[^1]: |: |:::|!!! note|> [!NOTE]"
MARKS += "|[x](y 'z')|<b>|</b>|<div>|\\[|\\]|~~~|__|+++|&amp;|{% a %}\n|> <p>|</p>\n|*5*"
PIECES = ["one two", "é", "\n", "\n\n", "| ", *MARKS.split("|")]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.sampled_from(["\n", "\r\n"]))
def test_copied_to_the_byte_and_nothing_is_lost(source: str, line_break: str) -> None:
    data = source.replace("\n", line_break).encode()
    assert copied("a.md", data) == data
    out = translated("a.md", data).decode()
    assert sorted(filter(str.isalnum, out.lower())) == sorted(filter(str.isalnum, source.lower()))
    assert tags(out) == tags(source)


def tags(source: str) -> list[str]:
    """List the elements that a page of it has, without emphasis: around capitals it is the same."""
    page = MarkdownIt("commonmark").enable("table").render(source)
    return re.findall(r"<(?:h\d|li|blockquote|pre|code|table|div)", page)


def test_time_is_linear() -> None:
    for middle in (
        *("[^1]: a\n\\begin{a}\n", "a $b \\(", "[a](b 'c\n", "!!! note\n    a\n", "\\[\n"),
        *(":::tip a\n> [!NOTE] a\n\n", "__a", "$$ a\n", "<div>a\n"),
    ):
        assert time_growth("a.md", [b"a ", middle.encode(), b"\n"], 40) < 2.7
    assert texts("a.md", loud("a").encode()) == ["A"]
