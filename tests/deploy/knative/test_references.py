"""Whatever an object refers to is there: in the overlay, or on the README's list."""

import re
from pathlib import Path
from typing import Any

import yaml

from sensor_shared.contracts.events import ALERT_CHANGES, SENSOR_ALERTS, SENSOR_DATA

from . import contract
from .environment import EXTERNAL_CONFIG_MAPS
from .rendered import NAMESPACE, ROOT, SERVING, Manifest, Rendered, selects

OURS = {"ghcr.io/example/twinup-functions", "ghcr.io/example/twinup-tools"}
EXAMPLES = {"clickhouse/clickhouse-server", "redis", "eclipse-mosquitto", "axllent/mailpit"}
BOOTSTRAP = re.compile(
    r"^(?P<cluster>[a-z-]+)-kafka-bootstrap(?:\.(?P<namespace>[a-z-]+)\.svc)?:9092$"
)


def find(thing: Any, key: str) -> list[Any]:
    """Every value of a key, however deep."""
    if isinstance(thing, dict):
        return [v for k, v in thing.items() if k == key] + [
            found for value in thing.values() for found in find(value, key)
        ]
    if isinstance(thing, list):
        return [found for value in thing for found in find(value, key)]
    return []


def sources(rendered: Rendered) -> list[Manifest]:
    return rendered.of("KafkaSource") + rendered.of("PingSource")


def test_the_wiring_is_that_of_the_dispatcher_but_for_addresses(overlay: Rendered) -> None:
    written = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "eventing").glob("[0-9]*.yaml"))
    ]
    kinds = {thing["kind"] for thing in written}
    deployed = [thing for thing in overlay.objects if thing["kind"] in kinds]
    assert len(deployed) == len(written)
    for thing in written:
        same = overlay.one(thing["kind"], thing["metadata"]["name"])
        address = {"bootstrapServers": same["spec"].get("bootstrapServers")}
        assert same["spec"] | address == thing["spec"] | address, thing["metadata"]["name"]


def test_every_sink_is_there(overlay: Rendered) -> None:
    references = [ref for thing in overlay.objects for ref in find(thing.get("spec"), "ref")]
    assert len(references) == len(sources(overlay)) + len(overlay.of("KafkaSource"))
    for ref in references:
        sink = overlay.one(ref["kind"], ref["name"], ref["apiVersion"])
        assert sink["metadata"]["namespace"] == NAMESPACE


def test_only_auth_and_gateway_are_reached_from_outside(overlay: Rendered) -> None:
    label = "networking.knative.dev/visibility"
    public = {
        o["metadata"]["name"]
        for o in overlay.of("Service", SERVING)
        if o["metadata"]["labels"].get(label) != "cluster-local"
    }
    assert public == {"auth", "gateway"}
    assert {o["spec"].get("type", "ClusterIP") for o in overlay.of("Service", "v1")} <= {
        "ClusterIP"
    }


def test_everything_is_in_a_namespace_that_is_there_or_kafkas(overlay: Rendered) -> None:
    assert overlay.names("Namespace") == {NAMESPACE}
    elsewhere = {
        (o["kind"], o["metadata"]["namespace"])
        for o in overlay.objects
        if o["kind"] != "Namespace" and o["metadata"]["namespace"] != NAMESPACE
    }
    assert elsewhere == ({("KafkaTopic", "kafka")} if overlay.overlay == "production" else set())


def test_every_secret_and_key_is_on_the_list(overlay: Rendered) -> None:
    used = set()
    for pod in overlay.pods:
        for ref in find(pod.spec, "secretKeyRef"):
            assert ref["key"] in contract.listed()[ref["name"]], pod.name
            used.add(ref["name"])
        names = [ref["name"] for ref in find(pod.spec, "secretRef")]
        names += [secret["secretName"] for secret in find(pod.spec, "secret")]
        assert set(names) <= contract.listed().keys(), pod.name
        used |= set(names)
    assert used == contract.listed().keys()


