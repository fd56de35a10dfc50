"""How a source's consumers are members of their group: librdkafka's configuration."""

from typing import Any

from sensor_dispatcher.manifests import KafkaSourceSpec

_PREFETCH_KB = 16 * 1024


def membership(brokers: str, spec: KafkaSourceSpec, name: str) -> dict[str, Any]:
    """Returns the configuration of one member, without its callbacks.

    Args:
        brokers: `host:port`, separated by commas.
        spec: the source's.
        name: of the member.
    """
    return {
        "bootstrap.servers": brokers,
        "group.id": spec.consumer_group,
        "client.id": f"dispatcher-{name}",
        "auto.offset.reset": spec.initial_offset,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "partition.assignment.strategy": "cooperative-sticky",
        # A dead dispatcher's partitions move within this time.
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 1_000,
        "fetch.wait.max.ms": 100,
        # A full queue would otherwise rest for a second before the next fetch.
        "fetch.queue.backoff.ms": 10,
        "queued.max.messages.kbytes": _PREFETCH_KB,
        # A topic that is made later, and partitions that are added, are found by then.
        "topic.metadata.refresh.interval.ms": 10_000,
    }
