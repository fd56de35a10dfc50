"""The Kafka side of a source: a thread that polls, hands records over, commits what is finished."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from sensor_dispatcher.manifests import KafkaSourceSpec
from sensor_dispatcher.membership import membership
from sensor_dispatcher.messages import to_record
from sensor_dispatcher.offsets import Prefix
from sensor_dispatcher.records import Record

MAX_POLL_RECORDS = 50
"""Knative's `max.poll.records`: the most that one poll hands over."""
WINDOW = 50
"""It polls again while fewer than this many are in flight, so up to 99 are."""
COMMIT_SECONDS = 5.0
REVOKE_SECONDS = 5.0
"""For how long a partition that goes to another member waits for what is in flight of it."""
_LAST_COMMIT_SECONDS = 10.0
_POLL_SECONDS = 0.2
_ROOM_SECONDS = 1.0
_IDLE_SECONDS = 0.02
REJOIN_SECONDS = 60.0
"""A member that has lost its partitions is given its part again by then. After a broker that stood
still librdkafka now and then never asks the coordinator again; only another process does."""

GIVEN_AWAY_UNCOMMITTED = "given away uncommitted"
LOST = "lost"

Batch = Sequence[tuple[Prefix, Record]]


class LostGroupError(RuntimeError):
    """The group has not taken this member back; the thread ends, and the process is replaced."""


