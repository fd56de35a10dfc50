"""The project's own files are what Knative takes, and nothing unsupported is ever ignored."""

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sensor_dispatcher.wiring import WiringError, parse, read

EVENTING = Path(__file__).parents[2]
FILES = sorted(EVENTING.glob("[0-9]*.yaml"))
SOURCE = (EVENTING / "01-sensor-data-to-consumer.yaml").read_text(encoding="utf-8")
SINK = (EVENTING / "06-dead-letters.yaml").read_text(encoding="utf-8")
PING = (EVENTING / "04-alert-sweep-to-alerts.yaml").read_text(encoding="utf-8")


def changed(text: str, **changes: Any) -> str:
    """Returns the manifest with fields set (or, by None, removed), by path with double
    underscores for dots."""
    document = yaml.safe_load(text)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = document
        for parent in parents:
            target = target.setdefault(parent, {})
        if value is None:
            del target[last]
        else:
            target[last] = value
    return yaml.safe_dump(document)


def mistakes(**files: str) -> list[str]:
    with pytest.raises(WiringError) as caught:
        parse({f"{name}.yaml": text for name, text in files.items()})
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_the_projects_wiring_is_the_flow_of_the_architecture() -> None:
    wiring = read(EVENTING)
    assert [
        (s.spec.topics, s.spec.consumer_group, s.spec.sink.ref.name) for s in wiring.kafka_sources
    ] == [
        (["sensor-data"], "sensor-consumer-group", "consumer"),
        (["sensor-data"], "analytics-consumer-group", "analytics"),
        (["sensor-alerts"], "alerts-consumer-group", "alerts"),
    ]
    assert [s.spec.sink.ref.name for s in wiring.ping_sources] == [
        "alerts",
        "analytics",
        "consumer",
    ]
    assert wiring.kafka_sink("sensor-dead-letters").spec.topic == "sensor-dead-letters"
    assert wiring.services == {"consumer", "analytics", "alerts"}


def test_every_source_starts_at_the_beginning_and_scales_by_lag() -> None:
    for source in read(EVENTING).kafka_sources:
        assert source.spec.initial_offset == "earliest"
        prefix = "autoscaling.eventing.knative.dev/"
        names = {name.removeprefix(prefix) for name in source.metadata.annotations}
        assert names == {
            *("min-scale", "max-scale", "lag-threshold", "polling-interval", "cooldown-period")
        }
        # KEDA scales `spec.consumers` itself.
        assert source.metadata.annotations[f"{prefix}min-scale"] == str(source.spec.consumers)


