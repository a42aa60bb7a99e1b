"""XLIFF of both versions, read again by lxml."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from service.files import Aligned, open_file
from service.text.alignment import Link
from tests.service.files.opening import LIMITS, loud, time_growth, translated

HEAD = (
    '<?xml version="1.0"  encoding=\'utf-8\'?>\r\n<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">'
)
FILE = "<file original='a' source-language=\"en\" target-language='de'><body>\r\n"
TAIL = "</body></file></xliff>\r\n<!-- end -->"
HEAD_2 = (
    '<x:xliff srcLang="en" trgLang="de" version="2.1" xmlns:x="urn:oasis:names:tc:xliff:document:2.0"><x:file id="f">'
)
TAIL_2 = "</x:file></x:xliff>"
SEGMENTED = (
    '<source>One is here. Two.</source><seg-source><mrk mtype="seg" mid="0">One is here.</mrk> '
    '<mrk mtype="seg" mid="1">Two.</mrk></seg-source>'
)


def unit(content: str) -> str:
    return f"{HEAD}{FILE}  <trans-unit id='1'>{content}</trans-unit>\r\n{TAIL}"


def target_of(source: str) -> str:
    """Return the target that a source without one gets."""
    whole = unit(f"\n <source>{source}</source>")
    out = translated("a.xlf", whole.encode()).decode()
    begin, _, rest = out.partition("</source>\n <target>")
    target, _, end = rest.rpartition("</target>")
    assert begin + "</source>" + end == whole
    return target


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ('Click <bpt id="1">&lt;b&gt;</bpt>here<ept id="1">&lt;/b&gt;</ept> to <ph id="2">{0}</ph> go.', None),
        ('Click <bpt id="1" rid="7">[b]</bpt>here<ept id="2" rid="7">[/b]</ept> now', None),
        ('Click <bx id="1" rid="2"/>here<ex id="3" rid="2"/> now', None),
        ('A <it id="1" pos="open">[i]</it>word and <x id="2"/> <g id="3">two <g id="4">more</g></g>', None),
        (
            'a <bx id="1"/>b <bx id="2"/>c<ex id="1"/> d<ex id="2"/> e <g id="4">f <bx id="5"/>g</g> h <ex id="5"/>',
            None,
        ),
        ('See <ph id="1">[a title="<sub>The title</sub>" <sub/>]</ph>this', None),
        ('H<g id="1">2</g>O', 'H<g id="1">2</g>O'),
        ("one <!-- note --> two &amp; <?pi?> three", "ONE <!-- note --> TWO &amp; <?pi?> THREE"),
        ("<![CDATA[one <b>two</b> & three]]>", "<![CDATA[ONE <b>TWO</b> & THREE]]>"),
        ("one <![CDATA[& two]]>", "ONE &amp; TWO"),
        ("{n, plural, one {# file} other {# files}}", "{n, plural, one {# FILE} other {# FILES}}"),
        (
            'Start <mrk mtype="protected">sub3 now</mrk> <mrk mtype="x-term">first</mrk>',
            'START <mrk mtype="protected">sub3 now</mrk> <mrk mtype="x-term">FIRST</mrk>',
        ),
        ("50 % &gt; 1", "50 % &gt; 1"),
    ],
)
def test_inline_codes(source: str, target: str | None) -> None:
    if target is None:
        pieces = re.split(r"(<(?:bpt|ept|ph|it)\b.*?</(?:bpt|ept|ph|it)>|<.*?>)", source)
        target = "".join(piece.upper() if number % 2 == 0 else piece for number, piece in enumerate(pieces))
        target = target.replace("The title", "THE TITLE")
    assert target_of(source) == target


def test_a_pair_of_codes_follows_its_words() -> None:
    source = 'one <bpt id="1">[b]</bpt>two<ept id="1">[/b]</ept> <sc id="2"/>three<ec startRef="2"/>'
    for whole in (
        unit(f"<source>{source}</source>"),
        f'{HEAD_2}<x:unit id="u"><x:segment><x:source>{source}</x:source></x:segment></x:unit>{TAIL_2}',
    ):
        opened = open_file("a.xlf", whole.encode(), LIMITS)
        assert list(opened.texts) == ["one two three"]
        links = [Link((8, 13), (0, 4)), Link((4, 7), (5, 9)), Link((0, 3), (10, 14))]
        out = opened.render([Aligned("drei zwei eins", links)], "de").decode()
        assert '<sc id="2"/>drei<ec startRef="2"/> <bpt id="1">[b]</bpt>zwei<ept id="1">[/b]</ept> eins</' in out


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", '<target><S mid="0">ONE IS HERE.</S> <S mid="1">TWO.</S></target>'),
        (
            "<target/>",
            '<target><S mid="0">ONE IS HERE.</S> <S mid="1">TWO.</S></target>',
        ),
        (
            '<target state="needs-translation" xml:lang="fr"><S mid="0" a="b"></S><S mid="1"/></target>',
            '<target state="translated" xml:lang="de"><S mid="0" a="b">ONE IS HERE.</S><S mid="1">TWO.</S></target>',
        ),
        (
            '<target><S mid="0">Eins.</S>  <S mid="1"> </S></target>',
            '<target><S mid="0">Eins.</S>  <S mid="1">TWO.</S></target>',
        ),
        (
            '<target><S mid="1">Zwei.</S></target>',
            '<target><S mid="0">ONE IS HERE.</S> <S mid="1">Zwei.</S></target>',
        ),
        ("<target>Eins ist hier. Zwei.</target>", None),
        ('<target><S mid="0">Eins.</S><S mid="1">Zwei.</S></target>', None),
    ],
)
def test_segments(target: str, expected: str | None) -> None:
    target, expected = (
        text and text.replace("<S", '<mrk mtype="seg"').replace("</S", "</mrk") for text in (target, expected)
    )
    out = translated("a.xlf", unit(SEGMENTED + target).encode()).decode()
    assert out == unit(SEGMENTED + (target if expected is None else expected))


def test_only_units_that_are_open_and_to_be_translated() -> None:
    content = """<group translate="no"><trans-unit id="1"><source>a</source></trans-unit>
