"""Publishing with full acknowledgement, and what a group has committed, on the real Kafka."""

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sensor_shared.adapters.kafka import (
    EventPublisher,
    GroupLag,
    GroupOffsets,
    KafkaSettings,
    Offsets,
)
from sensor_shared.contracts.events import JSON, Event

pytestmark = pytest.mark.integration
T = TypeVar("T")


@pytest.fixture
def topic(kafka_broker: str) -> str:
    name = f"adapters-{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    (created,) = admin.create_topics([NewTopic(name, 1, 1)]).values()
    created.result(30)
    return name


def event(number: int) -> Event:
    return Event(str(number), "urn:test", "t", b"{}", JSON, extensions={"partitionkey": "k"})


def consumer(broker: str, group: str) -> Consumer:
    settings = {"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False}
    return Consumer(settings | {"auto.offset.reset": "earliest"})


@pytest.fixture
def commit(kafka_broker: str, topic: str) -> Callable[[str, int], None]:
    def at(group: str, offset: int) -> None:
        member = consumer(kafka_broker, group)
        member.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
        member.close()

    return at


async def test_an_event_is_in_the_topic_when_publish_returns(kafka_broker: str, topic: str) -> None:
    publisher = EventPublisher(KafkaSettings(brokers=kafka_broker, delivery_timeout=30))
    await publisher.publish(topic, event(1))
    await publisher.close()
    reader = consumer(kafka_broker, uuid.uuid4().hex)
    reader.assign([TopicPartition(topic, 0, 0)])
    message = reader.poll(30)
    reader.close()
    assert message is not None
    assert (message.key(), message.value()) == (b"k", b"{}")
    assert dict(message.headers() or [])["ce_id"] == b"1"


async def test_publish_fails_when_no_broker_answers() -> None:
    publisher = EventPublisher(KafkaSettings(brokers="127.0.0.1:1", delivery_timeout=0.5))
    with pytest.raises(KafkaException):
        await publisher.publish("nowhere", event(1))
    await publisher.close()


async def test_lag_is_what_a_group_has_not_committed(
    kafka_broker: str, topic: str, commit: Callable[[str, int], None]
) -> None:
    publisher = EventPublisher(KafkaSettings(brokers=kafka_broker, delivery_timeout=30))
    for number in range(5):
        await publisher.publish(topic, event(number))
    await publisher.close()
    group = uuid.uuid4().hex
    offsets, lag = GroupOffsets(kafka_broker, group), GroupLag(kafka_broker, group, topic)
    assert found(lambda: offsets.read([topic, "not-there"])) == {(topic, 0): Offsets(0, 5, None)}
    assert found(lag.read) == {0: 5}
    commit(group, 3)
    assert found(lambda: offsets.read([topic])) == {(topic, 0): Offsets(0, 5, 3)}
    assert found(lag.read) == {0: 2}
    offsets.close()


def found(read: Callable[[], T]) -> T:
    """What is read as soon as the group has a coordinator, which a new group's has not at once."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return read()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