def test_development_makes_every_secret_on_the_list(dev: Rendered) -> None:
    made = {name: frozenset(values) for name, values in contract.fresh().items()}
    listed = contract.listed()
    assert made == {name: listed[name] for name in listed.keys() - contract.OUTSIDE}


def test_every_config_map_and_key_is_there(overlay: Rendered) -> None:
    used = set()
    for pod in overlay.pods:
        for ref in find(pod.spec, "configMapKeyRef"):
            assert ref["key"] in overlay.data(ref["name"])
            used.add(ref["name"])
        refs = find(pod.spec, "configMapRef") + find(pod.spec, "configMap")
        used |= {ref["name"] for ref in refs}
    external = set(EXTERNAL_CONFIG_MAPS) if overlay.overlay == "production" else set()
    assert used == overlay.names("ConfigMap") | external
    for name in external:
        assert f"configmap {name} " in contract.README.read_text(encoding="utf-8")


def test_every_generated_config_map_carries_its_hash(overlay: Rendered) -> None:
    """So that a change of it is a new revision."""
    assert overlay.names("ConfigMap")
    for name in overlay.names("ConfigMap"):
        assert re.search(r"-[a-z0-9]{10}$", name), name


def test_every_account_is_there_and_has_a_token_only_with_rights(overlay: Rendered) -> None:
    bound = {s["name"] for binding in overlay.of("RoleBinding") for s in binding["subjects"]}
    for binding in overlay.of("RoleBinding"):
        assert binding["roleRef"]["name"] in overlay.names(binding["roleRef"]["kind"])
    used = set()
    for pod in overlay.pods:
        account = pod.spec.get("serviceAccountName")
        used |= {account} - {None}
        assert pod.spec["automountServiceAccountToken"] is (account in bound), pod.name
    assert used == overlay.names("ServiceAccount")
    for account in overlay.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_every_claim_and_mount_is_there(overlay: Rendered) -> None:
    claims = set()
    for pod in overlay.pods:
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        claims |= {c["claimName"] for c in find(pod.spec, "persistentVolumeClaim")}
        templates = pod.owner["spec"].get("volumeClaimTemplates", [])
        volumes |= {template["metadata"]["name"] for template in templates}
        mounted = {m["name"] for c in pod.containers for m in c.get("volumeMounts", [])}
        assert mounted == volumes, pod.name
    assert claims == overlay.names("PersistentVolumeClaim")


def test_every_port_is_there(overlay: Rendered) -> None:
    for pod in overlay.pods:
        for probe in ("readinessProbe", "livenessProbe"):
            for way in ("httpGet", "tcpSocket", "grpc"):
                port = pod.container.get(probe, {}).get(way, {}).get("port")
                # alerts-grpc answers HTTP beside the one port that Knative lets a Service name.
                known = {*pod.ports, *pod.ports.values(), 8080}
                assert port is None or port in known, f"{pod.name}: {probe}"
    for service in overlay.of("Service", "v1"):
        (pod,) = (
            p
            for p in overlay.pods
            if selects({"matchLabels": service["spec"]["selector"]}, p.labels)
        )
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in pod.ports, service["metadata"]["name"]
    for monitor in overlay.of("PodMonitor"):
        pods = [p for p in overlay.pods if selects(monitor["spec"]["selector"], p.labels)]
        assert pods, monitor["metadata"]["name"]
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert all(endpoint["port"] in pod.ports for pod in pods)


def test_every_process_with_metrics_is_scraped(overlay: Rendered) -> None:
    scraped = {
        pod.name
        for monitor in overlay.of("PodMonitor")
        for pod in overlay.pods
        if selects(monitor["spec"]["selector"], pod.labels)
    }
    expected = {pod.name for pod in overlay.functions}
    assert scraped == (expected | {"producer"} if overlay.overlay == "dev" else expected)


def test_every_selector_takes_a_pod(overlay: Rendered) -> None:
    for kind, key in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        for thing in overlay.of(kind):
            assert any(selects(thing["spec"][key], pod.labels) for pod in overlay.pods), thing
    for kind in ("Deployment", "StatefulSet"):
        for thing in overlay.of(kind):
            labels = thing["spec"]["template"]["metadata"]["labels"]
            assert selects(thing["spec"]["selector"], labels)