class GroupConsumer(threading.Thread):
    """One member of a consumer group.

    Everything that touches the consumer happens in this thread. `hand_over` is called in it too,
    with this member and at most `MAX_POLL_RECORDS` records, and for each of them the event loop
    later calls `finish` (with the record's prefix) or, for one that it leaves undelivered, nothing.
    """

    rejoin_seconds = REJOIN_SECONDS

    def __init__(
        self,
        brokers: str,
        spec: KafkaSourceSpec,
        name: str,
        hand_over: Callable[["GroupConsumer", Batch], None],
    ):
        super().__init__(name=f"source-{name}", daemon=True)
        self._spec = spec
        self._hand_over = hand_over
        self._log = structlog.get_logger(source=name, group=spec.consumer_group)
        self._lock = threading.Lock()
        self._prefixes: dict[tuple[str, int], Prefix] = {}
        self._in_flight = 0
        self._lost_at: float | None = None
        self._room = threading.Event()
        self.paused = False
        """Whether it polls without taking records, because too many are in flight."""
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self.joined = threading.Event()
        """Set once the group has given this member its (perhaps empty) part."""
        self._consumer = Consumer(
            {
                **membership(brokers, spec, name),
                "error_cb": self._on_error,
                "on_commit": self._on_commit,
            },
            logger=logging.getLogger("kafka"),
        )

    # --- called by the event loop

    def finish(self, prefix: Prefix, offset: int) -> None:
        """Notes that a record is delivered or dead-lettered, and makes room for others."""
        with self._lock:
            prefix.finish(offset)
            self._in_flight -= 1
            if self._in_flight < WINDOW:
                self._room.set()

    def positions(self) -> dict[tuple[str, int], int]:
        """Returns the first unfinished offset of each assigned partition that had records."""
        with self._lock:
            return {
                partition: prefix.position
                for partition, prefix in self._prefixes.items()
                if prefix.position is not None
            }

    def committed(self) -> dict[tuple[str, int], int]:
        """Returns the offsets that this member has committed, by topic and partition."""
        with self._lock:
            return {
                partition: prefix.committed
                for partition, prefix in self._prefixes.items()
                if prefix.committed is not None
            }

    def assigned(self) -> frozenset[tuple[str, int]]:
        """Returns the partitions that the group has given to this member."""
        with self._lock:
            return frozenset(self._prefixes)

    def stop_polling(self) -> None:
        """Takes no more records; those in flight may still finish."""
        self._stopping.set()
        self._room.set()

    def begin_close(self) -> None:
        """Lets the thread commit what is finished, leave the group and end."""
        self.stop_polling()
        self._closing.set()

    # --- in the thread

    def run(self) -> None:
        """Polls until it is stopped, then stays a member until it is closed.

        Raises:
            LostGroupError: when its partitions were lost and the group does not take it back.
        """
        self._consumer.subscribe(
            self._spec.topics,
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        due = time.monotonic() + COMMIT_SECONDS
        while not self._closing.is_set():
            if self._stopping.is_set():
                self._stay_member(_IDLE_SECONDS)
            elif self._has_room():
                self._poll()
            else:
                self._stay_member()
            if time.monotonic() >= due:
                self._commit(self._prefixes, asynchronous=True)
                due = time.monotonic() + COMMIT_SECONDS
            self._check_membership()
        self._commit_last()
        self._consumer.close()

    def _check_membership(self) -> None:
        lost = self._lost_at
        if lost is not None and time.monotonic() - lost > self.rejoin_seconds:
            raise LostGroupError(f"group {self._spec.consumer_group} does not take it back")

    def _has_room(self) -> bool:
        with self._lock:
            if self._in_flight < WINDOW:
                return True
            self._room.clear()
        return self._room.wait(_ROOM_SECONDS)

    def _poll(self) -> None:
        if self.paused:
            self._consumer.resume(self._consumer.assignment())
            self.paused = False
        # poll returns with the first record, consume takes what came with it: no timeout of
        # either is ever added to a record's way.
        first = self._consumer.poll(_POLL_SECONDS)
        if first is None:
            return
        # Handed over by itself: the partitions may be revoked while the others are taken.
        self._take([first])
        self._take(self._consumer.consume(MAX_POLL_RECORDS - 1, 0))

    def _stay_member(self, seconds: float = 0.0) -> None:
        """Polls without taking records while there is no room: the group demands polls."""
        self._consumer.pause(self._consumer.assignment())
        self.paused = True
        message = self._consumer.poll(seconds)
        # One comes when its partition was assigned in this very poll. A consumer that stops
        # leaves it to the next owner.
        if message is not None and not self._stopping.is_set():
            self._take([message])

    def _take(self, messages: Sequence[Message]) -> None:
        batch = []
        with self._lock:
            for message in messages:
                if (error := message.error()) is not None:
                    self._on_error(error)
                    continue
                record = to_record(message)
                # What was revoked in this very poll has no prefix any more. It is delivered all
                # the same, and the partition's next owner commits it.
                prefix = self._prefixes.get((record.topic, record.partition)) or Prefix()
                prefix.receive(record.offset)
                batch.append((prefix, record))
            self._in_flight += len(batch)
        if batch:
            self._hand_over(self, batch)

    def _commit(self, prefixes: dict[tuple[str, int], Prefix], *, asynchronous: bool) -> None:
        with self._lock:
            offsets = [
                TopicPartition(topic, partition, prefix.commit)
                for (topic, partition), prefix in prefixes.items()
                if prefix.commit is not None
            ]
        if not offsets:
            return
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # The next commit makes up for it. What was to be given away is delivered again: a
            # member that the group has passed over may commit nothing before it joins anew.
            said = "commit failed" if asynchronous else GIVEN_AWAY_UNCOMMITTED
            self._log.warning(said, error=str(error))

    def _commit_last(self) -> None:
        """Commits until Kafka has acknowledged all that is finished.

        Polls meanwhile: Kafka refuses commits while the group is in the middle of a rebalance,
        which ends only when every member polls.
        """
        deadline = time.monotonic() + _LAST_COMMIT_SECONDS
        while self._uncommitted() and time.monotonic() < deadline:
            self._commit(self._prefixes, asynchronous=True)
            self._stay_member(_IDLE_SECONDS)

    def _uncommitted(self) -> bool:
        with self._lock:
            return any(prefix.commit is not None for prefix in self._prefixes.values())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if error is not None:
            self._log.warning("commit failed", error=str(error))
            return
        with self._lock:
            for tp in partitions:
                prefix = self._prefixes.get((tp.topic, tp.partition))
                if prefix is not None and tp.error is None:
                    prefix.committed = tp.offset

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._lock:
            self._prefixes.update({(tp.topic, tp.partition): Prefix() for tp in partitions})
        self._lost_at = None
        self.joined.set()
        self._log.info("assigned", partitions=_names(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._wait_for(partitions)
        revoked = self._drop(partitions)
        self._commit(revoked, asynchronous=False)
        self._log.info("revoked", partitions=_names(partitions))

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop(partitions)  # others own them already: nothing may be committed
        self._lost_at = self._lost_at or time.monotonic()
        self._log.warning(LOST, partitions=_names(partitions))

    def _wait_for(self, partitions: list[TopicPartition]) -> None:
        """Waits until nothing of these partitions is in flight: their next owner sends it again."""
        deadline = time.monotonic() + REVOKE_SECONDS
        while self._in_flight_of(partitions) and time.monotonic() < deadline:
            if self._closing.wait(_IDLE_SECONDS):
                return

    def _in_flight_of(self, partitions: list[TopicPartition]) -> bool:
        with self._lock:
            return any(
                prefix.unfinished
                for tp in partitions
                if (prefix := self._prefixes.get((tp.topic, tp.partition))) is not None
            )

    def _drop(self, partitions: list[TopicPartition]) -> dict[tuple[str, int], Prefix]:
        with self._lock:
            return {
                (tp.topic, tp.partition): prefix
                for tp in partitions
                if (prefix := self._prefixes.pop((tp.topic, tp.partition), None)) is not None
            }

    def _on_error(self, error: KafkaError) -> None:
        self._log.warning("kafka", error=str(error), code=error.name())


def _names(partitions: list[TopicPartition]) -> list[str]:
    return [f"{tp.topic}/{tp.partition}" for tp in partitions]
