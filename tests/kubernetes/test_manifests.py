"""The manifests against the schemas that Kubernetes, KEDA and the Prometheus operator publish, and against the service.

No cluster runs here: that they are accepted as they are written is tested, not what a cluster makes of them.
"""

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL, ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate")
yaml = pytest.importorskip("yaml")

MANIFESTS = ROOT / "docker" / "kubernetes"
OVERLAYS = ["cpu", "queue"]
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
HERE = Path(__file__).parent
NAME = {"app.kubernetes.io/name": "sub3"}
Resource = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def resources(request) -> list[Resource]:
    """Render what `kubectl apply -k` would send."""
    tool = next((name for name in ("kubectl", "kustomize") if shutil.which(name)), None)
    if tool is None:
        pytest.skip("neither kubectl nor kustomize is here")
    verb = "kustomize" if tool == "kubectl" else "build"
    done = subprocess.run([tool, verb, MANIFESTS / request.param], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def of_kind(resources: list[Resource], kind: str) -> Resource:
    return next(resource for resource in resources if resource["kind"] == kind)


def is_custom(resource: Resource) -> bool:
    return resource["kind"] in ("ScaledObject", "ServiceMonitor")


def fault(resource: Resource, version: str = VERSIONS[-1]) -> str | None:
    """Yield what the published schema finds wrong; unknown fields are wrong in Kubernetes' own kinds."""
    if is_custom(resource):
        if not (HERE / "node_modules" / "@kubernetes-models").is_dir():
            pytest.skip("the operators' schemas are not installed: npm ci --prefix tests/kubernetes")
        command = ["node", HERE / "validate.js"]
        done = subprocess.run(command, input=json.dumps([resource]), capture_output=True, text=True, check=True)
        found: str | None = json.loads(done.stdout)[0]
        return found
    try:
        kubernetes_validate.validate(resource, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return None


@pytest.mark.parametrize("path", sorted(MANIFESTS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_file_is_a_resource_of_its_own(path):
    documents = list(yaml.safe_load_all(path.read_text()))
    assert len(documents) == 1
    if path.stem != "kustomization":
        overlay = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
        assert path.name in overlay["resources"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_published_schemas_accept_them(resources, version):
    own = [resource for resource in resources if not is_custom(resource)]
    assert len(own) >= 6
    assert {resource["kind"]: fault(resource, version) for resource in own} == {r["kind"]: None for r in own}


def test_the_operators_schemas_accept_them(resources):
    custom = [resource for resource in resources if is_custom(resource)]
    assert {resource["kind"]: fault(resource) for resource in custom} == {r["kind"]: None for r in custom}


def _probe(resource: Resource) -> Resource:
    return resource["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]


BREAKS: list[tuple[str, str, Callable[[Resource], object]]] = [
    ("Deployment", "a misspelt field", lambda r: r["spec"]["template"]["spec"].update(serviceAcountName="x")),
    ("Deployment", "a number in words", lambda r: _probe(r).update(periodSeconds="two")),
    ("Deployment", "no selector", lambda r: r["spec"].pop("selector")),
    ("Deployment", "no template", lambda r: r["spec"].pop("template")),
    ("Service", "a port without a number", lambda r: r["spec"]["ports"][0].pop("port")),
    ("PodDisruptionBudget", "a selector that is none", lambda r: r["spec"].update(selector="sub3")),
    ("NetworkPolicy", "a rule that is no list", lambda r: r["spec"].update(ingress={})),
    ("HorizontalPodAutoscaler", "no upper bound", lambda r: r["spec"].pop("maxReplicas")),
    ("HorizontalPodAutoscaler", "a metric without a type", lambda r: r["spec"]["metrics"][0].pop("type")),
    ("ScaledObject", "no target", lambda r: r["spec"].pop("scaleTargetRef")),
    (
        "ScaledObject",
        "a threshold that is no string",
        lambda r: r["spec"]["triggers"][0]["metadata"].update(threshold=5),
    ),
    ("ScaledObject", "a trigger without a type", lambda r: r["spec"]["triggers"][0].pop("type")),
    ("ServiceMonitor", "no selector", lambda r: r["spec"].pop("selector")),
    ("ServiceMonitor", "a port that is no name", lambda r: r["spec"]["endpoints"][0].update(port=8080)),
]


@pytest.mark.parametrize(("kind", "what", "harm"), BREAKS, ids=[f"{kind}, {what}" for kind, what, _ in BREAKS])
def test_a_broken_one_is_refused(resources, kind, what, harm):
    if kind not in {resource["kind"] for resource in resources}:
        pytest.skip(f"this overlay has no {kind}")
    broken = copy.deepcopy(of_kind(resources, kind))
    assert fault(broken) is None
    harm(broken)
    assert fault(broken) is not None


def test_the_container_may_do_nothing(resources):
    pod = of_kind(resources, "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


def test_they_speak_of_this_service(resources, monkeypatch):
    """Probes and scrapes meet routes, settings exist, the queue's metric is one that the service has."""
    deployment = of_kind(resources, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    app = create_app(Settings(model_directory=DEFAULT_MODEL, state_file=None))
    routes = set(app.openapi()["paths"]) | {"/metrics"}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in routes
        assert container[probe]["httpGet"]["port"] in {port["name"] for port in container["ports"]}
    settings = of_kind(resources, "ConfigMap")
    assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]
    names = {*settings["data"], *(entry["name"] for entry in container["env"])}
    assert names <= {f"SUB3_{name.upper()}" for name in Settings.model_fields}
    for name, value in settings["data"].items():
        monkeypatch.setenv(name, value)
    ours = Settings()
    assert ours.drain_seconds + ours.shutdown_seconds < pod["terminationGracePeriodSeconds"]
    # Services put NAME_PORT=tcp://... into the environment of pods; sub3's would be read as our setting
    assert pod["enableServiceLinks"] is False
    if scaled := [resource for resource in resources if resource["kind"] == "ScaledObject"]:
        query = scaled[0]["spec"]["triggers"][0]["metadata"]["query"]
        assert "sub3_queue_tokens{" in query
        with TestClient(app) as client:
            assert "\nsub3_queue_tokens " in client.get("/metrics").text


def test_selectors_meet_the_pods(resources):
    deployment = of_kind(resources, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert NAME.items() <= labels.items()
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        of_kind(resources, "Service")["spec"]["selector"],
        of_kind(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for scaler in (resource for resource in resources if resource["kind"] == kind):
            assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
            assert "replicas" not in deployment["spec"], "an applied manifest would undo the autoscaler's number"
    for monitor in (resource for resource in resources if resource["kind"] == "ServiceMonitor"):
        service = of_kind(resources, "Service")
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert all(selector == NAME for selector in selectors)
    assert len([r for r in resources if r["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]) == 1