def test_every_image_is_ours_or_an_example_by_version(overlay: Rendered) -> None:
    version = re.search(
        r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert version is not None
    images = {c["image"] for pod in overlay.pods for c in pod.containers}
    named = dict(image.rsplit(":", 1) for image in images)
    assert named.keys() == (OURS | EXAMPLES if overlay.overlay == "dev" else OURS)
    for image, tag in named.items():
        assert tag == version[1] if image in OURS else re.match(r"v?\d+\.\d+", tag), image


def test_every_topic_that_is_used_is_created(overlay: Rendered) -> None:
    used = {topic for source in overlay.of("KafkaSource") for topic in source["spec"]["topics"]}
    used |= {sink["spec"]["topic"] for sink in overlay.of("KafkaSink")}
    used |= {SENSOR_DATA, SENSOR_ALERTS, ALERT_CHANGES}
    assert overlay.names("KafkaTopic") == used


def test_topics_keep_what_those_of_one_machine_keep(overlay: Rendered) -> None:
    local = yaml.safe_load((ROOT / "infra/local/topics.yaml").read_text(encoding="utf-8"))
    assert overlay.names("KafkaTopic") == set(local)
    for name, fields in local.items():
        config = overlay.one("KafkaTopic", name)["spec"]["config"]
        assert config["retention.ms"] == fields["retention_hours"] * 3_600_000
        assert config["max.message.bytes"] == fields["max_message_kb"] * 1024


def test_everyone_speaks_to_the_kafka_that_has_the_topics(overlay: Rendered) -> None:
    topics = {
        (o["metadata"]["labels"]["strimzi.io/cluster"], o["metadata"]["namespace"])
        for o in overlay.of("KafkaTopic")
    }
    addresses = {overlay.data("kafka")["TWINUP_KAFKA_BROKERS"]}
    for thing in overlay.of("KafkaSource") + overlay.of("KafkaSink"):
        addresses |= set(thing["spec"]["bootstrapServers"])
    (address,) = addresses
    match = BOOTSTRAP.match(address)
    assert match is not None
    assert topics == {(match["cluster"], match["namespace"] or NAMESPACE)}
    if overlay.overlay == "dev":
        kafka = overlay.one("Kafka", match["cluster"])
        assert 9092 in {listener["port"] for listener in kafka["spec"]["kafka"]["listeners"]}
        for pool in overlay.of("KafkaNodePool"):
            assert pool["metadata"]["labels"]["strimzi.io/cluster"] == match["cluster"]


def listed_in(folder: str) -> tuple[set[str], set[str]]:
    """What a kustomization names of its folder, and what lies there."""
    path = ROOT / folder
    document = yaml.safe_load((path / "kustomization.yaml").read_text(encoding="utf-8"))
    named = {*document.get("resources", ())}
    for generator in document.get("configMapGenerator", ()):
        named |= set(generator["files"])
    there = {p.name for p in path.iterdir() if p.is_file() and p.name != "kustomization.yaml"}
    return named, there


def test_no_file_of_wiring_migrations_or_configuration_is_forgotten() -> None:
    for folder, left_out in (
        ("eventing", set[str]()),
        ("infra/clickhouse/migrations", set[str]()),
        ("configs", {"dispatcher-config.yaml"}),  # never used on Kubernetes
    ):
        named, there = listed_in(folder)
        assert named == there - left_out, folder


def test_every_manifest_belongs_to_a_kustomization() -> None:
    """A file that nothing names would never be applied."""
    for file in sorted((ROOT / "infra/knative").rglob("kustomization.yaml")):
        text = file.read_text(encoding="utf-8")
        for path in Path(file.parent).iterdir():
            if path.is_file() and path.suffix in (".yaml", ".conf", ".py") and path != file:
                assert path.name in text, path.relative_to(ROOT)
