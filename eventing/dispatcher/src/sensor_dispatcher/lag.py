"""How many records of a source are not finished yet, over all members of its group."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

Partition = tuple[str, int]


def unfinished(
    lows: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    committed: Mapping[Partition, int],
    positions: Mapping[Partition, int],
    *,
    from_end: bool,
) -> dict[Partition, int]:
    """Returns records from the first unfinished one to the end of the log, by partition.

    Args:
        lows: offset of the first record that the log still has.
        ends: offset after the last record.
        committed: what the group has committed; behind by up to 5 s.
        positions: first unfinished offsets of the partitions that this process owns.
        from_end: whether a group without a commit begins at the end.
    """
    found = {}
    for partition, end in ends.items():
        begin = end if from_end else lows[partition]
        done = positions.get(partition, committed.get(partition, begin))
        found[partition] = max(0, end - max(done, lows[partition]))
    return found


class LagReader:
    """Asks the cluster; its calls block, so they belong into a thread."""

    def __init__(self, brokers: str, timeout: float = 5.0):
        self._admin = AdminClient({"bootstrap.servers": brokers})
        self._timeout = timeout

    def read(
        self,
        group: str,
        topics: Sequence[str],
        initial_offset: str,
        positions: Callable[[], Mapping[Partition, int]],
    ) -> dict[Partition, int]:
        """Returns the unfinished records of a group, by topic and partition.

        The positions are asked for last: what is finished meanwhile does not count as lag, and
        what is unfinished then was unfinished when the ends were read.

        Raises:
            KafkaException: when the cluster does not answer in time.
        """
        known = self._admin.list_topics(timeout=self._timeout).topics
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            if topic in known
            for number in known[topic].partitions
        ]
        if not partitions:
            return {}
        lows = self._offsets(partitions, OffsetSpec.earliest())
        ends = self._offsets(partitions, OffsetSpec.latest())
        request = [ConsumerGroupTopicPartitions(group, partitions)]
        futures: Any = self._admin.list_consumer_group_offsets(
            request, request_timeout=self._timeout
        )
        committed = {
            (tp.topic, tp.partition): tp.offset
            for tp in futures[group].result().topic_partitions
            if tp.offset >= 0
        }
        return unfinished(lows, ends, committed, positions(), from_end=initial_offset == "latest")

    def _offsets(self, partitions: list[TopicPartition], spec: OffsetSpec) -> dict[Partition, int]:
        futures: Any = self._admin.list_offsets(
            dict.fromkeys(partitions, spec), request_timeout=self._timeout
        )
        return {(tp.topic, tp.partition): f.result().offset for tp, f in futures.items()}
