"""Forms, whose escapes are read a piece at a time: as the standard library reads them at once."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from service.api import fields

PARTS = ["a", "%41", "%C3%A4", "%e2%82%ac", "%", "%4", "%zz", "%C3", "+", "=", "&", "ä", "€", "\0", "%00", "%26", "%3d"]


def whole(encoded: bytes) -> list[tuple[str, str]] | None:
    try:
        return parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return None


def in_pieces(encoded: bytes) -> list[tuple[str, str]] | None:
    try:
        return fields._urlencoded(encoded)
    except HTTPException as error:
        return None if error.detail == "The form is not UTF-8." else []


@given(st.lists(st.sampled_from(PARTS), max_size=40).map("".join))
def test_forms(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fields, "_PIECE", 3)
        assert in_pieces(text.encode()) == whole(text.encode())


@pytest.mark.parametrize("text", ["%41", "a%41", "aa%41", "%C3%A4", "a%C3%A4", "aa%C3%A4", "%", "%%"])
def test_long_forms(text: str) -> None:
    encoded = b"q=" + text.encode() * 100_000
    assert in_pieces(encoded) == whole(encoded)


@pytest.mark.parametrize("encoded", [b"a=" + b"\xff", b"&" * fields.MAX_FIELDS, b"a=%ff"])
def test_what_is_no_form_is_refused(encoded: bytes) -> None:
    with pytest.raises(HTTPException) as caught:
        fields._urlencoded(encoded)
    assert caught.value.status_code == 400
