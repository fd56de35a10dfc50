"""Readings that are in Kafka: those that may still be on their way, and the dead letters."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException

from sensor_dispatcher.records import Origin, Record, to_event
from sensor_local.audit.balance import MINUTE_MS, NO_KEYS, Keys, pack
from sensor_local.stretches import Stretch, TopicReader
from sensor_shared.adapters.kafka import GroupOffsets, KafkaSettings
from sensor_shared.contracts.events import DEAD_LETTERS, PLAIN_KAFKA_RECORD, READINGS_V1, Event
from sensor_shared.contracts.readings import decode

_TYPES = frozenset({READINGS_V1, PLAIN_KAFKA_RECORD})
_ORIGIN = Origin("default", "audit", {})
_DESTINATION = "knativeerrordest"
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.5
_JOINED = 2_000
"""Events whose readings are sorted into minutes together."""

Committed = Mapping[tuple[str, int], int]
"""Offset by topic and partition up to which everything is delivered, without it."""


def committed(settings: KafkaSettings) -> Committed:
    """Returns how far the consumer's group is; blocks.

    Raises:
        KafkaException: when the cluster does not answer.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    with closing(GroupOffsets(settings.brokers, settings.group)) as offsets:
        while True:
            try:
                found = offsets.read([settings.topic])
            except KafkaException:  # a coordinator that has just moved or started says no at first
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return {at: one.committed for at, one in found.items() if one.committed is not None}


class KeyFiles:
    """Keys by minute, in a folder: an hour that is in flight does not fit into memory."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self._folder = folder

    def add(self, start_ms: int, keys: Keys) -> None:
        """Adds keys of a minute, in any order and any number of times."""
        with (self._folder / str(start_ms)).open("ab") as file:
            keys.tofile(file)

    def read(self, start_ms: int) -> Keys:
        """Returns the keys of a minute, sorted, each once."""
        path = self._folder / str(start_ms)
        return np.unique(np.fromfile(path, np.uint64)) if path.exists() else NO_KEYS


@dataclass
class Sightings:
    """What was read in one kind of place.

    Attributes:
        keys: of valid readings.
        rejects: number of readings that the consumer rejects, by event id.
        began_ms: time of the oldest record with rejects, epoch ms; 0 without any.
    """

    keys: KeyFiles
    rejects: dict[str, int] = field(default_factory=dict)
    began_ms: int = 0


@dataclass(frozen=True)
class Kafka:
    """Where to look.

    Attributes:
        settings: of the cluster, with the topic and the consumer's group.
        consumer: the consumer's address as dead letters name it; None takes all letters.
    """

    settings: KafkaSettings
    consumer: str | None = None


class Elsewhere:
    """Looks for readings in Kafka.

    Args:
        kafka: where.
        delivered: read before ClickHouse was asked, so that all before it is stored.
        folder: an empty one, for files as large as what is found.
    """

    def __init__(self, kafka: Kafka, delivered: Committed, folder: Path):
        self._kafka = kafka
        self._delivered = delivered
        self._folder = folder
        self._index = pa.array([], pa.string())
        self._minutes = np.empty(0, np.int64)
        self._sources: frozenset[str] = frozenset()

    def look(
        self, device_ids: Sequence[str], sources: Collection[str], minutes: Collection[int]
    ) -> tuple[Sightings, Sightings]:
        """Returns what the dispatcher has given up, and what may not be delivered; blocks.

        Both may be stored all the same: letters are put back, and deliveries commit late.

        Args:
            device_ids: of the ledger; keys have their positions.
            sources: of the events whose rejects count.
            minutes: begins of the minutes that are looked for, epoch ms; others are left out.

        Raises:
            KafkaException: when the cluster does not answer.
        """
        self._index = pa.array(device_ids, pa.string())
        self._minutes = np.array(sorted(minutes), np.int64)
        self._sources = frozenset(sources)
        with closing(TopicReader(self._kafka.settings.brokers)) as reader:
            letters = reader.read(_whole(reader, DEAD_LETTERS))
            dead = self._sort("dead", filter(self._was_for_the_consumer, _events(letters)))
            late = [
                replace(
                    one, begin=max(one.begin, self._delivered.get((one.topic, one.partition), 0))
                )
                for one in _whole(reader, self._kafka.settings.topic)
            ]
            return dead, self._sort("flight", _events(reader.read(late)))

    def _was_for_the_consumer(self, letter: tuple[Event, int]) -> bool:
        consumer = self._kafka.consumer
        return consumer is None or letter[0].extensions.get(_DESTINATION) == consumer

    def _sort(self, name: str, events: Iterator[tuple[Event, int]]) -> Sightings:
        found = Sightings(KeyFiles(self._folder / name))
        batches: list[pa.RecordBatch] = []
        for event, time_ms in events:
            decoded = decode(event, time_ms)
            batches.append(decoded.batch.select(["device_id", "timestamp"]))
            if decoded.rejects and event.source in self._sources:
                found.rejects[event.id] = len(decoded.rejects)
                found.began_ms = min(time_ms, found.began_ms or time_ms)
            if len(batches) >= _JOINED:
                self._keep(batches, found.keys)
                batches.clear()
        self._keep(batches, found.keys)
        return found

    def _keep(self, batches: Sequence[pa.RecordBatch], keys: KeyFiles) -> None:
        if not batches:
            return
        table = pa.Table.from_batches(batches)
        device = pc.fill_null(pc.index_in(table["device_id"], value_set=self._index), -1).to_numpy()
        at = table["timestamp"].cast(pa.int64()).to_numpy()
        minute = at // MINUTE_MS * MINUTE_MS
        wanted = (device >= 0) & np.isin(minute, self._minutes)
        device, at, minute = device[wanted], at[wanted], minute[wanted]
        for start_ms in np.unique(minute).tolist():
            here = minute == start_ms
            keys.add(start_ms, pack(device[here], at[here] - start_ms))


def _whole(reader: TopicReader, topic: str) -> list[Stretch]:
    """What a topic holds; nothing when there is no such topic."""
    try:
        return reader.whole(topic)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return []
        raise


def _events(records: Iterator[Record]) -> Iterator[tuple[Event, int]]:
    """Each event that may hold readings, and its record's time in epoch ms."""
    for record in records:
        sent = to_event(record, _ORIGIN)
        attributes = sent.attributes
        if attributes["type"] in _TYPES:
            event = Event(
                id=attributes["id"],
                source=attributes["source"],
                type=attributes["type"],
                data=sent.data or b"",
                content_type=attributes.get("datacontenttype"),
                extensions=attributes,
            )
            yield event, record.time_ms
