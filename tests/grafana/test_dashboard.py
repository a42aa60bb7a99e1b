"""The dashboard against Grafana's own types (its foundation SDK), and against the metrics of the service.

No Grafana runs here: that it reads the file is tested, not what it draws. tests/deploy asks a Prometheus every query.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL, ROOT

sdk = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="pip install -e '.[test]'")
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: E402

GRAFANA = ROOT / "docker" / "grafana"
Json = Any


@pytest.fixture(scope="module")
def dashboard() -> Json:
    return json.loads((GRAFANA / "dashboards" / "sub3.json").read_text(encoding="utf-8"))


def lost(ours: Json, theirs: Json, path: str = "") -> Iterator[str]:
    """Yield where the second document lacks what the first one has."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            yield from lost(value, theirs.get(name), f"{path}/{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, (left, right) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(left, right, f"{path}/{place}")
    elif ours != theirs:
        yield path


def not_understood(dashboard: Json) -> list[str]:
    """Yield what Grafana's types lose between reading and writing: unknown fields, values of another type."""
    register_default_plugins()
    read = sdk.Dashboard.from_json(copy.deepcopy(dashboard))
    return list(lost(dashboard, json.loads(JSONEncoder().encode(read))))


def test_grafana_understands_all_of_it(dashboard):
    assert not_understood(dashboard) == []
    queries = [target for panel in sdk.Dashboard.from_json(dashboard).panels for target in panel.targets]
    assert {type(query).__module__ for query in queries} == {"grafana_foundation_sdk.models.prometheus"}


BREAKS: list[tuple[str, Callable[[Json], object]]] = [
    ("a misspelt field of the dashboard", lambda d: d.update(pannels=[])),
    ("a misspelt field of a panel", lambda d: d["panels"][0].update(titel="x")),
    ("a misspelt field of a query", lambda d: d["panels"][0]["targets"][0].update(exprr="up")),
    ("a field of a place", lambda d: d["panels"][0]["gridPos"].update(width=3)),
]


@pytest.mark.parametrize(("what", "harm"), BREAKS, ids=[what for what, _ in BREAKS])
def test_it_is_noticed(dashboard, what, harm):
    broken = copy.deepcopy(dashboard)
    harm(broken)
    assert len(not_understood(broken)) == 1


def test_its_queries_are_of_metrics_that_the_service_has(dashboard):
    queries = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    with TestClient(create_app(Settings(model_directory=DEFAULT_MODEL, state_file=None))) as client:
        exposed = client.get("/metrics").text
    known = set(re.findall(r"^# TYPE (\w+) ", exposed, re.M))
    named = set(re.findall(r"\bsub3_\w+", queries))
    assert len(named) > 10
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= known


def test_panels_ask_the_source_that_is_provisioned(dashboard):
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    asked = {json.dumps(target["datasource"]) for panel in dashboard["panels"] for target in panel["targets"]}
    assert asked == {json.dumps({"type": source["type"], "uid": source["uid"]})}


def test_panels_do_not_overlap(dashboard):
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24  # the columns of a dashboard
