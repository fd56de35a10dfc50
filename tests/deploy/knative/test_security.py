"""Every pod has the least rights, and speaks to those alone whose addresses it is given."""

import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .environment import processes, settings, variables, volume_of
from .rendered import NAMESPACE, SERVING, Pod, Rendered, selects

KNATIVE = {"knative-serving", "kourier-system"}


def test_every_container_is_confined(overlay: Rendered) -> None:
    for pod in overlay.pods:
        of_pod = pod.spec.get("securityContext", {})
        for container in pod.containers:
            context = of_pod | container["securityContext"]
            assert context["runAsNonRoot"] is True, pod.name
            assert context["runAsUser"] > 0, pod.name
            assert context["runAsGroup"] > 0, pod.name
            assert context["allowPrivilegeEscalation"] is False, pod.name
            assert context["readOnlyRootFilesystem"] is True, pod.name
            assert context["capabilities"] == {"drop": ["ALL"]}, pod.name
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name


def test_a_knative_service_asks_for_no_feature_that_is_off_by_default(overlay: Rendered) -> None:
    """Confinement is the container's, since that of a pod is behind a feature flag."""
    allowed = {
        *("containers", "volumes", "serviceAccountName", "automountServiceAccountToken"),
        *("enableServiceLinks", "containerConcurrency", "timeoutSeconds"),
        "responseStartTimeoutSeconds",
    }
    for pod in overlay.functions:
        assert pod.spec.keys() <= allowed
        kinds = {kind for volume in pod.spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir"}


def test_every_process_of_ours_can_write_temporary_files(overlay: Rendered) -> None:
    for pod in processes(overlay):
        folder = variables(overlay, pod, pod.container).get("TMPDIR", "/tmp")  # noqa: S108
        volume, _ = volume_of(pod, PurePosixPath(folder)) or ({}, None)
        assert volume["emptyDir"]["sizeLimit"], pod.name


def test_every_account_has_a_workload_of_its_own(overlay: Rendered) -> None:
    users: dict[str, set[str]] = {}
    for pod in overlay.pods:
        if account := pod.spec.get("serviceAccountName"):
            users.setdefault(account, set()).add(pod.name)
    assert users.pop("alerts") == {"alerts", "alerts-grpc"}
    assert all(names == {account} for account, names in users.items())


def test_the_only_rights_are_to_create_secrets(overlay: Rendered) -> None:
    assert overlay.of("ClusterRole") == overlay.of("ClusterRoleBinding") == []
    rules = [rule for role in overlay.of("Role") for rule in role["rules"]]
    create = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    assert rules == ([create] if overlay.overlay == "dev" else [])


def policies(overlay: Rendered, pod: Pod, direction: str) -> list[dict[str, Any]]:
    return [
        p["spec"]
        for p in overlay.of("NetworkPolicy")
        if direction in p["spec"]["policyTypes"] and selects(p["spec"]["podSelector"], pod.labels)
    ]


def test_nothing_is_open_in_the_network_by_default(overlay: Rendered) -> None:
    for pod in overlay.pods:
        for direction in ("Ingress", "Egress"):
            assert policies(overlay, pod, direction), f"{pod.name}: {direction}"
        for policy in policies(overlay, pod, "Ingress"):
            assert all(rule.get("from") for rule in policy.get("ingress", [])), pod.name


def test_strimzi_pods_are_left_to_its_own_policies(overlay: Rendered) -> None:
    labels = {"app.kubernetes.io/part-of": "twinup-sensors", "strimzi.io/cluster": "kafka"}
    for policy in overlay.of("NetworkPolicy"):
        assert not selects(policy["spec"]["podSelector"], labels), policy["metadata"]["name"]


def allowed(overlay: Rendered, pod: Pod, namespace: str | None, port: int) -> bool:
    """Whether a pod may call that port in a namespace (None: outside of the cluster)."""
    for policy in policies(overlay, pod, "Egress"):
        for rule in policy.get("egress", []):
            ports = {entry["port"] for entry in rule.get("ports", [])}
            if ports and port not in ports:
                continue
            for peer in rule.get("to", []):
                labels = {"kubernetes.io/metadata.name": namespace or ""}
                if "ipBlock" in peer and namespace is None:
                    return True
                if "podSelector" in peer and namespace == NAMESPACE:
                    return True
                if "namespaceSelector" in peer and selects(peer["namespaceSelector"], labels):
                    return True
    return False


def test_knative_reaches_every_function_and_nobody_else_but_prometheus(overlay: Rendered) -> None:
    for pod in overlay.functions:
        callers = {}
        for policy in policies(overlay, pod, "Ingress"):
            for rule in policy.get("ingress", []):
                ports = [entry["port"] for entry in rule.get("ports", [])]
                for peer in rule["from"]:
                    for name in (*KNATIVE, "monitoring", "elsewhere", NAMESPACE):
                        labels = {"kubernetes.io/metadata.name": name}
                        if selects(peer["namespaceSelector"], labels):
                            callers[name] = ports
        assert callers == {name: [] for name in KNATIVE} | {"monitoring": [8080]}, pod.name


def calls(given: Any) -> set[tuple[str, int]]:
    """Hosts and ports that a process's settings name."""
    found = set()
    for part in ("clickhouse", "redis", "mqtt", "smtp"):
        if section := getattr(given, part, None):
            found.add((section.host, section.port))
    if kafka := getattr(given, "kafka", None):
        host, _, port = kafka.brokers.partition(":")
        found.add((host, int(port)))
    if jwks := getattr(given, "jwks", None):
        url = urlsplit(jwks.url)
        found.add((url.hostname, url.port or 80))
    if target := getattr(getattr(given, "alerts", None), "target", None):
        host, _, port = target.partition(":")
        found.add((host, int(port)))
    return found


def test_each_process_may_reach_what_it_is_told_to(overlay: Rendered, tmp_path: Path) -> None:
    """An address is a Service of the overlay, one of another namespace, or outside."""
    for pod in processes(overlay):
        for host, port in calls(settings(overlay, pod, tmp_path)):
            name, _, rest = host.partition(".")
            elsewhere = re.match(r"([a-z-]+)\.svc(\.cluster\.local)?$", rest)
            namespace = NAMESPACE if not rest else elsewhere[1] if elsewhere else None
            where = f"{pod.name} to {host}:{port}"
            if name in overlay.names("Service", SERVING) and namespace == NAMESPACE:
                assert port == 80, where
                assert all(allowed(overlay, pod, knative, 8081) for knative in KNATIVE), where
                continue
            assert allowed(overlay, pod, namespace, port), where
            if namespace == NAMESPACE:
                bootstrap = {f"{kafka}-kafka-bootstrap" for kafka in overlay.names("Kafka")}
                assert name in overlay.names("Service", "v1") | bootstrap, where


def test_no_process_may_reach_a_part_that_it_is_not_told_of(
    overlay: Rendered, tmp_path: Path
) -> None:
    told = {pod.name: calls(settings(overlay, pod, tmp_path)) for pod in processes(overlay)}
    everything = set().union(*told.values())
    for pod in processes(overlay):
        for host, port in everything - told[pod.name]:
            rest = host.partition(".")[2]
            elsewhere = re.match(r"([a-z-]+)\.svc$", rest)
            if host.endswith(".svc.cluster.local"):
                continue  # Knative's gateway, which tells Services apart by name
            namespace = NAMESPACE if not rest else elsewhere[1] if elsewhere else None
            assert not allowed(overlay, pod, namespace, port), f"{pod.name} to {host}:{port}"


def test_a_part_of_development_takes_calls_at_its_port(dev: Rendered) -> None:
    for service in dev.of("Service", "v1"):
        (pod,) = (
            p for p in dev.pods if selects({"matchLabels": service["spec"]["selector"]}, p.labels)
        )
        taken = {
            port["port"]
            for policy in policies(dev, pod, "Ingress")
            for rule in policy.get("ingress", [])
            for port in rule["ports"]
        }
        assert service["spec"]["ports"][0]["port"] in taken, pod.name
