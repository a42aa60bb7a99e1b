"""SECURITY.md states the limits as the settings have them."""

import re

import pytest

from service import settings as module
from service.settings import Settings
from tests.conftest import ROOT

TABLE = dict(re.findall(r"^\| `SUB3_(\w+)` \| (\d+) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE))
# Settings that bound something, but not what a client may do.
NOT_OF_CLIENTS = {"MAX_BATCH_ROWS", "MAX_BATCH_TOKENS", "MAX_ENCODE_TOKENS", "MEMORY_LIMIT_BYTES"}


def test_the_table_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "memory_limits", list)  # of a machine without limits, whatever this one has
    defaults = {
        name.upper(): field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()
    }
    assert {name: float(value) for name, value in TABLE.items()} == {name: defaults[name] for name in TABLE}


def test_every_limit_of_a_client_is_in_it() -> None:
    limits = {
        name.upper()
        for name in Settings.model_fields
        if re.match(r"max_|file_(?!.*name)", name) or name in ("header_seconds", "body_seconds", "write_seconds")
    }
    assert limits - NOT_OF_CLIENTS == TABLE.keys()
