"""`python -m sensor_local.topics` creates the topics that topics.yaml declares.

What is there already stays; a topic with fewer partitions than declared gets more.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from sensor_local.checkout import TOPICS_FILE
from sensor_local.folder import RunFolder

_VARIABLE_PREFIX = "TWINUP_TOPICS_"


@dataclass(frozen=True)
class Topic:
    """One topic and the bounds of what it keeps, per partition."""

    name: str
    partitions: int
    retention_hours: int
    retention_mb: int
    max_message_kb: int

    @property
    def settings(self) -> dict[str, str]:
        """The topic's settings in Kafka's names and units."""
        return {
            "retention.ms": str(self.retention_hours * 3_600_000),
            "retention.bytes": str(self.retention_mb * 1024 * 1024),
            "max.message.bytes": str(self.max_message_kb * 1024),
        }


def declared(environ: Mapping[str, str], file: Path = TOPICS_FILE) -> list[Topic]:
    """Reads the declared topics, `TWINUP_TOPICS_<NAME>` over the file's partitions.

    Raises:
        ValueError: when a variable is no positive number.
    """
    topics = []
    for name, fields in yaml.safe_load(file.read_text(encoding="utf-8")).items():
        variable = _VARIABLE_PREFIX + name.upper().replace("-", "_")
        given = environ.get(variable, str(fields["partitions"]))
        if not given.isdigit() or int(given) == 0:
            raise ValueError(f"{variable}: must be a number of partitions (given: {given!r})")
        topics.append(Topic(name, **{**fields, "partitions": int(given)}))
    return topics


def create(brokers: str, topics: Iterable[Topic], timeout: float = 30.0) -> list[str]:
    """Creates what is missing and returns what was done, one line each.

    Waits until the broker answers, at most `timeout` seconds.

    Raises:
        KafkaException: when the broker does not answer or refuses.
    """
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    deadline = time.monotonic() + timeout
    while True:
        try:
            present = admin.list_topics(timeout=1.0).topics
            break
        except KafkaException:
            if time.monotonic() > deadline:
                raise
    done = []
    for topic in topics:
        found = present.get(topic.name)
        if found is None:
            new = NewTopic(topic.name, topic.partitions, 1, config=topic.settings)
            if _settle(admin.create_topics([new])[topic.name]):
                done.append(f"created {topic.name} with {topic.partitions} partitions")
        elif len(found.partitions) < topic.partitions:
            more = NewPartitions(topic.name, topic.partitions)
            if _settle(admin.create_partitions([more])[topic.name]):
                done.append(f"{topic.name} has {topic.partitions} partitions now")
    return done


def _settle(future: object) -> bool:
    """Waits for the answer; false when somebody else was quicker."""
    try:
        future.result(timeout=30.0)  # type: ignore[attr-defined]
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True


def _show(brokers: str) -> list[str]:
    admin = AdminClient({"bootstrap.servers": brokers})
    topics = admin.list_topics(timeout=10.0).topics
    return [f"{name}: {len(topics[name].partitions)} partitions" for name in sorted(topics)]


def _running() -> str:
    endpoints = RunFolder(Path(os.environ.get("TWINUP_RUN_DIR", ".run"))).endpoints
    if endpoints is None or "kafka" not in endpoints:
        sys.exit("not running; `make up` starts it")
    return str(endpoints["kafka"])


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_local.topics", description=__doc__)
    parser.add_argument("--brokers", help="default: those of the running system")
    parser.add_argument("--list", action="store_true", help="only list what is there")
    parser.add_argument("--topic", help="create this one instead of the declared ones")
    parser.add_argument("--partitions", type=int, default=4)
    options = parser.parse_args()
    brokers = options.brokers or _running()
    try:
        if options.list:
            lines = _show(brokers)
        elif options.topic:
            topic = Topic(options.topic, options.partitions, 24, 512, 1024)
            lines = create(brokers, [topic]) or [f"{options.topic} is there already"]
        else:
            lines = create(brokers, declared(os.environ))
    except (KafkaException, ValueError) as error:
        sys.exit(f"topics: {error}")
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
