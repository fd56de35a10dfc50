"""What is stored is what happened: whoever dies between two writes, and whatever Redis forgets."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from confluent_kafka import Consumer
from redis.asyncio import Redis

from sensor_alerts.changes import Changes
from sensor_alerts.domain import life
from sensor_alerts.domain.alert import Record, breach
from sensor_alerts.domain.life import Outcome, Step
from sensor_alerts.history import History
from sensor_alerts.leases import Leases, Subject
from sensor_alerts.ledger import Ledger
from sensor_alerts.listing import Filter
from sensor_alerts.live import LiveChanges
from sensor_alerts.outbox import Outbox
from sensor_shared.adapters.alert_tail import BEGIN, AlertTail
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.kafka import EventPublisher, KafkaSettings
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts import alert_changes
from sensor_shared.contracts.alert_changes import AlertChange, AlertSnapshot, ChangeKind
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.events import ALERT_CHANGED_V1, ALERT_CHANGES, Event
from sensor_shared.testing.line import Line

from .alert_world import REQUEST, RULES, World, device, eventually, request

pytestmark = pytest.mark.integration
WINDOW_MS = 300_000
SHORT_SECONDS = 1.5


@dataclass
class Told:
    """Stands where notifications are made: keeps what it was offered."""

    changes: list[AlertChange] = field(default_factory=list)
    pause: float = 0.0
    """Seconds that the first one takes."""

    async def offer(self, change: AlertChange) -> None:
        pause, self.pause = self.pause, 0.0
        await asyncio.sleep(pause)
        self.changes.append(change)


class Replica:
    """What one process has of the alert service, without its entrances."""

    def __init__(
        self,
        clickhouse: ClickHouseSettings,
        redis: RedisSettings,
        brokers: str,
        lease_seconds: float,
    ):
        self.redis: Redis = connect(redis, wait=5)
        self.database = Database(clickhouse)
        self.changes = Changes(self.database)
        self.history = History(self.database, self.changes)
        self.publisher = EventPublisher(KafkaSettings(brokers=brokers))
        self.told = Told()
        self.tail = AlertTail(self.redis)
        self.live = LiveChanges(self.tail, keep=1_000)
        self.outbox = Outbox(self.changes, self.told, self.publisher, self.live)
        self.leases = Leases(self.redis, seconds=lease_seconds)
        self.ledger = Ledger(self.leases, self.changes, self.history, self.outbox)

    async def take(
        self, found: AlertSnapshot, *, listed: bool = True
    ) -> tuple[Outcome, Step | None]:
        outcome = Outcome.LATE

        def decide(current: Record | None) -> Step | None:
            nonlocal outcome
            outcome, step = life.take(
                current, found, waits=False, window_ms=WINDOW_MS, now=datetime.now(UTC)
            )
            return step

        step = await self.ledger.change(subject(found), decide, listed=listed)
        return outcome, step

    async def close(self) -> None:
        await self.ledger.close()
        await self.outbox.stop()
        await self.live.close()
        await self.changes.close()
        await self.publisher.close()
        await self.database.close()
        await self.redis.aclose()


def subject(found: AlertSnapshot) -> Subject:
    return Subject(found.device_id, found.episode)


def hot(device_id: str, second: float = 0.0, value: float = 96.0) -> AlertSnapshot:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=60 - second)
    asked = msgspec.structs.replace(
        REQUEST, alert_id=uuid.uuid4().hex, device_id=device_id, timestamp=at, value=value
    )
    return breach(asked, RULES, datetime.now(UTC))


@pytest.fixture
async def replicas(
    clickhouse: ClickHouseSettings, lone_redis: RedisSettings, changes_topic: str
) -> AsyncIterator[Callable[..., Replica]]:
    made: list[Replica] = []

    def make(lease_seconds: float = 15.0, clickhouse_port: int | None = None) -> Replica:
        there = clickhouse.model_copy(update={"port": clickhouse_port or clickhouse.port})
        made.append(Replica(there, lone_redis, changes_topic, lease_seconds))
        return made[-1]

    yield make
    for replica in made:
        await replica.close()


async def open_alerts(replica: Replica, device_id: str) -> int:
    ((count,),) = await replica.database.rows(
        "SELECT count() FROM alerts FINAL WHERE device_id = {d:String} AND state = 'open'",
        d=device_id,
    )
    return int(count)


async def dies_holding_the_lease(replica: Replica, about: Subject) -> None:
    async def hold() -> None:
        async with replica.leases.of(about):
            held.set()
            await asyncio.sleep(60)

    held = asyncio.Event()
    task = asyncio.create_task(hold())
    await held.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("written", ["nothing", "the change", "the change and the alert"])
async def test_whoever_dies_between_two_writes_leaves_one_alert(
    replicas: Callable[..., Replica], written: str
) -> None:
    """The same breach comes again, at another replica, and another one after it."""
    dead, other = replicas(SHORT_SECONDS), replicas(SHORT_SECONDS)
    found = hot(device())
    await dies_holding_the_lease(dead, subject(found))
    _, step = life.take(None, found, waits=False, window_ms=WINDOW_MS, now=datetime.now(UTC))
    assert step is not None
    assert step.change is not None
    if written != "nothing":
        await dead.changes.append(step.change)
    if written == "the change and the alert":
        await dead.history.record(step.record)
    outcome, again = await other.take(found)
    assert outcome is (Outcome.OPENED if written == "nothing" else Outcome.REPEATED)
    assert again is not None
    outcome, joined = await other.take(hot(found.device_id, 1))
    assert outcome is Outcome.JOINED
    assert joined is not None
    assert joined.record.alert.alert_id == found.alert_id
    changes = await other.changes.of_alert(found.device_id, found.alert_id, 10)
    assert [change.kind for change in changes] == [ChangeKind.RAISED]


async def test_what_a_dead_process_left_is_completed_told_of_and_published_by_another(
    replicas: Callable[..., Replica], changes_topic: str
) -> None:
    other = replicas()
    found = hot(device())
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    _, step = life.take(None, found, waits=False, window_ms=WINDOW_MS, now=long_ago)
    assert step is not None
    assert step.change is not None
    await other.changes.append(step.change)
    assert await open_alerts(other, found.device_id) == 0
    await other.outbox.repair(other.ledger.complete)
    assert await open_alerts(other, found.device_id) == 1
    assert [change.change_id for change in other.told.changes] == [step.change.change_id]
    assert step.change in published(changes_topic, found.device_id, 1)
    await other.outbox.repair(other.ledger.complete)
    assert len(other.told.changes) == 1, "once it is done, it is not done again"
    [entry] = await other.tail.after(BEGIN, 10)
    assert entry.data == alert_changes.data_of(step.change)


async def test_all_that_was_left_undone_is_done_at_once_though_older_changes_are_on_their_way(
    replicas: Callable[..., Replica],
) -> None:
    """A batch is of two changes, and the two oldest wait in this process for Kafka."""
    replica = replicas()
    replica.outbox = Outbox(
        replica.changes, replica.told, replica.publisher, replica.live, max_batch=2
    )
    changes = []
    for second in range(7):
        at = datetime.now(UTC) - timedelta(seconds=300 - second)
        _, step = life.take(None, hot(device()), waits=False, window_ms=WINDOW_MS, now=at)
        assert step is not None
        assert step.change is not None
        changes.append(step.change)
        await replica.changes.append(step.change)
    for change in changes[:2]:
        await replica.outbox.put(change)
    await replica.outbox.repair(replica.ledger.complete)
    assert replica.told.changes == changes
    assert await replica.changes.unpublished(60, 10) == changes[:2]


async def test_whoever_is_answered_sees_the_alert_though_nobody_waited_for_its_row(
    replicas: Callable[..., Replica],
) -> None:
    """Read at the replica that answered, and by its id at another one that has not the row yet."""
    one, other = replicas(), replicas()
    breaches = [hot(device()) for _ in range(20)]

    async def seen(found: AlertSnapshot) -> tuple[int, Record | None, Record | None]:
        await one.take(found, listed=False)
        at_the_other = await other.history.one(found.alert_id)
        page = await one.history.page(Filter(device_id=found.device_id), limit=10)
        return page.total, await one.history.one(found.alert_id), at_the_other

    for total, *records in await asyncio.gather(*(seen(found) for found in breaches)):
        assert total == 1
        assert [record and record.open for record in records] == [True, True]


async def test_what_a_replica_answered_and_never_listed_is_open_for_everybody(
    replicas: Callable[..., Replica], world: World
) -> None:
    """It died right after its answer; Redis is emptied, and so nobody knows the alert from it."""
    dead, other = replicas(), replicas()
    found = hot(device())
    _, step = life.take(None, found, waits=False, window_ms=WINDOW_MS, now=datetime.now(UTC))
    assert step is not None
    assert step.change is not None
    await dead.changes.append(step.change)
    await dead.redis.flushdb()
    assert [record.alert.alert_id for record in await other.history.live()] == [found.alert_id]
    service = await world.ready()
    await service.sweep()
    members = await dead.redis.smembers(f"{world.prefix}:watched")
    assert [found.device_id.encode() in member for member in members] == [True]


async def test_an_alert_that_was_cleared_or_mailed_of_later_is_not_taken_for_open_again(
    replicas: Callable[..., Replica],
) -> None:
    """The newest of change and row counts, whichever it is."""
    replica = replicas()
    cleared, mailed = hot(device()), hot(device())
    for found in (cleared, mailed):
        await replica.take(found)
    now = datetime.now(UTC)
    await replica.ledger.change(
        subject(cleared),
        lambda record: None if record is None else life.cleared(record, "kim", now, now),
        listed=True,
    )
    await replica.ledger.change(
        subject(mailed), lambda record: None if record is None else life.emailed(record, now)
    )
    await replica.database.rows("OPTIMIZE TABLE alerts FINAL")
    (alone,) = await replica.history.live()
    assert (alone.alert.alert_id, alone.email_sent) == (mailed.alert_id, True)


async def test_of_a_long_story_the_newest_changes_are_read_and_the_oldest_of_them_comes_first(
    replicas: Callable[..., Replica],
) -> None:
    replica = replicas()
    found = hot(device())

    async def comment(note: str) -> None:
        await replica.ledger.change(
            subject(found),
            lambda record: (
                None if record is None else life.commented(record, "kim", datetime.now(UTC), note)
            ),
        )

    await replica.take(found)
    await comment("one")
    await comment("two")
    changes = await replica.changes.of_alert(found.device_id, found.alert_id, 2)
    assert [change.note for change in changes] == ["one", "two"]


async def test_changes_of_an_alert_are_told_of_in_their_order_though_nobody_waits_for_that(
    replicas: Callable[..., Replica],
) -> None:
    replica = replicas()
    found, now = hot(device()), datetime.now(UTC)
    replica.told.pause = 0.2
    await replica.take(found, listed=False)
    await replica.ledger.change(
        subject(found),
        lambda record: None if record is None else life.cleared(record, "kim", now, now),
    )
    assert replica.told.changes == []
    await replica.ledger.close()
    assert [one.kind for one in replica.told.changes] == [ChangeKind.RAISED, ChangeKind.CLEARED]
    assert await open_alerts(replica, found.device_id) == 0


async def test_who_reports_breaches_faster_than_they_are_told_of_is_held_back(
    replicas: Callable[..., Replica],
) -> None:
    """With one telling under way the next breach is answered once it is told of itself."""
    replica = replicas()
    replica.ledger = Ledger(
        replica.leases, replica.changes, replica.history, replica.outbox, max_under_way=1
    )
    replica.told.pause = 0.5
    first, second = hot(device()), hot(device())
    await replica.take(first, listed=False)
    assert replica.told.changes == []
    await replica.take(second, listed=False)
    assert second.alert_id in [one.alert.alert_id for one in replica.told.changes]


async def test_who_ends_leaves_what_takes_too_long_to_a_later_sweep(
    replicas: Callable[..., Replica],
) -> None:
    replica = replicas()
    replica.told.pause = 60
    _, step = await replica.take(hot(device()), listed=False)
    assert step is not None
    async with asyncio.timeout(10):
        await replica.ledger.close(seconds=0.2)
    assert replica.told.changes == []
    await asyncio.sleep(1)  # what is younger than no second at all is not asked for
    assert await replica.changes.unpublished(0, 10) == [step.change]


async def test_a_change_is_published_with_its_contract_and_then_noted(
    replicas: Callable[..., Replica], changes_topic: str
) -> None:
    replica = replicas()
    replica.outbox.start()
    found = hot(device())
    _, step = await replica.take(found)
    assert step is not None
    (change,) = await asyncio.to_thread(published, changes_topic, found.device_id, 1)
    assert change == step.change
    assert change.alert == step.record.alert
    [entry] = await replica.tail.after(BEGIN, 10)
    assert entry.data == alert_changes.data_of(change)

    async def noted() -> bool:
        rows = await replica.database.rows("SELECT published FROM alert_changes FINAL")
        return rows == [(1,)]

    await eventually(noted)


def published(brokers: str, device_id: str, count: int) -> list[AlertChange]:
    """Returns the changes of a device that the topic has, once there are so many.

    The topic is that of all tests: how many others it has is nobody's business.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([ALERT_CHANGES])
    found: list[AlertChange] = []
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            message = consumer.poll(0.1)
            if message is None or message.error() or message.key() != device_id.encode():
                continue
            headers = dict(message.headers() or [])
            assert headers["ce_type"] == ALERT_CHANGED_V1.encode()
            event = Event("", "", ALERT_CHANGED_V1, message.value() or b"")
            found.append(alert_changes.decode(event))
            assert headers["ce_id"] == found[-1].change_id.encode()
            if len(found) == count:
                return found
        raise AssertionError(f"{len(found)} of {count} changes in the topic")
    finally:
        consumer.close()