@pytest.mark.skipif(
    "TWINUP_SCHEMAS_DIR" not in os.environ, reason="TWINUP_SCHEMAS_DIR names no folder of CRDs"
)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_object_fits_its_crd(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    schemas = Path(os.environ["TWINUP_SCHEMAS_DIR"])
    crd = yaml.safe_load(
        (schemas / f"crd-{document['kind'].lower()}.yaml").read_text(encoding="utf-8")
    )
    group, version = document["apiVersion"].split("/")
    assert crd["spec"]["group"] == group
    (schema,) = (
        v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == version
    )
    jsonschema.Draft202012Validator(_closed(schema)).validate(document["spec"])
    jsonschema.Draft202012Validator(schema).validate(document)


def _closed(schema: Any) -> Any:
    """The schema of `spec`, with fields that it does not know made mistakes: a cluster would
    drop them silently."""

    def close(node: Any) -> Any:
        if isinstance(node, dict):
            node = {key: close(value) for key, value in node.items()}
            if "properties" in node and "additionalProperties" not in node:
                node["additionalProperties"] = False
        return node

    return close(schema["properties"]["spec"])


def test_ordered_delivery_is_refused_by_name() -> None:
    assert mistakes(a=changed(SOURCE, spec__ordering="ordered"), b=SINK) == [
        "a.yaml: spec.ordering: 'ordered' is not supported, only 'unordered'"
    ]


def test_ordering_left_out_is_refused_because_knative_would_take_ordered() -> None:
    assert mistakes(a=changed(SOURCE, spec__ordering=None), b=SINK) == [
        "a.yaml: spec.ordering: must be written"
    ]


@pytest.mark.parametrize(
    "field", ["retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink"]
)
def test_delivery_must_be_written_in_full(field: str) -> None:
    assert mistakes(a=changed(SOURCE, **{f"spec__delivery__{field}": None}), b=SINK) == [
        f"a.yaml: spec.delivery.{field}: must be written"
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec__net", {"tls": {"enable": True}}),
        ("spec__delivery__retryAfterMax", "PT1S"),
        ("spec__sink__uri", "http://example.com"),
        ("spec__sink__CACerts", "x"),
        ("spec__sink__audience", "x"),
        ("spec__sink__ref__namespace", "other"),
        ("spec__brandNew", 1),
        ("metadata__finalizers", []),
        ("status", {}),
    ],
)
def test_a_field_that_is_not_supported_is_refused_by_name(path: str, value: Any) -> None:
    where = path.replace("__", ".")
    assert mistakes(a=changed(SOURCE, **{path: value}), b=SINK) == [
        f"a.yaml: {where}: not supported by the dispatcher"
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec__delivery__backoffDelay", "0.3", "must be an ISO 8601 duration, e.g. PT0.3S"),
        ("spec__delivery__timeout", "PT0S", "must be longer than zero"),
        ("spec__delivery__retry", -1, "greater than or equal to 0"),
        ("spec__delivery__retry", "3", "valid integer"),
        ("spec__delivery__backoffPolicy", "random", "'exponential' or 'linear'"),
        ("spec__topics", [], "at least 1 item"),
        ("spec__consumers", 0, "greater than or equal to 1"),
        ("spec__consumers", "2", "valid integer"),
        ("spec__initialOffset", "middle", "'earliest' or 'latest'"),
        ("spec__sink__ref__kind", "Broker", "'Broker' is not supported, only 'Service'"),
        ("spec__ceOverrides", {"extensions": {"Bad": "x"}}, "'Bad' is no name"),
        ("metadata__name", "Not A Label", "pattern"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(path: str, value: Any, message: str) -> None:
    (found,) = mistakes(a=changed(SOURCE, **{path: value}), b=SINK)
    assert found.startswith("a.yaml: " + path.replace("__", "."))
    assert message in found


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec__schedule", "@every 5s", "five or six cron fields"),
        ("spec__schedule", "* * * *", "five or six cron fields"),
        ("spec__schedule", "0 0 L * *", "not known to Knative"),
        ("spec__schedule", "0 0 * * 5#2", "five or six cron fields"),
        ("spec__schedule", "61 * * * *", "Bad minute"),
        ("spec__timezone", "Mars/Olympus", "no such time zone"),
        ("spec__dataBase64", "eA==", "exclude each other"),
        ("spec__delivery", {"retry": 1}, "not supported by the dispatcher"),
    ],
)
def test_a_wrong_ping_source_is_refused(path: str, value: Any, message: str) -> None:
    (found,) = mistakes(a=changed(PING, **{path: value}))
    assert found.startswith("a.yaml: spec")
    assert message in found


def test_all_mistakes_of_all_files_are_reported_together() -> None:
    broken = changed(SOURCE, spec__ordering="ordered", spec__consumers=0)
    assert mistakes(a=broken, b=changed(PING, spec__schedule="x"), c="kind: Secret", d="[") == [
        "a.yaml: spec.consumers: Input should be greater than or equal to 1",
        "a.yaml: spec.ordering: 'ordered' is not supported, only 'unordered'",
        "b.yaml: spec.schedule: must be five or six cron fields",
        "c.yaml: kind: 'Secret' is not supported; KafkaSource, PingSource, KafkaSink are",
        *mistakes(d="["),
    ]


def test_a_dead_letter_sink_that_is_not_there_is_a_mistake() -> None:
    assert mistakes(a=SOURCE) == [
        "a.yaml: spec.delivery.deadLetterSink.ref.name: no KafkaSink 'sensor-dead-letters' here"
    ]


def test_two_objects_of_one_name_and_two_sources_of_one_group_are_mistakes() -> None:
    *names, group = mistakes(a=SOURCE, b=SOURCE, c=SINK)
    assert names == [
        "a.yaml: metadata.name: more than one KafkaSource has this name",
        "b.yaml: metadata.name: more than one KafkaSource has this name",
    ]
    assert group.startswith("b.yaml: spec.consumerGroup: another source shares the group")


@pytest.mark.parametrize("text", ["", "- a", "kind: KafkaSink\n---\nkind: KafkaSink\n"])
def test_a_file_holds_exactly_one_object(text: str) -> None:
    assert len(mistakes(a=text)) >= 1


def test_a_folder_without_objects_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(WiringError, match=r"no \*.yaml file"):
        read(tmp_path)


def test_kustomizes_own_file_is_no_object_of_the_wiring(tmp_path: Path) -> None:
    (tmp_path / "sink.yaml").write_text(SINK, encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\n", encoding="utf-8")
    assert len(read(tmp_path).kafka_sinks) == 1
