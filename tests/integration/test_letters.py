"""Dead letters and replay end to end: Kafka, dispatcher, the consumer's process, ClickHouse."""

import asyncio
import io
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiohttp import web
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sensor_dispatcher.delivery import RetryPolicy, Sender
from sensor_dispatcher.sink import DeadLetters
from sensor_dispatcher.source import Route, Source
from sensor_dispatcher.wiring import parse
from sensor_local.letters import __main__ as letters
from sensor_local.replay import __main__ as replay
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import JSON, READINGS_V1, Event, new_id, rfc3339, to_kafka
from sensor_shared.testing.parts import Lines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
DEADLINE = 60.0
NAMESPACE = "ns"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


class World:
    """Topics of this test alone, and the commands that people use."""

    def __init__(self, brokers: str, folder: Path):
        unique = uuid.uuid4().hex[:12]
        self.brokers = brokers
        self.folder = folder
        self.data, self.letters = f"data-{unique}", f"letters-{unique}"
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TWINUP_") and "COV" not in name
        } | {
            "TWINUP_KAFKA_BROKERS": brokers,
            "TWINUP_DISPATCHER_NAMESPACE": NAMESPACE,
            "TWINUP_RUN_DIR": str(folder / "no-run-folder"),
            "TWINUP_CONFIG_DIR": str(folder / "none"),
        }
        self._client: dict[str, Any] = {"bootstrap.servers": brokers, "log_level": 0}
        admin = AdminClient(self._client)
        for future in admin.create_topics(
            [NewTopic(self.data, 2), NewTopic(self.letters, 1)]
        ).values():
            future.result(30)
        self._producer = Producer({**self._client, "acks": "all", "linger.ms": 0})
        eventing = folder / "eventing"
        eventing.mkdir()
        for name, text in self.manifests().items():
            (eventing / name).write_text(text, encoding="utf-8")

    def manifests(self) -> dict[str, str]:
        """The project's own source of the consumer on this test's topics, with quick retries."""
        source = yaml.safe_load((ROOT / "eventing/01-sensor-data-to-consumer.yaml").read_text())
        source["spec"] |= {"topics": [self.data], "consumerGroup": f"group-{self.data}"}
        source["spec"]["delivery"] |= {"retry": 2, "backoffDelay": "PT0.05S"}
        sink = yaml.safe_load((ROOT / "eventing/06-dead-letters.yaml").read_text())
        sink["spec"]["topic"] = self.letters
        return {"source.yaml": yaml.safe_dump(source), "sink.yaml": yaml.safe_dump(sink)}

    def produce(self, events: Sequence[Event]) -> None:
        for number, event in enumerate(events):
            key, value, headers = to_kafka(event)
            self._producer.produce(self.data, value, key, headers=[*headers], partition=number % 2)
        assert self._producer.flush(DEADLINE) == 0

    def produce_plain(self, value: bytes) -> None:
        self._producer.produce(self.data, value, b"plain", partition=0)
        assert self._producer.flush(DEADLINE) == 0

    async def records(self) -> int:
        """Returns how many records the data's topic holds."""
        return await asyncio.to_thread(self._records)

    def _records(self) -> int:
        reader = Consumer({**self._client, "group.id": "count"})
        try:
            marks = [
                reader.get_watermark_offsets(TopicPartition(self.data, number), timeout=10)
                for number in range(2)
            ]
        finally:
            reader.close()
        return sum(end for _, end in marks)

    async def command(self, main: Callable[..., int], *words: str, sink: str = "") -> Done:
        """Runs a command as its process would, in a thread of this one."""
        environ = dict(self.environ)
        if sink:
            environ["TWINUP_DISPATCHER_SINKS"] = f"consumer={sink}"
        arguments = ["--eventing", str(self.folder / "eventing"), *words]
        out, err = io.StringIO(), io.StringIO()
        status = await asyncio.to_thread(main, arguments, environ, out, err)
        return Done(status, out.getvalue(), err.getvalue())

    async def dlq(self, *words: str, sink: str) -> Done:
        return await self.command(letters.main, "--letters", self.letters, *words, sink=sink)

    async def counted(self, sink: str) -> Any:
        listed = await self.dlq("list", "--json", sink=sink)
        assert listed.status == 0, listed.err
        return json.loads(listed.out)

    async def replay(self, *words: str, sink: str) -> Done:
        return await self.command(replay.main, "--topic", self.data, *words, sink=sink)

    @asynccontextmanager
    async def dispatching(self, sink: str) -> AsyncIterator[Source]:
        """The dispatcher at work, its deliveries going to `sink`."""
        wiring = parse(self.manifests())
        (manifest,) = wiring.kafka_sources
        (letters_sink,) = wiring.kafka_sinks
        dead_letters = DeadLetters(self.brokers, letters_sink)
        sender = Sender(sink, RetryPolicy.of(manifest.spec.delivery))
        source = Source(manifest, self.brokers, Route(sender, dead_letters, NAMESPACE))
        source.start()
        try:
            yield source
        finally:
            await source.stop(5.0)
            await dead_letters.close()