<trans-unit id="2" translate="yes"><source>b</source><alt-trans><source>x</source><target/></alt-trans></trans-unit>
</group>
<trans-unit id="3"><source>c</source><target state="final">C</target><note>note</note></trans-unit>
<trans-unit id="4"><source>d</source><target state="new">d</target></trans-unit>
<trans-unit id="5"><source> </source></trans-unit>"""
    whole = HEAD + FILE + content + TAIL
    expected = whole.replace("<source>b</source>", "<source>b</source><target>B</target>").replace(
        '<target state="new">d', '<target state="translated">D'
    )
    assert translated("a.xlf", whole.encode()).decode() == expected
    assert translated("a.xlf", expected.encode(), lambda text: f"{text} x", "fr").decode() == expected


def test_version_2() -> None:
    content = """<x:notes><x:note>kept</x:note></x:notes><x:unit id="u">
<x:originalData><x:data id="d">k</x:data></x:originalData>
<x:segment>
  <x:source>One <x:pc id="1">two</x:pc> <x:ph id="2" dataRef="d"/><x:cp hex="0001"/></x:source>
</x:segment>
<x:ignorable><x:source> kept </x:source></x:ignorable>
<x:segment state="initial">
<x:source>a <x:mrk id="m" translate="no">kept</x:mrk></x:source><x:target>b</x:target></x:segment>
<x:segment state="final"><x:source>a</x:source><x:target>b</x:target></x:segment></x:unit>
<x:unit id="v" translate="no"><x:segment><x:source>kept</x:source></x:segment></x:unit>"""
    expected = (
        content.replace("<x:segment>\n", '<x:segment state="translated">\n')
        .replace(
            'hex="0001"/></x:source>',
            'hex="0001"/></x:source>\n  '
            '<x:target>ONE <x:pc id="1">TWO</x:pc> <x:ph id="2" dataRef="d"/><x:cp hex="0001"/></x:target>',
        )
        .replace('state="initial"', 'state="translated"')
        .replace(
            "</x:mrk></x:source><x:target>b", '</x:mrk></x:source><x:target>A <x:mrk id="m" translate="no">kept</x:mrk>'
        )
    )
    out = translated("a.xlf", (HEAD_2 + content + TAIL_2).encode()).decode()
    assert out == HEAD_2 + expected + TAIL_2
    assert translated("a.xlf", out.encode()).decode() == out


@pytest.mark.parametrize(
    ("head", "target", "expected"),
    [
        ('<file source-language="en">', "", '<file source-language="en" target-language="de">'),
        ('<file target-language="fr">', "", '<file target-language="de">'),
        ('<file target-language="de-AT">', "", '<file target-language="de-AT">'),
        ('<file target-language="fr">', "<target>A</target>", '<file target-language="fr">'),
    ],
)
def test_the_target_language(head: str, target: str, expected: str) -> None:
    other = f"<trans-unit><source>a</source>{target}</trans-unit><trans-unit><source>b</source></trans-unit>"
    assert expected in translated("a.xlf", f"{HEAD}{head}{other}</file></xliff>".encode()).decode()


TEXT = st.text("ab é1&<>\n", max_size=6)
CODES = [
    '<x id="1"/>',
    '<bx id="{}"/>',
    '<ex id="{}"/>',
    '<bpt id="{}">b</bpt>',
    '<ept id="{}">e</ept>',
    '<ph id="1">p</ph>',
]
INLINE = st.recursive(
    TEXT.map(lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    | st.builds(lambda code, number: code.format(number), st.sampled_from(CODES), st.integers(1, 3)),
    lambda inner: st.lists(inner, max_size=4).map("".join) | inner.map(lambda content: f'<g id="9">{content}</g>'),
    max_leaves=12,
)


@given(st.lists(st.tuples(INLINE, st.sampled_from(["", "<target/>", "<target>done</target>"])), max_size=4))
def test_what_is_written_is_xliff_and_codes_balance(units: list[tuple[str, str]]) -> None:
    content = "".join(f"<trans-unit>\n<source>{source}</source>{target}</trans-unit>" for source, target in units)
    data = (HEAD + FILE + content + TAIL).encode()
    made = re.compile(r"(?<=</source>)(?:\n<target>.*?</target>|<target/>|<target>(?!done).*?</target>)", re.DOTALL)
    for translate in (str, loud):
        out = translated("a.xlf", data, translate).decode()
        assert made.sub("", out) == made.sub("", data.decode())
        for unit in etree.fromstring(out.encode()).iter("{*}trans-unit"):
            source, target = unit.find("{*}source"), unit.find("{*}target")
            if target is None or target.text == "done":
                continue
            assert sorted(map(code, source.iter())) == sorted(map(code, target.iter()))
            if translate is str:
                assert content_of(source) == content_of(target)


def code(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2].replace("source", "target") + str(element.attrib)


def content_of(element: etree._Element) -> bytes:
    return re.sub(rb"^<\w+|\w+>$", b"", etree.tostring(element, with_tail=False))


def test_time_is_linear() -> None:
    pair = b'<bx id="1"/>a <ex id="2"/><g id="3">b</g> <ph id="4"><sub>c</sub></ph>'
    begin, end = f"{HEAD}{FILE}<trans-unit><source>a ".encode(), f"</source></trans-unit>{TAIL}".encode()
    for pieces in (
        [begin, pair, end],
        [begin, b'<bx id="1"/>', end],
        [(HEAD + FILE).encode(), f"<trans-unit>{SEGMENTED}</trans-unit>".encode(), TAIL.encode()],
        [
            unit("<source>a ").encode().rpartition(b"</trans")[0],
            b'<bx id="1"/>',
            f"</source></trans-unit>{TAIL}".encode(),
        ],
    ):
        assert time_growth("a.xlf", pieces, 50) < 2.7
