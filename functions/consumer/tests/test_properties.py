"""Good and bad readings in one event, in any form: the good are stored, the bad kept as sent."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import structlog
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from sensor_consumer.delivery import Delivery
from sensor_consumer.handler import Handler
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import ARROW_STREAM, JSON, READINGS_V1, new_id
from sensor_shared.contracts.rules import Breach, load_rules
from sensor_shared.runtime.events import EventApp
from sensor_shared.testing import rest

from .conftest import RULES, now_ms, reading

NOW_MS = now_ms()
ROOT = Path(__file__).parents[3]
THE_RULES = load_rules(RULES)
METRIC = st.none() | st.integers(0, 90_000).map(lambda thousandths: thousandths / 1000)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats() | st.sampled_from([2**63, -(2**63), 1e308])
WILD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@dataclass(frozen=True)
class Item:
    """One reading of an event as its bytes, and what of it must be stored: None for a bad one."""

    raw: bytes
    stored: tuple[Any, ...] | None = None


@st.composite
def good_items(draw: st.DrawFn) -> Item:
    moment = NOW_MS - draw(st.integers(0, 1_000_000))
    device = f"d-{new_id()}"  # not drawn: the generator likes to repeat itself
    values = (draw(METRIC), draw(METRIC), draw(st.integers(0, 10**6)) / 10)
    fields = reading(device, moment) | dict(
        zip(("temperature", "humidity", "pressure"), values, strict=True)
    )
    if draw(st.booleans()):
        del fields["location"]
    if draw(st.booleans()):
        fields["unheard_of"] = draw(WILD.filter(lambda value: value == value))  # noqa: PLR0124
    text = json.dumps(fields, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = text.replace('"device_id"', '"device_id": "twice", "device_id"', 1)
    try:
        raw = text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can spell
        raw = json.dumps(fields).encode()
    return Item(raw, (device, moment, *values))


def _bad(**changes: Any) -> bytes:
    return json.dumps(reading("bad") | changes).encode()


BAD_ITEMS = st.one_of(
    st.integers(1, 2_000).map(lambda depth: b"[" * depth + b"]" * depth),
    st.integers(4_301, 6_000).map(lambda digits: b'{"timestamp":' + b"9" * digits + b"}"),
    st.sampled_from(
        [
            b"NaN",
            b'{"device_id":"d","timestamp":NaN,"humidity":1}',
            b'{"device_id":"\xff\xfe","timestamp":1}',
            b'{"device_id":"\\ud800","timestamp":1}',
            b'{"a":"[{\\"","b":tru}',
            b'{"device_id":1e999,"timestamp":-Infinity}',
            b'{"temperature":1,"temperature":"hot"}',
            b"{}",
        ]
    ),
    WILD.filter(lambda value: not isinstance(value, dict)).map(
        lambda value: json.dumps(value).encode()
    ),
    st.builds(_bad, humidity=st.sampled_from([101, -1, "1", True, [], {}, 10**400, 1e308])),
    st.builds(_bad, timestamp=NUMBERS.filter(lambda n: not 10**11 < n < 10**13)),
    st.builds(_bad, device_id=WILD.filter(lambda value: not isinstance(value, str))),
    st.builds(_bad, status=st.just("asleep") | st.integers()),
).map(Item)
SPACES = st.text(st.sampled_from(" \t\r\n"), max_size=70).map(str.encode)


@st.composite
def json_events(draw: st.DrawFn) -> tuple[bytes, list[Item]]:
    items = draw(st.lists(good_items() | BAD_ITEMS, min_size=1, max_size=8))
    space = draw(SPACES)
    body = space + b"[" + space + (b"," + space).join(item.raw for item in items) + b"]" + space
    return body, items


COLUMN_KINDS: dict[str, list[Callable[[pa.Array], pa.Array]]] = {
    "device_id": [
        lambda column: column,
        lambda column: column.cast(pa.large_string()),
        lambda column: column.cast(pa.string_view()),
        lambda column: column.dictionary_encode(),
    ],
    "timestamp": [
        lambda column: column,
        lambda column: column.cast(pa.timestamp("ms", "UTC")),
        lambda column: column.cast(pa.timestamp("ms", "Nowhere/Land")),
    ],
    "humidity": [lambda column: column, lambda column: column.dictionary_encode()],
}
EXTRAS: list[Callable[[int], pa.Array]] = [
    lambda rows: pa.array([10**18] * rows, pa.timestamp("s", "UTC")),
    lambda rows: pa.array([1] * rows, pa.timestamp("ns", "Nowhere/Land")),
    lambda rows: pa.array([2**62] * rows, pa.duration("s")),
    lambda rows: pa.array([[[1], None]] * rows),
    lambda rows: pa.array([(1, 2, 3)] * rows, pa.month_day_nano_interval()),
    lambda rows: pa.RunEndEncodedArray.from_arrays(pa.array([rows], pa.int32()), pa.array(["x"])),
    lambda rows: pa.UnionArray.from_sparse(pa.array([0] * rows, pa.int8()), [pa.array([1] * rows)]),
    lambda rows: pa.StructArray.from_arrays([pa.array([1] * rows)] * 2, ["x", "x"]),
    lambda rows: pa.array([b"\xff"] * rows),
    lambda rows: (
        pa.array([{"a": 1}] * rows, pa.map_(pa.string(), pa.int32()))
        if rows == 0
        else pa.array([[("a", 1)]] * rows, pa.map_(pa.string(), pa.int32()))
    ),
]


@st.composite
def arrow_events(draw: st.DrawFn) -> tuple[bytes, list[Item]]:
    """Rows of which some are bad by one cell, in any types that fit, batches and compression."""
    goods: list[bool] = draw(st.lists(st.booleans(), max_size=8))
    rows: list[dict[str, Any]] = []
    items: list[Item] = []
    for good in goods:
        row = {"device_id": f"d-{draw(st.uuids())}", "timestamp": NOW_MS, "humidity": 50.5}
        if good:
            items.append(Item(b"", (row["device_id"], row["timestamp"], None, 50.5, None)))
        else:
            items.append(Item(b""))
            row |= draw(
                st.sampled_from(
                    [
                        {"device_id": None},
                        {"device_id": "two words\x00" * 30},
                        {"timestamp": None},
                        {"timestamp": 2**63 - 1},
                        {"timestamp": -(2**63)},
                        {"humidity": float("nan")},
                        {"humidity": float("inf")},
                        {"humidity": 100.5},
                    ]
                )
            )
        rows.append(row)
    columns = {
        "device_id": pa.array([row["device_id"] for row in rows], pa.string()),
        "timestamp": pa.array([row["timestamp"] for row in rows], pa.int64()),
        "humidity": pa.array([row["humidity"] for row in rows], pa.float64()),
    }
    for name, column in columns.items():
        as_kind: Callable[[pa.Array], pa.Array] = draw(st.sampled_from(COLUMN_KINDS[name]))
        columns[name] = as_kind(column)
    with_extra = draw(st.booleans())
    if rows and with_extra:
        extra: Callable[[int], pa.Array] = draw(st.sampled_from(EXTRAS))
        columns["extra"] = extra(len(rows))
    batch = pa.RecordBatch.from_pydict(columns)
    compression = draw(st.sampled_from([None, "lz4", "zstd"]))
    cut = draw(st.integers(0, len(rows)))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for part in (batch.slice(0, cut), batch.slice(cut)):
            writer.write_batch(part)
    return sink.getvalue().to_pybytes(), items


@dataclass
class Shelf:
    """Takes what the handler stores and reports."""

    deliveries: list[Delivery] = field(default_factory=list)

    async def add(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    async def report(self, breaches: Sequence[Breach]) -> None:
        assert breaches

    @property
    def stored(self) -> list[tuple[Any, ...]]:
        return [
            (
                row["device_id"],
                int(row["timestamp"].timestamp() * 1000 + 0.5),
                *(row[metric] for metric in ("temperature", "humidity", "pressure")),
            )
            for delivery in self.deliveries
            for row in delivery.batch.to_pylist()
        ]

    @property
    def rejects(self) -> list[tuple[int, str, bytes]]:
        return [
            (reject.position, reject.reason, reject.raw)
            for delivery in self.deliveries
            for reject in delivery.rejects
        ]


def take(body: bytes, content_type: str) -> Shelf:
    """Posts an event in process; it must be accepted without a word in the log."""
    shelf = Shelf()
    app = EventApp("consumer", Handler(shelf, THE_RULES, shelf), max_body_bytes=4_000_000)
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/tests",
        "ce-type": READINGS_V1,
        "content-type": content_type,
    }

    async def post() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://consumer") as client:
            return (await client.post("/", content=body, headers=headers)).status_code

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(post()) == 202
    assert logs == []
    return shelf


@property_settings(max_examples=100, deadline=None)
@given(json_events())
def test_json_good_readings_are_stored_exactly_and_bad_ones_kept_byte_by_byte(
    event: tuple[bytes, list[Item]],
) -> None:
    body, items = event
    shelf = take(body, JSON)
    assert shelf.stored == [item.stored for item in items if item.stored]
    assert [(position, raw) for position, _, raw in shelf.rejects] == [
        (position, item.raw) for position, item in enumerate(items) if not item.stored
    ]


@property_settings(max_examples=100, deadline=None)
@given(arrow_events())
def test_arrow_good_rows_are_stored_exactly_and_bad_ones_kept(
    event: tuple[bytes, list[Item]],
) -> None:
    body, items = event
    shelf = take(body, ARROW_STREAM)
    assert shelf.stored == [item.stored for item in items if item.stored]
    rejects = shelf.rejects
    assert [position for position, _, _ in rejects] == [
        position for position, item in enumerate(items) if not item.stored
    ]
    # Row by row where rows can be written out, else the whole event with the first of them.
    raws = [raw for _, _, raw in rejects]
    assert raws == [body, *([b""] * (len(raws) - 1))] or all(
        json.loads(raw).keys() >= {"device_id", "timestamp", "humidity"} for raw in raws
    )


@property_settings(max_examples=100, deadline=None)
@given(arrow_events(), st.data())
def test_a_cut_or_damaged_arrow_stream_is_kept_whole_or_read_as_far_as_it_is_whole(
    event: tuple[bytes, list[Item]], data: st.DataObject
) -> None:
    whole, items = event
    body = bytearray(whole[: data.draw(st.integers(0, len(whole)), label="cut")])
    if body and data.draw(st.booleans(), label="damage"):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    shelf = take(bytes(body), ARROW_STREAM)
    if [reason for _, reason, _ in shelf.rejects] == ["invalid_arrow"]:
        assert shelf.rejects[0][2] == bytes(body)
    else:
        assert len(shelf.stored) + len(shelf.rejects) <= max(len(items), 1)


def _stream(columns: dict[str, Any], compression: str | None = None) -> bytes:
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _same(rows: int, text: str) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))


@pytest.mark.parametrize("bomb", ["zstd", "lz4", "dictionary", "view"])
def test_bytes_that_unfold_to_very_many_are_refused_before_they_do(bomb: str) -> None:
    rows = 1_000
    ids = ["x" * 100_000] * rows if bomb in ("zstd", "lz4") else _same(rows, "x" * 100_000)
    if bomb == "view":
        ids = pa.array(["x" * 100_000], pa.string_view())
        views = [None, pa.py_buffer(ids.buffers()[1].to_pybytes()[:16] * rows), ids.buffers()[2]]
        ids = pa.Array.from_buffers(pa.string_view(), rows, views)
    columns = {"device_id": ids, "timestamp": [now_ms()] * rows, "humidity": [50.0] * rows}
    body = _stream(columns, bomb if bomb in ("zstd", "lz4") else None)
    assert len(body) < 2_000_000
    allocated = pa.total_allocated_bytes()
    ((_, reason, raw),) = take(body, ARROW_STREAM).rejects
    assert (reason, raw) == ("invalid_arrow", body)
    assert pa.total_allocated_bytes() - allocated < 64 * 1024 * 1024


@pytest.mark.parametrize("extra", ["view", "list"])
def test_rejected_rows_that_cannot_be_written_out_keep_the_event_once(extra: str) -> None:
    columns = {
        "device_id": ["a", "b", "c"],
        "timestamp": [now_ms()] * 3,
        "humidity": [50.0, 101.0, 102.0],
        "extra": pa.array([[1]] * 3) if extra == "list" else pa.array([b"x"] * 3, pa.binary_view()),
    }
    body = _stream(columns)
    shelf = take(body, ARROW_STREAM)
    assert [row[0] for row in shelf.stored] == ["a"]
    assert [raw for _, _, raw in shelf.rejects] == [body, b""]


@pytest.mark.parametrize(
    "body",
    [b"[" + b",".join([b"1"] * 50_001) + b"]", b"[" + b",".join([b"NaN"] * 50_001) + b"]"],
    ids=["numbers", "no JSON"],
)
def test_too_many_items_of_any_kind_are_one_reject(body: bytes) -> None:
    assert take(body, JSON).rejects == [(0, "too_many_readings", body)]


@contextmanager
def served(environment: dict[str, str], log: Path) -> Iterator[httpx.Client]:
    """Runs the consumer as it is deployed: a process under functions-framework."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {**os.environ, **environment, "TWINUP_SERVER_PORT": str(port)}
    command = [sys.executable, "-m", "sensor_shared.runtime", "functions/consumer"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            deadline = time.monotonic() + 60
            while not _ready(client):
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/readiness").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.integration
def test_by_http_into_the_real_tables_every_reading_is_in_one_of_them(
    redis_server: Any, clickhouse_server: Any, worker_id: str, tmp_path: Path
) -> None:
    number = asyncio.run(rest.empty_database(redis_server.host, redis_server.port, worker_id))
    clickhouse = {
        "port": clickhouse_server.port,
        "user": clickhouse_server.user,
        "password": clickhouse_server.password,
        "database": clickhouse_server.database(),
    }
    environment = {f"TWINUP_CLICKHOUSE_{key.upper()}": str(v) for key, v in clickhouse.items()} | {
        "TWINUP_REDIS_PORT": str(redis_server.port),
        "TWINUP_REDIS_DB": str(number),
        "TWINUP_LAG_ENABLED": "false",
        "TWINUP_FLOOD_MAX_SHARE": "1",
        # Nobody takes alerts here: no rule is broken below this.
        "TWINUP_BREACHES_RULES": str(tmp_path / "rules.yaml"),
        "TWINUP_ALERTS_TOKEN": "t" * 32,
    }
    (tmp_path / "rules.yaml").write_text("rules: []\n")
    sent: dict[str, list[Item]] = {}
    malformed = 0
    log = tmp_path / "log"
    with served(environment, log) as client:

        @property_settings(max_examples=25, deadline=None, database=None)
        @given(json_events(), st.sampled_from(["binary", "structured", "no id"]))
        def deliver(event: tuple[bytes, list[Item]], mode: str) -> None:
            nonlocal malformed
            body, items = event
            attributes = {"id": new_id(), "source": "/t", "type": READINGS_V1, "specversion": "1.0"}
            headers = {f"ce-{name}": value for name, value in attributes.items()}
            headers["content-type"] = JSON
            if mode == "no id":
                del headers["ce-id"]
                answer = client.post("/", content=body, headers=headers)
                assert (answer.status_code, answer.json()["status"]) == (400, 400)
                malformed += 1
                return
            if mode == "structured":
                items = [item for item in items if item.stored]
                data = [json.loads(item.raw) for item in items]
                body = json.dumps({**attributes, "datacontenttype": JSON, "data": data}).encode()
                headers = {"content-type": "application/cloudevents+json"}
            for _ in range(2):  # a repetition changes nothing
                answer = client.post("/", content=body, headers=headers)
                assert (answer.status_code, answer.content) == (202, b"")
            sent[attributes["id"]] = items

        deliver()
    stored, rejects = asyncio.run(_tables(clickhouse))
    wanted = [item.stored for items in sent.values() for item in items if item.stored]
    assert sorted(stored) == sorted(map(_as_kept, wanted))
    assert sorted(rejects) == sorted(
        (event_id, position, item.raw.hex().upper())
        for event_id, items in sent.items()
        for position, item in enumerate(items)
        if not item.stored
    )
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("event refused") <= malformed


async def _tables(section: dict[str, Any]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    database = Database(ClickHouseSettings.model_validate(section))
    try:
        stored = await database.rows(
            "SELECT device_id, toUnixTimestamp64Milli(timestamp), "
            "toString(temperature), toString(humidity), toString(pressure) FROM readings FINAL"
        )
        rejects = await database.rows(
            "SELECT event_id, position, hex(raw) FROM rejects WHERE reason != '' "
            "AND received_at > now() - INTERVAL 1 HOUR"
        )
    finally:
        await database.close()
    return [tuple(map(str, row)) for row in stored], rejects


def _as_kept(values: tuple[Any, ...]) -> tuple[str, ...]:
    device, moment, *metrics = values
    kept = [None if value is None else _shortest(Decimal(str(value))) for value in metrics]
    return (device, str(moment), *map(str, kept))


def _shortest(value: Decimal) -> str:
    text = f"{value:.3f}"
    return text.rstrip("0").rstrip(".")
