"""The files in deploy/ match their schemas, the code and each other; nothing is started."""

import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from artifacts import artifact_names
from serving.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
GPU = DEPLOY / "kubernetes-gpu"
VERSIONS = ("1.30", "1.37")


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def manifests() -> list[Path]:
    return [KUBERNETES / name for name in load(KUBERNETES / "kustomization.yaml")["resources"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", manifests(), ids=lambda path: path.name)
def test_manifests_fit_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    kubernetes_validate.validate(load(path), version, strict=True)


def test_a_misspelt_field_does_not_fit() -> None:
    broken = load(KUBERNETES / "deployment.yaml")
    broken["spec"]["replica"] = broken["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_every_manifest_is_listed() -> None:
    files = {path.name for path in KUBERNETES.glob("*.yaml")}
    assert {path.name for path in manifests()} == files - {"kustomization.yaml"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", [KUBERNETES, GPU], ids=lambda path: path.name)
def test_kubectl_builds_manifests_that_fit(folder: Path) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert len(built) == len(manifests())
    for manifest in built:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_no_kustomization_lies_below_its_base() -> None:
    (base,) = load(GPU / "kustomization.yaml")["resources"]
    assert (GPU / base).resolve() == KUBERNETES
    assert KUBERNETES not in GPU.parents  # kubectl takes that for a cycle


def test_the_patch_for_gpus_fits() -> None:
    (patch,) = load(GPU / "kustomization.yaml")["patches"]
    deployment = deepcopy(load(KUBERNETES / "deployment.yaml"))
    for change in yaml.safe_load(patch["patch"]):
        *parents, last = [p.replace("~1", "/") for p in change["path"].split("/")[1:]]
        place: Any = deployment
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if last == "-":
            place.append(change["value"])
        else:
            place[int(last) if isinstance(place, list) else last] = change["value"]
    kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names)) == 5
    assert container["env"][names.index("VITRINE_WORKERS")]["value"] == "1"
    assert container["env"][names.index("VITRINE_DEVICE")]["value"] == "cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_compose_gives_the_service_a_gpu() -> None:
    service = load(DEPLOY / "compose.gpu.yaml")["services"]["vitrine"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert service["environment"] == {"VITRINE_DEVICE": "cuda", "VITRINE_WORKERS": "1"}


def predictor() -> tuple[dict[str, Any], dict[str, Any]]:
    """What KServe adds to the description of a pod, and the description itself."""
    spec = dict(load(DEPLOY / "kserve.yaml")["spec"]["predictor"])
    names = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout")
    return {name: spec.pop(name) for name in names}, spec


def test_the_pods_of_kserve_are_those_of_the_deployment() -> None:
    _, spec = predictor()
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vitrine"}, "spec": spec}
    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    expected = load(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
    (container,), (other,) = spec.pop("containers"), expected.pop("containers")
    assert spec == expected
    (port,) = container.pop("ports")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"].pop("port") == port["containerPort"] == 3000
        assert other[probe]["httpGet"].pop("port")
        assert container[probe] == other[probe]
    for field in ("lifecycle", "resources", "securityContext", "volumeMounts"):
        assert container[field] == other[field]
    assert container["name"] == "kserve-container"


def test_kserve_serves_models_that_there_are() -> None:
    service = load(DEPLOY / "kserve.yaml")
    assert (service["apiVersion"], service["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    own, spec = predictor()
    environment = {each["name"]: each["value"] for each in spec["containers"][0]["env"]}
    assert set(environment["VITRINE_MODELS"].split()) <= set(artifact_names())
    assert own["timeout"] == longest_request(environment)


def test_replicas_are_scaled_by_a_metric_that_is_served() -> None:
    pods, _ = load(KUBERNETES / "autoscaler.yaml")["spec"]["metrics"]
    name = pods["pods"]["metric"]["name"]
    (rule,) = load(DEPLOY / "adapter.yaml")["rules"]["custom"]
    assert rule["seriesQuery"].split("{")[0] == name
    assert name in (DEPLOY / "grafana.json").read_text()  # whose metrics are those of the server


def test_pods_are_confined_and_watched() -> None:
    pod = load(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    paths = {probe: container[probe]["httpGet"]["path"] for probe in container if "Probe" in probe}
    assert paths == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }


def longest_request(environment: dict[str, str]) -> int:
    """The seconds that a request may take, which a server that stops waits for."""
    default: int = Settings.model_fields["timeout"].default
    return int(environment.get(f"{PREFIX}TIMEOUT", default))


def test_pods_may_finish_their_requests() -> None:
    pod = load(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    program, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert pod["terminationGracePeriodSeconds"] > int(pause) + longest_request(given)


def test_compose_lets_the_service_finish_its_requests() -> None:
    service = load(DEPLOY / "compose.yaml")["services"]["vitrine"]
    grace = re.fullmatch(r"(\d+)s", service["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) > longest_request(service["environment"])


def test_no_probe_gives_up_before_a_server_can_be_ready() -> None:
    pod = load(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600  # a large gallery is read
    port = container["ports"][0]["name"]
    assert all(container[p]["httpGet"]["port"] == port for p in container if "Probe" in p)
    assert load(KUBERNETES / "service.yaml")["spec"]["ports"][0]["targetPort"] == port


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("compose-spec", "deploy/compose.yaml"),
        ("compose-spec", "deploy/compose.gpu.yaml"),
        ("compose-spec", "deploy/compose.pgvector.yaml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_files_fit_their_schemas(schema: str, path: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, ROOT / path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_compose_asks_for_is_in_the_example_of_settings() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    given = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert asked == given


def test_settings_are_those_of_the_docs() -> None:
    known = set(re.findall(r"`(VITRINE_[A-Z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    text = "".join(path.read_text() for path in (*manifests(), DEPLOY / "compose.yaml"))
    assert set(re.findall(r"VITRINE_[A-Z_]+", text)) <= known


def test_settings_are_those_that_the_server_reads() -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {"VITRINE_ARTIFACTS"}
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    named = {path: set(re.findall(r"VITRINE_[A-Z_]+", path.read_text())) for path in files}
    assert not {path.name: names - known for path, names in named.items() if names - known}
    assert any(named.values())


def test_addresses_lead_to_services_of_the_compose_file() -> None:
    services = load(DEPLOY / "compose.yaml")["services"]
    (job,) = load(DEPLOY / "prometheus.yml")["scrape_configs"]
    (source,) = load(DEPLOY / "grafana" / "datasource.yaml")["datasources"]
    hosts = [job["static_configs"][0]["targets"][0], source["url"].removeprefix("http://")]
    assert {host.split(":")[0] for host in hosts} <= set(services)
    assert "@database/" in services["vitrine"]["environment"]["VITRINE_DATABASE"]


def test_grafana_is_given_the_dashboard() -> None:
    mounts = [
        mount.split(":")
        for mount in load(DEPLOY / "compose.yaml")["services"]["grafana"]["volumes"]
    ]
    inside = {place: DEPLOY / source for source, place, *_ in mounts if source.startswith("./")}
    assert all(source.is_file() for source in inside.values())
    (provider,) = load(DEPLOY / "grafana" / "dashboards.yaml")["providers"]
    folder = provider["options"]["path"]
    assert inside[f"{folder}/vitrine.json"] == DEPLOY / "grafana.json"
