"""Subtitles of both kinds, and what players accept beside the format."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.files.opening import copied, texts, time_growth, translated

TIMES = "00:00:01,000 --> 00:00:02,000"


def shown(name: str, source: str) -> str:
    return translated(name, source.encode()).decode()


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("cue", "expected"),
    [
        ("Where are you going?\n\nMy old friend is here.", "WHERE ARE YOU GOING?\n\nMY OLD FRIEND IS HERE."),
        ("Where are you going\\Nmy old friend?", "WHERE ARE YOU GOING\\NMY OLD FRIEND?"),
        ("one two\\Nthree four\nfive six", "ONE TWO\\NTHREE FOUR\nFIVE SIX"),
        ("src\\new\\table is old", "SRC\\NEW\\TABLE IS OLD"),
        ("one two\\nthree", "ONE TWO\\nTHREE"),
        ("- Hello.\\N- Hi.", "- HELLO.\\N- HI."),
        ("<i>- Hello.</i>\n<i>- Hi.</i>", "<i>- HELLO.</i>\n<i>- HI.</i>"),
        ("{\\an8}How are you?", "{\\an8}HOW ARE YOU?"),
        ("{\\an8}{\\i1} How are you?{\\i0}", "{\\an8}{\\i1} HOW ARE YOU?{\\i0}"),
        ("{\\an8}", "{\\an8}"),
        ("one\\htwo", "ONE\\hTWO"),
        ("JOHN: Hi.\nMAN 2: Hello\nto you.", "JOHN: HI.\nMAN 2: HELLO\nTO YOU."),
        ("[MUSIC]\nCome here!\n♪ la la ♪\nWell.", "[MUSIC]\nCOME HERE!\n♪ LA LA ♪\nWELL."),
        ("Go --> there", "GO --> THERE"),
        ("1984", "1984"),
    ],
)
def test_cues(cue: str, expected: str, line_break: str) -> None:
    source, wanted = (
        f"\ufeff1\n{TIMES}\n{text}\n\n2\n{TIMES}\nend\n".replace("\n", line_break) for text in (cue, expected)
    )
    assert shown("a.srt", source) == wanted.replace("end", "END")
    assert copied("a.srt", source.encode()) == source.encode()


@pytest.mark.parametrize(
    ("cue", "expected"),
    [
        ("- Where are you\ngoing today?\n- Home.", ["- Where are you going today?", "- Home."]),
        ("Where are you\ngoing: home?", ["Where are you going: home?"]),
        ("<i>JOHN: one</i>\n<i>(sighs)</i>\ntwo\nthree", ["JOHN: one", "(sighs)", "two three"]),
        ("<v Bob>Hello.\n<v.loud Ann>How are\nyou?", ["Hello.", "How are you?"]),
    ],
)
def test_what_each_speaker_says_is_a_text(cue: str, expected: list[str]) -> None:
    found = texts("a.vtt", f"WEBVTT\n\n{TIMES}\n{cue}\n".encode())
    assert [text.removeprefix("- ") for text in found] == [text.removeprefix("- ") for text in expected]


def test_no_code_is_in_what_is_translated() -> None:
    source = f"1\n{TIMES}\n{{\\an8}}How are\\Nyou?\n2\n{TIMES}\n{{\\an8}}Fine\\h{{\\i1}}!\n3\n{TIMES}\n\n4\n{TIMES}\n"
    assert texts("a.srt", source.encode()) == ["How are you?", "Fine\u00a0{\\i1}!"]


def test_a_number_without_an_empty_line_before_it_is_no_text() -> None:
    source = f"1\n{TIMES}\none\n2\n{TIMES}\ntwo\n\n\n3\n{TIMES}\nthree"
    assert shown("a.srt", source) == source.replace("one", "ONE").replace("two", "TWO").replace("three", "THREE")


VTT = """WEBVTT - a title

NOTE
a note

STYLE
::cue { color: red }

1
00:01.000 --> 00:02.000 align:start
<v Ann>one <ruby>old<rt>very old</rt></ruby> house

and a second part

NOTE two
lines

the name of a cue
00:02.000 --> 00:03.000
two
00:03.000 --> 00:04.000
three &amp; four
"""


def test_vtt() -> None:
    expected = VTT
    for text in ("one", ">old", "very old", "house", "and a second part", "\ntwo\n", "three &", "four"):
        expected = expected.replace(text, text.upper())
    assert shown("a.vtt", VTT) == expected
    assert "very old" in texts("a.vtt", VTT.encode())  # a text of its own
    assert copied("a.vtt", VTT.encode()) == VTT.encode()


PIECES = ["ab", "é", " ", "<i>x</i>", "{\\an8}", "\\N", "-", "&amp;", ";", "1", "\n", "\nAB: ", "\n[a]", "\n<v b>"]
WORDS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(st.lists(WORDS, max_size=5), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["\n", "\n\n", "\n\n\n"]))
def test_times_numbers_and_codes_stay(cues: list[str], line_break: str, gap: str) -> None:
    for ending in (".srt", ".vtt"):
        whole = gap.join(f"{n}\n{TIMES}\n{cue}" for n, cue in enumerate(cues)).replace("\n", line_break)
        out = shown(f"a{ending}", whole)
        assert copied(f"a{ending}", whole.encode()) == whole.encode()
        assert [line for line in out.split(line_break) if "-->" in line] == [TIMES] * len(cues)
        assert sorted(re.findall(r"\d|[{}<>]", out)) == sorted(re.findall(r"\d|[{}<>]", whole))
        assert sorted(re.sub(r"\s", "", out).lower()) == sorted(re.sub(r"\s", "", whole).lower())


def test_time_is_linear() -> None:
    cue = "{\\an8} a\\Nb <ruby>a<rt>b</rt></ruby> {\\ "
    for middle in (cue, f"{cue}\n\n"):
        assert time_growth("a.vtt", [f"1\n{TIMES}\na ".encode(), middle.encode(), b"\n"], 20) < 2.7
