"""Bounded reading of a topic: from an offset to an offset, as a member of no group."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from sensor_dispatcher.messages import to_record
from sensor_dispatcher.records import Record

_ANSWER_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
"""Kafka has something to give until the end is reached: so long a silence is a failure."""
_POLL_SECONDS = 1.0
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records of one partition: from offset `begin`, up to but without `end`."""

    topic: str
    partition: int
    begin: int
    end: int

    @property
    def span(self) -> int:
        """Number of offsets; there may be fewer records."""
        return max(0, self.end - self.begin)


class TopicReader:
    """Reads stretches of topics.

    Args:
        brokers: bootstrap addresses, by commas.
    """

    def __init__(self, brokers: str):
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "sensor-topic-reader",  # the client wants one; it joins none
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                # What retention removes meanwhile is skipped, never everything.
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )

    def whole(self, topic: str) -> list[Stretch]:
        """Returns what the topic holds now, one stretch per partition.

        Raises:
            KafkaException: when the cluster does not answer, or has no such topic.
        """
        found = self._consumer.list_topics(timeout=_ANSWER_SECONDS).topics.get(topic)
        if found is None:
            raise KafkaException(
                KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"there is no topic {topic}")
            )
        stretches = []
        for partition in sorted(found.partitions):
            begin, end = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=_ANSWER_SECONDS
            )
            stretches.append(Stretch(topic, partition, begin, end))
        return stretches

    def between(self, topic: str, from_ms: int, to_ms: int | None = None) -> list[Stretch]:
        """Returns the records from the first one of `from_ms` up to the first one of `to_ms`.

        Times are those of the records, epoch milliseconds; without `to_ms`, up to the present
        end.

        Raises:
            KafkaException: as `whole`.
        """
        stretches = self.whole(topic)
        begins = self._offsets(stretches, from_ms)
        ends = None if to_ms is None else self._offsets(stretches, to_ms)
        return [
            replace(
                stretch,
                begin=max(begins[stretch.partition], stretch.begin),
                end=stretch.end if ends is None else ends[stretch.partition],
            )
            for stretch in stretches
        ]

    def _offsets(self, stretches: Sequence[Stretch], time_ms: int) -> dict[int, int]:
        asked = [TopicPartition(s.topic, s.partition, time_ms) for s in stretches]
        answers = self._consumer.offsets_for_times(asked, timeout=_ANSWER_SECONDS)
        offsets = {}
        for stretch, answer in zip(stretches, answers, strict=True):
            if answer.error is not None:
                raise KafkaException(answer.error)
            # No record is that young: the answer is negative and means the end. What came since
            # the end was asked for stays out.
            offset = answer.offset if answer.offset >= 0 else stretch.end
            offsets[stretch.partition] = min(offset, stretch.end)
        return offsets

    def read(self, stretches: Sequence[Stretch]) -> Iterator[Record]:
        """Yields the records of stretches, in order within each partition.

        Raises:
            KafkaException: when the cluster stops to answer.
        """
        return chain.from_iterable(self.batches(stretches))

    def batches(self, stretches: Sequence[Stretch]) -> Iterator[list[Record]]:
        """Yields the same in batches, about every second at least: a batch may be empty.

        Raises:
            KafkaException: as `read`.
        """
        ends = {(s.topic, s.partition): s.end for s in stretches if s.span}
        partitions = [TopicPartition(s.topic, s.partition, s.begin) for s in stretches if s.span]
        self._consumer.assign(partitions)
        self._consumer.resume(partitions)  # an earlier reading's pause outlives its assignment
        heard = time.monotonic()
        while ends:
            # consume alone would wait for a full batch, or for its whole timeout.
            first = self._consumer.poll(_POLL_SECONDS)
            if first is not None:
                heard = time.monotonic()
                yield self._wanted([first, *self._consumer.consume(_BATCH - 1, 0)], ends)
            elif time.monotonic() - heard > _SILENCE_SECONDS:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Kafka does not answer"))  # noqa: SLF001
            else:
                yield []
        self._consumer.unassign()

    def _wanted(
        self, messages: Sequence[Message], ends: dict[tuple[str, int], int]
    ) -> list[Record]:
        """Returns what lies before its end; takes partitions that are through out of `ends`."""
        wanted = []
        for message in messages:
            where = (message.topic() or "", message.partition() or 0)
            end = ends.get(where)
            if end is None:
                continue
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise KafkaException(error)
                del ends[where]
                continue
            offset = message.offset() or 0
            if offset < end:
                wanted.append(to_record(message))
            if offset >= end - 1:
                del ends[where]
                self._consumer.pause([TopicPartition(*where)])
        return wanted

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()
