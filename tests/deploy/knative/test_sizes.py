"""How much is run: in step with what the sources deliver, and stated as it is computed."""

import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from sensor_consumer.settings import ConsumerSettings
from sensor_gateway.settings import GatewaySettings

from . import contract
from .environment import settings
from .rendered import ROOT, Manifest, Pod, Rendered, render

IN_FLIGHT = 99
"""Events that one dispatching pod has under way at its peak."""
USUAL_SECONDS = 300
"""That a request may last on Knative Serving where nothing is said, as under func."""
KEDA = "autoscaling.eventing.knative.dev/"
SCALE = "autoscaling.knative.dev/"
UNITS = {"m": Decimal("0.001"), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "": Decimal(1)}


def quantity(text: str | int) -> Decimal:
    match = re.match(r"^(\d+)(m|Mi|Gi|)$", str(text))
    assert match is not None, text
    return Decimal(match[1]) * UNITS[match[2]]


def requested(pods: Iterable[tuple[Manifest, int]], resource: str) -> Decimal:
    return sum((quantity(r["requests"][resource]) * n for r, n in pods), Decimal(0))


def containers(overlay: Rendered, *, most: bool) -> list[tuple[Manifest, int]]:
    """What every container requests, and how many of it there are; Jobs end and do not count."""
    found = [
        (pod.container["resources"], pod.replicas[most])
        for pod in overlay.pods
        if pod.owner["kind"] != "Job"
    ]
    pools = [pool["spec"] for pool in overlay.of("KafkaNodePool")]
    operators = [kafka["spec"]["entityOperator"]["topicOperator"] for kafka in overlay.of("Kafka")]
    found += [(pool["resources"], pool["replicas"]) for pool in pools]
    return found + [(operator["resources"], 1) for operator in operators]


def disk(overlay: Rendered) -> Decimal:
    claims = [c["spec"] for c in overlay.of("PersistentVolumeClaim")]
    for stateful in overlay.of("StatefulSet"):
        claims += [t["spec"] for t in stateful["spec"]["volumeClaimTemplates"]]
    sizes = [quantity(claim["resources"]["requests"]["storage"]) for claim in claims]
    for pool in overlay.of("KafkaNodePool"):
        sizes += [quantity(v["size"]) for v in pool["spec"]["storage"]["volumes"]]
    return sum(sizes, Decimal(0))


def row(overlay: Rendered, *, most: bool) -> str:
    found = containers(overlay, most=most)
    pods = sum(n for _, n in found)
    cpu = requested(found, "cpu")
    memory, claimed = requested(found, "memory") / 2**30, disk(overlay) / 2**30
    at = "most" if most else "least"
    return (
        f"| {overlay.overlay} | {at} | {pods} | {cpu:.2f} | {memory:.1f} GiB | {claimed:.0f} GiB |"
    )


def test_the_totals_in_the_readme_are_those_of_the_manifests(overlay: Rendered) -> None:
    text = contract.section("Scale")
    for most in (False, True):
        assert row(overlay, most=most) in text


def test_the_table_of_services_in_the_readme_is_right(dev: Rendered) -> None:
    text = contract.section("Scale")
    for pod in dev.functions:
        least, most = pod.replicas
        assert f"| {pod.name} | {least} | {most} | {pod.spec['containerConcurrency']} |" in text


@pytest.mark.parametrize("name", ["consumer", "analytics", "alerts", "auth", "gateway"])
def test_kn_func_deploys_the_same_sizes(name: str) -> None:
    """Production differs in the least number of pods alone."""
    file = ROOT / "functions" / name / "func.yaml"
    options = yaml.safe_load(file.read_text(encoding="utf-8"))["deploy"]["options"]
    pod = render("dev").pod(name)
    notes = pod.owner["spec"]["template"]["metadata"]["annotations"]
    assert options["scale"]["metric"] == notes[f"{SCALE}metric"]
    assert (options["scale"]["min"], options["scale"]["max"]) == pod.replicas
    assert str(options["scale"]["target"]) == notes[f"{SCALE}target"]
    limits = dict(options["resources"]["limits"])
    assert limits.pop("concurrency") == pod.spec["containerConcurrency"]
    assert pod.container["resources"] == {
        "requests": options["resources"]["requests"],
        "limits": limits,
    }


