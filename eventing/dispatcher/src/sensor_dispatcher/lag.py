"""How many records of a source are not finished yet, over all members of its group."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from sensor_shared.adapters.kafka import GroupOffsets

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
    """Asks the cluster for the lag of groups; its calls block, so they belong into a thread."""

    def __init__(self, brokers: str, groups: Iterable[str], timeout: float = 5.0):
        self._groups = {group: GroupOffsets(brokers, group) for group in groups}
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
        found = self._groups[group].read(topics, self._timeout)
        return unfinished(
            {partition: offsets.low for partition, offsets in found.items()},
            {partition: offsets.end for partition, offsets in found.items()},
            {
                partition: offsets.committed
                for partition, offsets in found.items()
                if offsets.committed is not None
            },
            positions(),
            from_end=initial_offset == "latest",
        )