async def test_what_is_stored_is_listed_though_nobody_could_look_for_a_second_alert(
    replicas: Callable[..., Replica], clickhouse: ClickHouseSettings
) -> None:
    """Redis is emptied while a decision is written, and who took the lease then has died."""
    line = Line(clickhouse.host, clickhouse.port)
    await line.mend()
    one, other = replicas(clickhouse_port=line.port), replicas()
    found, deciding = hot(device()), asyncio.Event()

    def decide(current: Record | None) -> Step | None:
        line.stall()
        deciding.set()
        at = datetime.now(UTC)
        return life.take(current, found, waits=False, window_ms=WINDOW_MS, now=at)[1]

    try:
        taking = asyncio.create_task(one.ledger.change(subject(found), decide))
        await deciding.wait()
        await other.redis.flushdb()
        await dies_holding_the_lease(other, subject(found))
        await line.mend()
        with pytest.raises(Retry):
            await taking
        await one.ledger.close()
        assert await open_alerts(other, found.device_id) == 1
    finally:
        await one.database.close()
        await line.cut()


async def test_redis_emptied_again_and_again_loses_no_alert_and_makes_no_second_one(
    replicas: Callable[..., Replica],
) -> None:
    """Breaches of twenty devices at three replicas, while Redis is emptied all the time."""
    three = [replicas() for _ in range(3)]
    devices = [device() for _ in range(20)]
    going = True

    async def empty() -> None:
        while going:
            await three[0].redis.flushdb()
            await asyncio.sleep(0.02)

    emptying = asyncio.create_task(empty())
    try:
        for second in range(5):
            await asyncio.gather(
                *(
                    replica.take(hot(device_id, second + number / 10))
                    for device_id in devices
                    for number, replica in enumerate(three)
                )
            )
    finally:
        going = False
        await emptying
    await asyncio.gather(*(three[0].ledger.reconcile(subject(hot(one))) for one in devices))
    for device_id in devices:
        assert await open_alerts(three[0], device_id) == 1