def room(pod: Pod) -> int:
    return int(pod.spec["containerConcurrency"]) * pod.replicas[1]


def test_each_function_takes_all_that_its_sources_keep_in_flight(overlay: Rendered) -> None:
    wanted: dict[str, int] = {}
    for source in overlay.of("KafkaSource"):
        sink = source["spec"]["sink"]["ref"]["name"]
        pods = int(source["metadata"]["annotations"][f"{KEDA}max-scale"])
        wanted[sink] = wanted.get(sink, 0) + pods * IN_FLIGHT
    for name, events in wanted.items():
        assert events <= room(overlay.pod(name)), name


def test_a_topic_has_a_partition_for_each_dispatching_pod(production: Rendered) -> None:
    for source in production.of("KafkaSource"):
        pods = int(source["metadata"]["annotations"][f"{KEDA}max-scale"])
        for topic in source["spec"]["topics"]:
            assert production.one("KafkaTopic", topic)["spec"]["partitions"] >= pods, topic


def test_a_request_may_last_longer_than_its_source_waits(overlay: Rendered) -> None:
    """So that it is the source that gives up, and tries again."""
    for source in overlay.of("KafkaSource"):
        waits = int(source["spec"]["delivery"]["timeout"].removeprefix("PT").removesuffix("S"))
        name = source["spec"]["sink"]["ref"]["name"]
        assert waits < overlay.pod(name).spec["timeoutSeconds"], name


def test_exports_and_live_streams_end_before_knative_cuts_them(
    overlay: Rendered, tmp_path: Path
) -> None:
    pod = overlay.pod("gateway")
    given = settings(overlay, pod, tmp_path)
    assert isinstance(given, GatewaySettings)
    longest = max(given.gateway.export_seconds, given.live.max_seconds)
    assert longest < pod.spec["timeoutSeconds"] == USUAL_SECONDS
    assert 2 * given.gateway.query_seconds < pod.spec["responseStartTimeoutSeconds"] < longest


def test_all_consumers_together_insert_as_seldom_as_a_clickhouse_cluster_wants(
    production: Rendered, tmp_path: Path
) -> None:
    pod = production.pod("consumer")
    given = settings(production, pod, tmp_path)
    assert isinstance(given, ConsumerSettings)
    text = (ROOT / "docs/delivery.md").read_text(encoding="utf-8")
    stated = re.search(r"\| 5 to (\d+) for each shard, all processes together \|", text)
    assert stated is not None
    assert given.store.inserts_per_second * pod.replicas[1] == float(stated[1])
    formula = f"| {stated[1]} for each shard of ClickHouse, divided by the pods "
    assert formula in (ROOT / "docs/scaling.md").read_text(encoding="utf-8")


def test_no_function_goes_to_zero(overlay: Rendered) -> None:
    assert all(pod.replicas[0] >= 1 for pod in overlay.functions)


def test_what_a_budget_protects_has_a_second_pod(production: Rendered) -> None:
    protected = {
        o["spec"]["selector"]["matchLabels"]["serving.knative.dev/service"]
        for o in production.of("PodDisruptionBudget")
    }
    assert protected == {pod.name for pod in production.functions}
    assert all(pod.replicas[0] >= 2 for pod in production.functions)


def test_every_container_states_what_it_needs(overlay: Rendered) -> None:
    for pod in overlay.pods:
        for container in pod.containers:
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() == {"cpu", "memory"}, pod.name


def test_the_topics_of_development_fit_their_disk(dev: Rendered) -> None:
    kept = sum(
        topic["spec"]["partitions"] * topic["spec"]["config"]["retention.bytes"]
        for topic in dev.of("KafkaTopic")
    )
    (pool,) = dev.of("KafkaNodePool")
    # A segment that is being written comes on top of what is kept.
    assert kept * 1.5 <= quantity(pool["spec"]["storage"]["volumes"][0]["size"])
