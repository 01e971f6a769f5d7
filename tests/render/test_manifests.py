"""The Kubernetes manifests are valid to Kubernetes and KEDA, and agree with the program that they run."""

import copy
import importlib.metadata
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it has no py.typed
import pytest
import yaml

Render = Callable[..., Path]
Manifest = dict[str, Any]  # Any: YAML

BACKENDS = ("postgres", "postgres+pgbouncer")
WORKERS = {"worker": "procrastinate"}
KUBERNETES = ("1.30", ".".join(importlib.metadata.version("kubernetes-validate").split(".")[:2]))  # oldest, newest

# KEDA's own schemas come with no Python package that is maintained. These are what its postgresql scaler reads.
SCALER_READS = {"query", "targetQueryValue", "activationTargetQueryValue"}
SCALED_OBJECT_HAS = {
    *("scaleTargetRef", "pollingInterval", "initialCooldownPeriod", "cooldownPeriod", "idleReplicaCount"),
    *("minReplicaCount", "maxReplicaCount", "advanced", "triggers", "fallback"),
}


def manifests(project: Path) -> dict[str, list[Manifest]]:
    found = {path.name: list(yaml.safe_load_all(path.read_text())) for path in (project / "deploy").glob("*.yaml")}
    assert found
    return found


def only(project: Path, kind: str) -> Manifest:
    (found,) = [one for listed in manifests(project).values() for one in listed if one["kind"] == kind]
    return found


def pods(project: Path) -> Iterator[tuple[str, Manifest]]:
    """Yield the kind and the pod's spec of all that starts one."""
    for kind in ("CronJob", "Deployment", "Job"):
        spec = only(project, kind)["spec"]
        yield kind, spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("workers", [{}, WORKERS], ids=["none", "workers"])
def test_manifests_are_valid(render: Render, backend: str, workers: dict[str, str], release: str) -> None:
    validate(render(backend=backend, **workers), release)


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize("backend", ["valkey", "dynamodb"])
def test_manifests_of_stores_of_items_are_valid(render: Render, backend: str, release: str) -> None:
    validate(render(backend=backend), release)


def validate(project: Path, release: str) -> None:
    for listed in manifests(project).values():
        for manifest in listed:
            if not manifest["apiVersion"].startswith("keda.sh/"):
                kubernetes_validate.validate(manifest, release, strict=True)


def test_a_misspelt_field_is_noticed(render: Render) -> None:
    wrong = copy.deepcopy(only(render(**WORKERS), "Deployment"))
    pod = wrong["spec"]["template"]["spec"]
    pod["terminationGracePeriod"] = pod.pop("terminationGracePeriodSeconds")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[1], strict=True)


def test_manifests_come_with_their_answers(render: Render) -> None:
    always = {"migrate-job.yaml", "purge-cronjob.yaml"}
    assert manifests(render(backend="postgres")).keys() == always
    assert manifests(render(**WORKERS)).keys() == always | {"worker-deployment.yaml", "worker-scaledobject.yaml"}
    for workers in ({}, WORKERS):  # there are none, whatever was answered
        assert manifests(render(backend="valkey", **workers)).keys() == {"purge-cronjob.yaml"}
        assert manifests(render(backend="dynamodb", **workers)).keys() == always