async def test_two_alerts_that_should_be_one_become_one_and_nobody_is_told(
    replicas: Callable[..., Replica],
) -> None:
    replica = replicas()
    who = device()
    first, second = hot(who, 0), hot(who, 1)
    for found in (second, first):
        _, step = life.take(None, found, waits=False, window_ms=WINDOW_MS, now=datetime.now(UTC))
        assert step is not None
        assert step.change is not None
        await replica.changes.append(step.change)
        await replica.history.record(step.record)
    assert await replica.ledger.reconcile(subject(first)) == {second.alert_id}
    assert await open_alerts(replica, who) == 1
    assert replica.told.changes == []
    kept = (await replica.history.of_subject(subject(first)))[-1]
    assert (kept.alert.alert_id, kept.open) == (first.alert_id, True)


async def test_open_alerts_come_back_from_the_history_when_redis_is_emptied(
    world: World, lone_redis: RedisSettings
) -> None:
    service, who = await world.ready(), device()
    opening = request(who)
    await service.send(opening)
    async with connect(lone_redis) as redis:
        await redis.flushdb()
    answer = await service.send(request(who, after=1))
    assert answer.alert_id == opening.alert_id
    async with connect(lone_redis) as redis:
        await redis.flushdb()
        await service.sweep()
        assert await redis.scard(f"{world.prefix}:watched") == 1
