"""Reports of breaches, Redis at its best effort, lag and health: what each does when parts fail."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from confluent_kafka import KafkaError, KafkaException
from redis.asyncio import Redis

from sensor_consumer import lag
from sensor_consumer.app import new
from sensor_consumer.breaches import BreachReporter
from sensor_consumer.cache import Cache
from sensor_consumer.circuit import Circuit
from sensor_consumer.health import FRESH_SECONDS, Health
from sensor_consumer.seen import Past, SharedKeys
from sensor_consumer.settings import ConsumerSettings, LagSettings
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.events import Event
from sensor_shared.contracts.rules import Breach, load_rules
from sensor_shared.runtime.settings import SettingsError
from sensor_shared.telemetry import metrics
from twinup.alert.v1 import alert_pb2

from .conftest import RULES, batch_of, reading, until


def breaches(count: int) -> list[Breach]:
    hot = [reading(f"d{i}", temperature=95.0) for i in range(count)]
    return load_rules(RULES).breaches(batch_of(hot))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Service:
    """Answers as told; notes how many calls were under way at most."""

    code: grpc.StatusCode | None = None
    calls: int = 0
    now: int = 0
    most: int = 0

    async def send(self, request: alert_pb2.AlertRequest) -> alert_pb2.AlertResponse:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if self.code is not None:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(self.code, nothing, nothing, "as told", "")
        return alert_pb2.AlertResponse(success=True, alert_id=request.alert_id)


@dataclass
class Topic:
    fails: bool = False
    events: list[Event] = field(default_factory=list)

    async def publish(self, topic: str, event: Event) -> None:
        if self.fails:
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
        assert topic == "sensor-alerts"
        self.events.append(event)


async def test_reports_under_way_are_bounded() -> None:
    service, topic = Service(), Topic()
    reporter = BreachReporter(service, topic, Circuit(1), concurrency=3)
    await reporter.report(breaches(20))
    assert (service.calls, service.most, topic.events) == (20, 3, [])


async def test_a_service_that_is_away_is_left_alone_for_a_while() -> None:
    service, topic, clock = Service(grpc.StatusCode.DEADLINE_EXCEEDED), Topic(), Clock()
    reporter = BreachReporter(service, topic, Circuit(1, clock=clock), concurrency=1)
    await reporter.report(breaches(5))
    assert (service.calls, len(topic.events)) == (1, 5)
    clock.now, service.code = 1.0, None
    await reporter.report(breaches(5))
    assert (service.calls, len(topic.events)) == (6, 5)


async def test_a_refusal_of_one_breach_does_not_keep_the_others_from_grpc() -> None:
    service, topic = Service(grpc.StatusCode.INVALID_ARGUMENT), Topic()
    reporter = BreachReporter(service, topic, Circuit(1), concurrency=1)
    await reporter.report(breaches(2))
    assert (service.calls, len(topic.events)) == (2, 2)


async def test_when_neither_takes_it_the_event_must_come_again() -> None:
    reporter = BreachReporter(
        Service(grpc.StatusCode.UNAVAILABLE), Topic(fails=True), Circuit(1), concurrency=1
    )
    with pytest.raises(Retry):
        await reporter.report(breaches(2))


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    client = connect(RedisSettings(host=redis_server.host, port=redis_server.port))
    yield client
    await client.aclose()


@pytest.mark.integration
async def test_a_key_is_remembered_by_all_replicas_for_at_least_the_time_set(redis: Redis) -> None:
    clock, prefix = Clock(1_000_000.0), f"test:{{{uuid.uuid4().hex}}}"
    one, other = (SharedKeys(redis, seconds=900, prefix=prefix, clock=clock) for _ in range(2))
    keys = [uuid.uuid4().hex for _ in range(3)]
    await one.begin([(uuid.uuid4().hex, 0.0)])
    await redis.set(f"{prefix}:since", 0)

    def sent(seconds_ago: float) -> list[tuple[str, float]]:
        return [(key, clock.now - seconds_ago) for key in keys]

    assert await one.begin(sent(0)) == [Past.NEW] * 3
    await one.stored(keys[:2])
    assert await other.begin(sent(1)) == [Past.STORED, Past.STORED, Past.BEGUN]
    clock.now += 900
    assert await other.begin(sent(901)) == [Past.STORED, Past.STORED, Past.BEGUN]
    clock.now += 1_800
    assert await other.begin(sent(2_701)) == [Past.UNKNOWN] * 3  # forgotten
    for name in await redis.keys(f"{prefix}:stored:*"):
        assert 0 < await redis.ttl(name) <= 1_800
    await one.stored(keys)
    assert await redis.zcard(f"{prefix}:begun") == 0  # what is stored needs no more doubt


@pytest.mark.integration
async def test_of_what_was_sent_before_the_time_that_is_remembered_nothing_is_known(
    redis: Redis,
) -> None:
    clock, prefix = Clock(1_000_000.0), f"test:{{{uuid.uuid4().hex}}}"
    keys = SharedKeys(redis, seconds=900, prefix=prefix, clock=clock)

    async def past(sent: float) -> Past:
        (found,) = await keys.begin([(uuid.uuid4().hex, sent)])
        return found

    assert await past(clock.now - 1) is Past.BEGUN  # before this Redis was asked first
    assert await past(clock.now - 1_000) is Past.BEGUN
    assert await past(clock.now + 2) is Past.NEW
    clock.now += 301
    assert await past(clock.now - 310) is Past.UNKNOWN  # who had begun it has ended by now
    assert await past(clock.now - 50) is Past.NEW
    clock.now += 10_000
    assert await past(clock.now - 890) is Past.NEW
    assert await past(clock.now - 901) is Past.UNKNOWN
    await redis.script_flush()  # as after a new start of Redis, which may have lost what was last
    assert await past(clock.now - 1) is Past.BEGUN
    assert await past(clock.now + 2) is Past.NEW


async def test_a_redis_that_is_away_is_asked_once_and_then_left_alone() -> None:
    client = connect(RedisSettings(host="127.0.0.1", port=9, timeout=0.5))
    clock = Clock()
    circuit = Circuit(1, clock=clock)
    cache = Cache(LatestReadings(client), SharedKeys(client, seconds=900), circuit, timeout=1)
    key = uuid.uuid4().hex
    assert await cache.begin([(key, 0.0)]) == {}
    assert circuit.open
    assert not await cache.show(batch_of([reading("d")]))
    clock.now = 1.0
    assert not circuit.open
    await client.aclose()


@dataclass
class Lag:
    answers: list[dict[int, int] | Exception]

    def read(self, timeout: float = 5.0) -> dict[int, int]:
        assert timeout < 5
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_lag_is_shown_by_partition_and_a_kafka_that_is_away_ends_nothing() -> None:
    kafka = KafkaSettings(group=f"group-{uuid.uuid4().hex}")
    source = Lag([KafkaException(KafkaError(KafkaError._TRANSPORT)), {0: 7, 1: 0}])
    watch = asyncio.create_task(
        lag.watch(kafka, LagSettings(interval=0.01), connect=lambda *_: source)
    )

    def shown() -> bool:
        gauge = metrics.CONSUMER_LAG.labels(kafka.group, kafka.topic, 0)
        return float(gauge._value.get()) == 7.0

    await until(shown, "the gauge")
    watch.cancel()


@dataclass
class Answers:
    error: Exception | None = None

    async def rows(self, sql: str, **_: Any) -> list[tuple[Any, ...]]:
        assert sql.startswith("SELECT")
        if self.error is not None:
            raise self.error
        return []

    async def ping(self) -> bool:
        return True


async def test_an_answer_of_clickhouse_counts_for_a_few_seconds() -> None:
    database, clock = Answers(), Clock()
    health = Health(database, database, clock=clock)
    assert not health.ready
    watch = asyncio.create_task(health.watch())
    await until(lambda: health.ready, "readiness")
    database.error = DatabaseAwayError("down")
    clock.now += FRESH_SECONDS
    assert not health.ready
    watch.cancel()


def test_rules_that_cannot_be_read_are_a_mistake_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWINUP_BREACHES_RULES", "nowhere/rules.yaml")
    with pytest.raises(SettingsError, match="nowhere/rules"):
        new()


def test_the_configuration_file_says_the_defaults() -> None:
    file = RULES.parent / "consumer-config.yaml"
    assert ConsumerSettings.load({}, file) == ConsumerSettings()