@pytest.fixture
def world(kafka_broker: str, tmp_path: Path) -> World:
    return World(kafka_broker, tmp_path)


@pytest.fixture
async def consumer(world: World, lines: Lines) -> AsyncIterator[str]:
    """The consumer as a process of its own; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environ = {
        f"TWINUP_{section.upper()}_{key.upper()}": str(value)
        for section, keys in lines.sections.items()
        for key, value in keys.items()
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sensor_shared.runtime", str(ROOT / "functions" / "consumer")),
        env={
            **world.environ,
            **environ,
            "TWINUP_SERVER_HOST": "127.0.0.1",
            "TWINUP_SERVER_PORT": str(port),
            "TWINUP_BREACHES_RULES": str(ROOT / "configs" / "alert-rules.yaml"),
            "TWINUP_STORE_ATTEMPTS": "1",
            "TWINUP_LAG_ENABLED": "false",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await until(lambda: answers(url), "the consumer")
        yield url
    finally:
        process.terminate()
        await process.wait()


async def answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/health/readiness")).status_code == 200
    except httpx.HTTPError:
        return False


async def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < deadline, f"waited {DEADLINE:g} s for {what}"
        await asyncio.sleep(0.05)


def batches(count: int, size: int = 3) -> list[Event]:
    """Events of `size` readings, each a second apart, each event of a device of its own."""
    now = time.time_ns() // 1_000_000
    return [
        Event(
            new_id(),
            "urn:twinup:producer:test",
            READINGS_V1,
            json.dumps(
                [
                    {
                        "device_id": f"device-{number}",
                        "timestamp": now - i * 1000,
                        "temperature": 20,
                    }
                    for i in range(size)
                ]
            ).encode(),
            JSON,
            extensions={"partitionkey": f"device-{number}"},
        )
        for number in range(count)
    ]


async def count(database: Database, final: str = "FINAL") -> int:
    ((rows,),) = await database.rows(f"SELECT count() FROM readings {final}")  # noqa: S608
    return int(rows)


async def raw_rows(database: Database) -> int:
    return await count(database, final="")


async def test_what_failed_while_clickhouse_was_away_is_put_back_once_and_stored(
    world: World, consumer: str, lines: Lines, database: Database
) -> None:
    await lines.clickhouse.cut()
    async with world.dispatching(consumer) as source:
        world.produce(batches(2))
        await until(lambda: source.tally.dead_lettered == 2, "two dead letters")
        (group,) = (await world.counted(consumer))["groups"]
        assert (group["topic"], group["code"], group["letters"]) == (world.data, "503", 2)
        assert (group["readings"], group["put_back"]) == (6, 0)
        assert "ClickHouse" in group["reason"]
        await lines.clickhouse.mend()
        await until(lambda: answers(consumer), "the consumer to be ready again")

        first = await world.dlq("put-back", sink=consumer)
        assert (first.status, first.out) == (0, "2 letters put back, as 2 events\n")
        await until(lambda: source.tally.delivered == 2, "both deliveries")
        assert await count(database) == 6
        assert await raw_rows(database) == 6

        second = await world.dlq("put-back", sink=consumer)
        assert (second.status, second.out) == (0, "0 letters put back, as 0 events\n")
        assert await world.records() == 4
        counted = await world.counted(consumer)
        assert (counted["letters"], counted["put_back"]) == (2, 2)

        again = await world.dlq("put-back", "--again", "--letter", "0-0", sink=consumer)
        assert again.out == "1 letters put back, as 1 events\n"
        await until(lambda: source.tally.delivered == 3, "one delivery more")
        assert await raw_rows(database) == 6


@dataclass
class Stub:
    """A function that takes nothing, or what it is told to take."""

    url: str
    got: list[dict[str, str]]
    status: int = 400


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    made = Stub("", [])

    async def handle(request: web.Request) -> web.Response:
        made.got.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=made.status, text="no use")

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_what_fails_again_is_a_new_letter_and_comes_back_by_nobody_but_people(
    world: World, stub: Stub
) -> None:
    async with world.dispatching(stub.url) as source:
        world.produce(batches(1))
        world.produce_plain(b"{}")
        await until(lambda: source.tally.dead_lettered == 2, "two dead letters")
        assert (await world.dlq("put-back", sink=stub.url)).status == 0
        await until(lambda: source.tally.dead_lettered == 4, "both to fail again")
        counted = await world.counted(stub.url)
        assert (counted["letters"], counted["put_back"]) == (4, 2)
        assert sum(group["again"] for group in counted["groups"]) == 2
        # The second delivery is the same event, but for the mark and its new place in Kafka.
        by_id: dict[str, list[dict[str, str]]] = {}
        for headers in stub.got:
            by_id.setdefault(headers["ce-id"], []).append(headers)
        assert sorted(map(len, by_id.values())) == [2, 2]
        for before, after in by_id.values():
            assert after.pop("ce-replayed") == "true"
            place = ("ce-knativekafkaoffset", "ce-knativekafkapartition")
            assert {n: v for n, v in before.items() if n not in place} == {
                n: v for n, v in after.items() if n not in place
            }
        # Once they are taken, there is nothing left to do, and nothing happens by itself.
        stub.status = 202
        assert (await world.dlq("put-back", sink=stub.url)).out.startswith("2 letters put back")
        await until(lambda: source.tally.delivered == 2, "both to be taken")
        assert (await world.dlq("put-back", sink=stub.url)).out.startswith("0 letters put back")
        assert len(stub.got) == 6


async def test_two_letters_of_one_event_make_one_copy(world: World, stub: Stub) -> None:
    """As when both consumer and analytics have refused it."""
    (event,) = batches(1)
    async with world.dispatching(stub.url) as source:
        world.produce([event, event])
        await until(lambda: source.tally.dead_lettered == 2, "two dead letters")
    done = await world.dlq("put-back", sink=stub.url)
    assert done.out == "2 letters put back, as 1 events\n"
    assert await world.records() == 3
    assert (await world.counted(stub.url))["put_back"] == 2


async def test_letters_are_chosen_counted_and_shown(world: World, stub: Stub) -> None:
    events = batches(2)
    async with world.dispatching(stub.url) as source:
        world.produce([events[0]])
        await until(lambda: source.tally.dead_lettered == 1, "the first dead letter")
        world.produce_plain(b"\x00\x1b[2Jodd")
        await until(lambda: source.tally.dead_lettered == 2, "the second")

    dry = await world.dlq("put-back", "--dry-run", "--source", "urn:twinup:*", sink=stub.url)
    assert (dry.status, dry.out) == (0, "1 letters would be put back\n")
    assert await world.records() == 2
    one = await world.dlq("put-back", "--letter", events[0].id, sink=stub.url)
    assert one.out.startswith("1 letters put back")
    rest = await world.dlq("put-back", "--dry-run", sink=stub.url)
    assert rest.out == "1 letters would be put back\n"

    table = (await world.dlq("list", sink=stub.url)).out
    assert "2 dead letters, 1 of them put back, 1 to put back" in table
    assert "no use" in table
    shown = await world.dlq("show", "0-1", sink=stub.url)
    assert "00 1b 5b 32 4a" in shown.out
    assert "\x1b" not in shown.out
    assert world.data in shown.out
    (document,) = json.loads((await world.dlq("show", events[0].id, "--json", sink=stub.url)).out)
    assert (document["letter"], document["put_back"], document["readings"]) == ("0-0", True, 3)
    # 0-2 is the receipt
    for absent in ("0-2", "0-99", "7-0", "no-such-id"):
        missing = await world.dlq("show", absent, sink=stub.url)
        assert (missing.status, missing.err) == (1, f"no dead letter {absent}\n")


async def test_letters_whose_topic_cannot_be_told_are_left_and_named(
    world: World, stub: Stub
) -> None:
    (event,) = batches(1)
    async with world.dispatching(stub.url) as source:
        world.produce([event])
        await until(lambda: source.tally.dead_lettered == 1, "a dead letter")
    left = await world.dlq("put-back", sink="http://127.0.0.1:9")
    assert left.status == 0
    assert left.out == (
        "0 letters put back, as 0 events\n"
        "1 left, whose topic cannot be told:\n"
        f"  0-0  {event.id}  {READINGS_V1}\n"
    )
    assert await world.records() == 1


async def test_without_letters_or_without_kafka_it_is_said(world: World, stub: Stub) -> None:
    assert (await world.dlq("list", sink=stub.url)).out == "no dead letters\n"
    del world.environ["TWINUP_KAFKA_BROKERS"]
    nowhere = await world.dlq("list", sink=stub.url)
    assert (nowhere.status, nowhere.out) == (1, "")
    assert "TWINUP_KAFKA_BROKERS" in nowhere.err


def since(seconds: float) -> str:
    return rfc3339_at(time.time() - seconds)


def rfc3339_at(epoch: float) -> str:
    return rfc3339(datetime.fromtimestamp(epoch, UTC))


async def test_a_replay_of_what_was_delivered_changes_no_row(
    world: World, consumer: str, database: Database
) -> None:
    async with world.dispatching(consumer) as source:
        world.produce(batches(10))
        await until(lambda: source.tally.delivered == 10, "all deliveries")
    assert await raw_rows(database) == 30
    done = await world.replay("--from", since(600), sink=consumer)
    assert (done.status, done.out) == (0, "replayed 10 events: 10 accepted, 0 refused\n")
    assert await raw_rows(database) == 30


async def test_a_replay_adds_the_readings_that_are_missing_and_no_other_row(
    world: World, consumer: str, database: Database
) -> None:
    """The consumer remembers none of these events at first, and all of them later."""
    events = batches(10)
    world.produce(events)
    stored = [reading for event in events[:8] for reading in json.loads(event.data)[:2]]
    for reading in stored:
        moment = datetime.fromtimestamp(reading["timestamp"] / 1000, UTC)
        row = {"device_id": reading["device_id"], "timestamp": moment, "humidity": 50}
        await database.insert("readings", row)
    assert await raw_rows(database) == 16
    done = await world.replay("--from", since(600), sink=consumer)
    assert (done.status, done.out) == (0, "replayed 10 events: 10 accepted, 0 refused\n")
    assert await count(database) == 30
    assert await raw_rows(database) == 30

    await database.text(
        "ALTER TABLE readings DELETE WHERE device_id IN ('device-3', 'device-9') "
        "SETTINGS mutations_sync = 1"
    )
    assert await raw_rows(database) == 24
    assert (await world.replay("--from", since(600), sink=consumer)).status == 0
    assert await count(database) == 30
    assert await raw_rows(database) == 30


async def test_a_replay_delivers_the_stretch_marked_as_the_dispatcher_would(
    world: World, stub: Stub
) -> None:
    stub.status = 202
    async with world.dispatching(stub.url) as source:
        world.produce(batches(2))
        world.produce_plain(b"{}")
        await until(lambda: source.tally.delivered == 3, "all deliveries")
    before = {headers["ce-id"]: headers for headers in stub.got}
    await asyncio.sleep(0.01)
    middle = time.time()
    await asyncio.sleep(0.01)
    world.produce(batches(3))
    stub.got.clear()

    done = await world.replay(
        "--from", since(600), "--to", rfc3339_at(middle), "--at-once", "2", sink=stub.url
    )
    assert (done.status, done.out) == (0, "replayed 3 events: 3 accepted, 0 refused\n")
    replayed = {headers["ce-id"]: headers for headers in stub.got}
    (name,) = {headers.pop("ce-replayed") for headers in replayed.values()}
    assert replayed == before
    stub.got.clear()
    await world.replay("--from", since(600), "--to", rfc3339_at(middle), sink=stub.url)
    assert {headers["ce-replayed"] for headers in stub.got}.isdisjoint({name})
    assert len(stub.got) == 3

    stub.got.clear()
    done = await world.replay("--from", rfc3339_at(middle), sink=stub.url)
    assert done.out == "replayed 3 events: 3 accepted, 0 refused\n"
    assert len(stub.got) == 3


async def test_what_a_replay_could_not_deliver_is_named_after_its_retries(
    world: World, stub: Stub
) -> None:
    world.produce(batches(1))
    stub.status = 503
    done = await world.replay("--from", since(600), sink=stub.url)
    assert done.status == 1
    assert done.out == (
        f"replayed 1 events: 0 accepted, 1 refused\n  {world.data}/0/0: status 503: no use\n"
    )
    assert len(stub.got) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "noon"], "'noon' is no time"),
        (["--from", "2026-11-24T10:00:00"], "does not say its time zone"),
        (["--from", "2999-01-01T00:00:00Z"], "lies in the future"),
        (["--from", "2020-01-01T00:00:00Z", "--at-once", "0"], "--at-once must be 1 or more"),
        (["--from", "2020-01-01T00:00:00Z", "--topic", "no-such-topic"], "there is no topic"),
    ],
)
async def test_a_replay_that_cannot_be_is_refused_in_words(
    world: World, stub: Stub, words: list[str], message: str
) -> None:
    done = await world.replay(*words, sink=stub.url)
    assert (done.status, done.out.startswith("Traceback")) == (1, False)
    assert message in done.err
    assert stub.got == []


async def test_a_replay_without_the_consumers_address_asks_for_it(world: World) -> None:
    done = await world.replay("--from", since(60), sink="")
    assert done.status == 1
    assert "TWINUP_DISPATCHER_SINKS=consumer=" in done.err
