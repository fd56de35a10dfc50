"""A flow that tests lead by hand: a ledger, a topic with its group, and the tables."""

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from clickhouse_connect.driver.asyncclient import AsyncClient
from confluent_kafka import Consumer, Producer, TopicPartition

from sensor_local.audit import Audit
from sensor_local.audit.compare import audit
from sensor_local.audit.elsewhere import Kafka
from sensor_producer.fleet import Readings
from sensor_producer.ledger import Ledger
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.contracts.events import (
    DEAD_LETTERS,
    JSON,
    READINGS_V1,
    Event,
    new_id,
    rfc3339,
    to_kafka,
)

CONSUMER = "http://consumer.test"
Row = tuple[str, int]
"""Device and epoch milliseconds."""


def columns(rows: list[Row], devices: tuple[str, ...], fault: int = 0) -> Readings:
    """Returns rows as the producer has them."""
    count = len(rows)
    values = np.full(count, 20.0)
    return Readings(
        device=np.array([devices.index(device) for device, _ in rows], np.int32),
        timestamp_ms=np.array([at for _, at in rows], np.int64),
        temperature=values,
        humidity=values,
        pressure=values,
        status=np.zeros(count, np.int8),
        faults=np.full(count, fault, np.uint16),
    )


@dataclass
class Flow:
    """Three devices with names of their own, five readings each in each of two minutes."""

    folder: Path
    client: AsyncClient
    clickhouse: ClickHouseSettings
    kafka: KafkaSettings
    start_ms: int
    run: str = field(default_factory=new_id)
    devices: tuple[str, ...] = field(
        default_factory=lambda: tuple(f"{uuid.uuid4().hex}_{n}" for n in range(3))
    )

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            self.folder, self.run, self.devices, hours=48, clock_ms=lambda: self.start_ms
        )

    @property
    def source(self) -> str:
        return f"urn:twinup:producer:{self.run}"

    @property
    def rows(self) -> list[Row]:
        return [
            (device, self.start_ms + minute * 60_000 + second * 1000)
            for device in self.devices
            for minute in range(2)
            for second in range(5)
        ]

    def receive(self, rows: list[Row], fault: int = 0) -> None:
        """Writes into the ledger that Kafka has acknowledged these."""
        self.ledger.add(columns(rows, self.devices, fault))
        self.ledger.flush()

    async def store(self, rows: list[Row], temperature: float = 20.0) -> None:
        data = [
            [device, datetime.fromtimestamp(ms / 1000, UTC), temperature, None, None, "active"]
            for device, ms in rows
        ]
        names = ["device_id", "timestamp", "temperature", "humidity", "pressure", "status"]
        await self.client.insert("readings", data, column_names=names)

    async def roll_up(self, device: str, readings: int) -> None:
        """Writes how many readings of the first minute are counted."""
        data = [[device, datetime.fromtimestamp(self.start_ms / 1000, UTC), readings, readings]]
        names = ["device_id", "time", "readings", "version"]
        await self.client.insert("readings_minute", data, column_names=names)

    async def reject(self, count: int, event: str = "event-1", source: str = "") -> None:
        now = datetime.now(UTC)
        data = [
            [now, source or self.source, event, n, "bad", "", self.devices[0], "{}"]
            for n in range(count)
        ]
        names = [
            "received_at",
            "source",
            "event_id",
            "position",
            "reason",
            "detail",
            "device_id",
            "raw",
        ]
        await self.client.insert("rejects", data, column_names=names)

    def produce(
        self, rows: list[Row], invalid: int = 0, topic: str = "", destination: str = ""
    ) -> str:
        """Puts one event into partition 0 of a topic and returns its id."""
        documents = [
            {
                "device_id": device,
                "timestamp": rfc3339(datetime.fromtimestamp(ms / 1000, UTC)),
                "temperature": 20.0,
            }
            for device, ms in rows
        ]
        documents += [{"device_id": self.devices[0], "timestamp": self.start_ms}] * invalid
        event = Event(
            id=new_id(),
            source=self.source,
            type=READINGS_V1,
            data=json.dumps(documents).encode(),
            content_type=JSON,
            extensions={"knativeerrordest": destination} if destination else {},
        )
        key, value, headers = to_kafka(event)
        producer = Producer({"bootstrap.servers": self.kafka.brokers})
        producer.produce(topic or self.kafka.topic, value, key, partition=0, headers=[*headers])
        assert producer.flush(30) == 0
        return event.id

    def give_up(self, rows: list[Row], invalid: int = 0, destination: str = CONSUMER) -> str:
        """Writes a dead letter."""
        return self.produce(rows, invalid, DEAD_LETTERS, destination)

    def commit(self, offset: int) -> None:
        """Lets the consumer's group commit partition 0."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka.brokers,
                "group.id": self.kafka.group,
                "enable.auto.commit": False,
            }
        )
        here = TopicPartition(self.kafka.topic, 0, offset)
        consumer.commit(offsets=[here], asynchronous=False)
        consumer.close()

    async def audit(self, since_ms: int = 0) -> Audit:
        found = await audit(self.folder, self.client, Kafka(self.kafka, CONSUMER), since_ms)
        terms = found.stored + found.duplicate + found.rejected
        terms += found.dead_lettered + found.in_flight + found.lost
        assert found.received == terms
        return found
