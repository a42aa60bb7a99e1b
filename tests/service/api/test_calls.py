"""The headers of a request as a `Call`."""

import pytest
from fastapi import Request

from service.api.calls import call_of


def request(**headers: str) -> Request:
    named = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": named})


def test_headers_name_what_the_body_does_not() -> None:
    sent = request(X_Sub3_Config="header", X_Sub3_Model="header")
    assert (call_of(sent, "key").model, call_of(sent, "key").pin, call_of(sent, "key").key) == (
        "header",
        "header",
        "key",
    )
    assert call_of(sent, None, model="body").model == "body"
    assert call_of(sent, None, pin="body").pin == "body"
    empty = call_of(request(), None)
    assert (empty.key, empty.model, empty.pin, empty.timeout_ms) == (None, None, None, None)


@pytest.mark.parametrize(
    ("header", "milliseconds"),
    [("1", 1), ("30000", 30000), ("9" * 30, 9999999999), ("", 0), ("0", 0), ("-1", 0), ("1.5", 0), ("a", 0), ("²", 0)],
)
def test_a_time_out_is_a_whole_number_or_refused_as_0(header: str, milliseconds: int) -> None:
    assert call_of(request(X_Request_Timeout_Ms=header), None).timeout_ms == milliseconds
