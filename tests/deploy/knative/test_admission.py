"""Rules that Knative's webhooks have beyond their schemas; what breaks one is refused whole."""

import re

from .rendered import SERVING, Rendered

RESERVED_PATHS = {"/", "/dev", "/dev/log", "/tmp", "/var", "/var/log"}  # noqa: S108
RESERVED_VARIABLES = {"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"}
RESERVED_PORTS = {8012, 8013, 8022, 8112, 9090, 9091, 8008}


def test_nothing_is_mounted_at_a_reserved_path(overlay: Rendered) -> None:
    for pod in overlay.functions:
        paths = [mount["mountPath"].rstrip("/") for mount in pod.container["volumeMounts"]]
        assert not RESERVED_PATHS & set(paths), pod.name
        assert len(paths) == len(set(paths)), pod.name


def test_secrets_and_config_maps_are_mounted_read_only(overlay: Rendered) -> None:
    for pod in overlay.functions:
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for mount in pod.container["volumeMounts"]:
            assert mount.get("readOnly") or "emptyDir" in volumes[mount["name"]], pod.name


def test_a_readiness_probe_without_a_period_has_no_other_times(overlay: Rendered) -> None:
    """It is Knative's own quick one then, and its webhook refuses a timeout or threshold."""
    for pod in overlay.functions:
        probe = pod.container["readinessProbe"]
        times = {"timeoutSeconds", "failureThreshold"} & probe.keys()
        assert "periodSeconds" in probe or not times, pod.name


def test_each_service_has_one_port_of_a_known_protocol(overlay: Rendered) -> None:
    for pod in overlay.functions:
        (port,) = pod.container["ports"]
        assert port["name"] in {"http1", "h2c"}, pod.name
        assert port["containerPort"] not in RESERVED_PORTS, pod.name


def test_no_variable_of_knative_is_set(overlay: Rendered) -> None:
    for pod in overlay.functions:
        names = {entry["name"] for entry in pod.container["env"]}
        assert not names & RESERVED_VARIABLES, pod.name


def test_scale_is_told_in_annotations_that_knative_knows(overlay: Rendered) -> None:
    """Of the revision, in whole numbers as strings, at least not above at most."""
    known = {f"autoscaling.knative.dev/{k}" for k in ("min-scale", "max-scale", "metric", "target")}
    for service in overlay.of("Service", SERVING):
        notes = service["spec"]["template"]["metadata"]["annotations"]
        assert notes.keys() == known
        assert notes["autoscaling.knative.dev/metric"] == "concurrency"
        numbers = [v for k, v in notes.items() if not k.endswith("metric")]
        assert all(isinstance(v, str) and re.fullmatch(r"[1-9]\d*", v) for v in numbers)
    for pod in overlay.functions:
        notes = pod.owner["spec"]["template"]["metadata"]["annotations"]
        assert pod.replicas[0] <= pod.replicas[1]
        assert int(notes["autoscaling.knative.dev/target"]) <= pod.spec["containerConcurrency"]
