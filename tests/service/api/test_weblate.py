"""Weblate's machinery of DeepL, LibreTranslate and LTEngine, in an environment of its own: `make test-clients`."""

import json
import subprocess

import pytest

from tests.service.api.conftest import HOUSE, TREE
from tests.service.environments import interpreter
from tests.service.npm_clients import CLIENTS
from tests.service.running import Server

# Weblate asks for Python 3.12; what of it is imported here runs on 3.11, over the newest Django that does.
NEEDS = (
    "django>=5.2,<6 httpx2>=2,<3 python-dateutil siphashc",
    "--no-deps --no-compile --ignore-requires-python weblate==2026.10.1",
)

pytestmark = pytest.mark.campaign


def test_weblate_s_machinery_translates(server: Server, german: dict[str, str]) -> None:
    command = [interpreter("weblate", *NEEDS), CLIENTS / "weblate_machinery.py", server.url, HOUSE, TREE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    both = [german[HOUSE], german[TREE]]
    assert results["LibreTranslate"] == results["LTEngine"] == [["en", "de"], both]
    deepl = results["deepl"]
    assert deepl["languages"] == [["EN", "DE"], ["EN", "EN"]]  # Weblate adds EN to the targets
    assert deepl["write"] == [True, []]
    assert deepl["rephrased as"] is None
    assert deepl["translated"] == both
    assert deepl["marked"] == [f'{german[HOUSE]} <x id="7"></x>']
    assert deepl["glossary languages"] == [True, False]
    (made, again, other) = deepl["with glossaries"]
    assert made == again
    assert "Haus" in made[0]
    assert other == [german[HOUSE], made[1]]  # the stale one was changed
    assert len(made[1]) == 1
    assert deepl["left"] == {}
    assert deepl["unknown"] == "does not exist"
    assert deepl["refusal"] == "Value for 'target_lang' not supported."