def test_pods_on_aws_have_a_role_and_no_keys(render: Render) -> None:
    """The lesser role for what runs every night, and one of its own for what makes the table."""
    project = render(backend="dynamodb")
    accounts = {}
    for name, listed in manifests(project).items():
        (one,) = listed
        spec = one["spec"].get("jobTemplate", one)["spec"]["template"]["spec"]
        accounts[name] = spec["serviceAccountName"]
        assert not spec["automountServiceAccountToken"], "Kubernetes' own is not needed"
        (container,) = spec["containers"]
        given = {entry["name"] for entry in container["env"]}
        assert "DATABASE_URL" in given
        assert not [key for key in given if key.startswith("AWS_")]
    assert accounts == {"migrate-job.yaml": "support-agent-migrate", "purge-cronjob.yaml": "support-agent"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_pods_run_the_program_without_rights(render: Render, backend: str) -> None:
    project = render(backend=backend, **WORKERS)
    dockerfile = (project / "Dockerfile").read_text()
    for kind, pod in pods(project):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"], kind
        assert f"USER {pod['securityContext']['runAsUser']}" in dockerfile, kind
        assert container["securityContext"]["readOnlyRootFilesystem"], kind
        assert not container["securityContext"]["allowPrivilegeEscalation"], kind
        assert container["image"] == "support-agent:latest", kind
        assert "command" not in container, "the image's entry point is the program"
        given = {entry["name"] for entry in container["env"]}
        if "envFrom" not in container:
            assert "DATABASE_URL" in given, kind
            assert ("DATABASE_DIRECT_URL" in given) is (backend == "postgres+pgbouncer"), kind
        secrets = [one["secretRef"]["name"] for one in container.get("envFrom", [])]
        secrets += [one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"] if "valueFrom" in one]
        assert set(secrets) == {"support-agent"}, kind


def test_a_worker_has_time_to_hand_over_and_shows_its_life(render: Render) -> None:
    project = render(**WORKERS)
    source = (project / "src/support_agent/worker/process.py").read_text()
    constants = dict(re.findall(r'^([A-Z_]+) = "?([\w.]+)"?', source, re.MULTILINE))
    pod = only(project, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > float(constants["GRACE"]) + float(constants["MAINTENANCE_GRACE"]) + 5

    workdir = re.findall(r"^WORKDIR (.+)", (project / "Dockerfile").read_text(), re.MULTILINE)[-1]
    folder = f"{workdir}/.data"
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    assert set(mounts) == {folder, "/tmp"}
    assert pod["volumes"] == [{"name": mounts[path], "emptyDir": {}} for path in (folder, "/tmp")]
    assert container["startupProbe"]["exec"] == container["livenessProbe"]["exec"]
    *_, script = container["livenessProbe"]["exec"]["command"]
    assert f"{folder}/{constants['ALIVE']}" in script
    (age,) = re.findall(r"(\d+) seconds ago", script)
    assert int(age) >= 10 * float(constants["TOUCH"])
    assert "livenessProbe" not in yaml.safe_dump(only(project, "Job")), "a migration may take its time"


def test_one_of_the_two_purges(render: Render) -> None:
    """The worker's schedule, or the CronJob: both manifests say which, and have the same policy."""
    project = render(**WORKERS)
    names = ("AUDIT_WINDOW_DAYS", "PAUSED_TTL_DAYS", "HISTORY_KEEP")
    given = {
        kind: {one["name"]: one.get("value") for one in pod["containers"][0]["env"]} for kind, pod in pods(project)
    }
    assert [given["CronJob"][name] for name in names] == [given["Deployment"][name] for name in names]
    default = re.search(r'purge_schedule.*?"(.+?)"', (project / "src/support_agent/settings.py").read_text(), re.DOTALL)
    assert default
    assert given["Deployment"]["PURGE_SCHEDULE"] == default[1]
    assert "PURGE_SCHEDULE" in (project / "deploy" / "purge-cronjob.yaml").read_text()
    assert "PURGE_SCHEDULE" not in (render(backend="postgres") / "deploy" / "purge-cronjob.yaml").read_text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_keda_scales_the_workers(render: Render, backend: str) -> None:
    project = render(backend=backend, **WORKERS)
    deployment, scaled, login = (
        only(project, kind) for kind in ("Deployment", "ScaledObject", "TriggerAuthentication")
    )
    assert scaled["apiVersion"] == login["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert spec.keys() <= SCALED_OBJECT_HAS
    assert spec["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"], "somebody has to look after dead workers' runs"

    (trigger,) = spec["triggers"]
    assert trigger.keys() == {"type", "metadata", "authenticationRef"}
    assert (trigger["type"], trigger["authenticationRef"]) == ("postgresql", {"name": login["metadata"]["name"]})
    assert trigger["metadata"].keys() <= SCALER_READS
    (queue,) = re.findall(r'^QUEUE = "(.+)"', (project / "src/support_agent/worker/queue.py").read_text(), re.MULTILINE)
    assert f"queue_name = '{queue}'" in trigger["metadata"]["query"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes texts only"
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert int(trigger["metadata"]["targetQueryValue"]) * 1.1 < int(arguments[arguments.index("--concurrency") + 1])

    direct = backend == "postgres+pgbouncer"
    key = "DATABASE_DIRECT_URL" if direct else "DATABASE_URL"
    assert login["spec"] == {"secretTargetRef": [{"parameter": "connection", "name": "support-agent", "key": key}]}
