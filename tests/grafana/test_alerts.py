"""The alerts: Prometheus reads them, they are of metrics that the server exports, the runbook has a section of each."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL, ROOT

ALERTS = ROOT / "docker/prometheus/alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
KINDS = {"Sub3Errors", "Sub3QueueFull", "Sub3Slow", "Sub3MemoryHigh", "Sub3SwapFailed"}


def test_prometheus_reads_them(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: apt-get install prometheus")
    for verb, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        done = subprocess.run([promtool, "check", verb, ALERTS.with_name(name)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_and_stay_quiet_as_they_should(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: apt-get install prometheus")
    series = {
        "Sub3Down": ['up{job="translate",instance="a"}', "0x20", "1x20"],
        "Sub3Errors": ['sub3_requests_total{instance="a",status="500",route="/v1/translate"}', "0+60x20", "0x20"],
        "Sub3QueueFull": ['sub3_failures_total{instance="a",reason="QueueFull"}', "0+5x20", "7x20"],
        "Sub3QueueLong": ['sub3_queue_tokens{instance="a"}', "20000x20", "100x20"],
        "Sub3MemoryHigh": ['sub3_process_resident_bytes{instance="a"}', "95x20", "80x20"],
        "Sub3SwapFailed": ['sub3_swaps_total{instance="a",result="failed"}', "0 0+1x19", "3x20"],
        "Sub3StoreDown": ['sub3_key_store_up{instance="a"}', "0x20", "1x20"],
    }
    tests = []
    for name, (metric, bad, good) in series.items():
        beside = [{"series": 'sub3_memory_limit_bytes{instance="a"}', "values": "100x20"}]
        beside += [
            {"series": 'sub3_requests_total{instance="a",status="200",route="/v1/translate"}', "values": "0+600x20"}
        ]
        for values, fires in ((bad, True), (good, False)):
            tests.append({"interval": "1m", "input_series": [{"series": metric, "values": values}, *beside]})
            tests[-1]["promql_expr_test"] = [  # type: ignore[assignment]
                {
                    "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                    "eval_time": "15m",
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                }
            ]
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_of_metrics_that_the_server_has() -> None:
    settings = Settings(model_directory=DEFAULT_MODEL, state_file=None, memory_limit_bytes=1 << 30)
    with TestClient(create_app(settings)) as client:
        exposed = client.get("/metrics").text
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)", exposed, re.M))
    for rule in RULES:
        named = set(re.findall(r"\bsub3_\w+", rule["expr"]))
        assert named or rule["expr"].startswith("up")
        for name in named:
            assert re.sub(r"_(bucket|sum|count)$", "", name) in types, name
            assert types.get(name) != "counter" or re.search(rf"(rate|increase)\({name}", rule["expr"]), name


def test_the_runbook_says_what_to_do() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text()
    names = [rule["alert"] for rule in RULES]
    assert set(names) >= KINDS
    assert re.findall(r"^## (\w+)$", runbook, re.M) == names
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in ("critical", "warning")
