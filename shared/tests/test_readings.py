"""What the contract takes as a reading, and what becomes of everything else."""

import io
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_shared.contracts.events import ARROW_STREAM, JSON, READINGS_V1, Event
from sensor_shared.contracts.readings import (
    MAX_READINGS_PER_EVENT,
    METRICS,
    SCHEMA,
    Decoded,
    decode,
    decode_all,
    decoding,
    device_type,
    splitting,
)

NOW_MS = 1_795_462_338_979
NOW = "2026-11-23T19:32:18.979Z"


def reading(**changes: Any) -> dict[str, Any]:
    return {
        "device_id": "weather_station_001534",
        "timestamp": NOW,
        "temperature": 3.73,
        "humidity": 55.04,
        "pressure": 1010.61,
        "location": {"latitude": 40.106052, "longitude": 27.533442, "region": "west"},
        "status": "active",
    } | changes


def decode_json(data: Any) -> Decoded:
    return decode(Event("1", "test", READINGS_V1, json.dumps(data).encode(), JSON), NOW_MS)


def arrow(table: pa.Table, compression: str | None = None) -> Event:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return Event("1", "test", READINGS_V1, sink.getvalue(), ARROW_STREAM)


def decode_arrow(table: pa.Table) -> Decoded:
    return decode(arrow(table), NOW_MS)


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    columns = decoded.batch.set_column(
        1, "timestamp", decoded.batch.column("timestamp").cast(pa.int64())
    )
    listed: list[dict[str, Any]] = columns.to_pylist()
    return listed


def test_one_object_is_one_reading() -> None:
    decoded = decode_json(reading())
    assert decoded.batch.schema == SCHEMA
    assert decoded.rejects == []
    assert rows(decoded) == [
        {
            "device_id": "weather_station_001534",
            "timestamp": NOW_MS,
            "temperature": 3.73,
            "humidity": 55.04,
            "pressure": 1010.61,
            "status": "active",
            "latitude": 40.106052,
            "longitude": 27.533442,
            "region": "west",
        }
    ]


def test_a_record_of_the_original_producer_is_taken_with_its_nanoseconds_cut_off() -> None:
    raw = (
        b'{"device_id":"weather_station_001534","timestamp":"2026-11-23T19:32:18.979923184Z",'
        b'"temperature":3.73,"humidity":55.04,"pressure":1010.61,'
        b'"location":{"latitude":40.106052,"longitude":27.533442,"region":"west"},'
        b'"status":"active"}'
    )
    decoded = decode(Event("partition:0/offset:1", "s", "dev.knative.kafka.event", raw), NOW_MS)
    assert rows(decoded)[0]["timestamp"] == NOW_MS
    assert decoded.rejects == []


@pytest.mark.parametrize(
    ("timestamp", "epoch_ms"),
    [
        (NOW_MS, NOW_MS),
        (float(NOW_MS), NOW_MS),
        ("2026-11-23T22:32:18.979+03:00", NOW_MS),
        ("2026-11-23T19:32:18Z", NOW_MS - 979),
        ("2026-11-23T19:32:18.979999Z", NOW_MS),
    ],
)
def test_a_timestamp_is_rfc_3339_or_epoch_milliseconds(timestamp: Any, epoch_ms: int) -> None:
    assert rows(decode_json(reading(timestamp=timestamp)))[0]["timestamp"] == epoch_ms


def test_missing_values_are_null_never_numbers() -> None:
    decoded = decode_json(
        [
            reading(temperature=-999.0),
            reading(temperature=-999),
            reading(temperature=None),
            reading(temperature=float("nan")),
        ]
    )
    assert [row["temperature"] for row in rows(decoded)] == [None] * 4
    assert decoded.rejects == []


def test_only_device_timestamp_and_one_metric_are_needed() -> None:
    (row,) = rows(decode_json({"device_id": "d", "timestamp": NOW_MS, "pressure": 1000}))
    assert row["pressure"] == 1000.0
    assert row["status"] == "active"
    assert (row["temperature"], row["latitude"], row["region"]) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device_id": ""}, "invalid_device_id"),
        ({"device_id": None}, "invalid_device_id"),
        ({"device_id": 7}, "invalid_device_id"),
        ({"device_id": "x" * 129}, "invalid_device_id"),
        ({"device_id": "two words"}, "invalid_device_id"),
        ({"device_id": "line\n"}, "invalid_device_id"),
        ({"device_id": "\ud800"}, "invalid_device_id"),
        ({"timestamp": None}, "invalid_timestamp"),
        ({"timestamp": "yesterday"}, "invalid_timestamp"),
        ({"timestamp": "2026-11-23T19:32:18"}, "invalid_timestamp"),
        ({"timestamp": True}, "invalid_timestamp"),
        ({"timestamp": 10**30}, "invalid_timestamp"),
        ({"timestamp": float("inf")}, "invalid_timestamp"),
        ({"timestamp": NOW_MS + 6 * 60_000}, "timestamp_in_future"),
        ({"timestamp": NOW_MS - 91 * 86_400_000}, "timestamp_too_old"),
        ({"temperature": "warm"}, "invalid_temperature"),
        ({"temperature": True}, "invalid_temperature"),
        ({"temperature": 10**400}, "invalid_temperature"),
        ({"temperature": -300}, "temperature_out_of_range"),
        ({"temperature": float("inf")}, "temperature_out_of_range"),
        ({"humidity": 100.01}, "humidity_out_of_range"),
        ({"humidity": -0.01}, "humidity_out_of_range"),
        ({"pressure": -1}, "pressure_out_of_range"),
        ({"temperature": -999.0, "humidity": -999.0, "pressure": -999.0}, "no_measurement"),
        ({"status": "sleeping"}, "invalid_status"),
        ({"status": 1}, "invalid_status"),
        ({"location": "here"}, "invalid_location"),
        ({"location": {"latitude": 91, "longitude": 0}}, "invalid_location"),
        ({"location": {"latitude": 1}}, "invalid_location"),
        ({"location": {"latitude": "1", "longitude": 1}}, "invalid_location"),
        ({"location": {"region": "r" * 65}}, "invalid_location"),
    ],
)
def test_a_bad_reading_is_a_reject_with_its_bytes_and_its_neighbours_stay(
    changes: dict[str, Any], reason: str
) -> None:
    bad = reading(**changes)
    decoded = decode_json([reading(device_id="before"), bad, reading(device_id="after")])
    assert [row["device_id"] for row in rows(decoded)] == ["before", "after"]
    (reject,) = decoded.rejects
    assert (reject.position, reject.reason) == (1, reason)
    assert reject.detail
    assert json.dumps(json.loads(reject.raw)) == json.dumps(bad)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1,", b"\xff\xfe", b"[" * 100_000, b'{"a":1}trailing']
)
def test_what_is_no_json_is_one_reject_with_all_its_bytes(data: bytes) -> None:
    decoded = decode(Event("1", "test", READINGS_V1, data, JSON), NOW_MS)
    assert decoded.batch.num_rows == 0
    assert [(r.position, r.reason, r.raw) for r in decoded.rejects] == [(0, "invalid_json", data)]


@pytest.mark.parametrize("item", [5, "text", None, [], True])
def test_what_is_no_object_is_a_reject(item: Any) -> None:
    decoded = decode_json([reading(), item])
    assert decoded.batch.num_rows == 1
    assert [(r.position, r.reason) for r in decoded.rejects] == [(1, "not_an_object")]


def test_an_empty_array_holds_nothing() -> None:
    decoded = decode_json([])
    assert (decoded.batch.num_rows, decoded.rejects) == (0, [])


def test_unknown_fields_are_counted_and_ignored() -> None:
    place = {"latitude": 1.0, "longitude": 2.0, "altitude": 3.0}
    decoded = decode_json([reading(firmware="1.2", location=place), reading()])
    assert decoded.batch.num_rows == 2
    assert decoded.unknown_fields == 2


def test_data_of_another_kind_is_a_reject() -> None:
    decoded = decode(Event("1", "test", READINGS_V1, b"a,b\n1,2\n", "text/csv"), NOW_MS)
    assert [(r.reason, r.raw) for r in decoded.rejects] == [
        ("unsupported_content_type", b"a,b\n1,2\n")
    ]


def test_too_many_readings_in_one_event_are_refused_whole() -> None:
    data = (
        b"[" + b",".join([b'{"device_id":"d","timestamp":1}'] * (MAX_READINGS_PER_EVENT + 1)) + b"]"
    )
    decoded = decode(Event("1", "test", READINGS_V1, data, JSON), NOW_MS)
    assert [r.reason for r in decoded.rejects] == ["too_many_readings"]


def test_arrow_and_json_say_the_same() -> None:
    items = [reading(device_id=f"d{i}", temperature=i / 10) for i in range(10)]
    from_json = decode_json(items)
    from_arrow = decode_arrow(pa.Table.from_batches([from_json.batch]))
    assert from_arrow.batch.equals(from_json.batch)


def test_arrow_takes_other_types_that_lose_nothing() -> None:
    table = pa.table(
        {
            "device_id": pa.array(["a", "b"]).dictionary_encode(),
            "timestamp": pa.array([NOW_MS, NOW_MS]),
            "temperature": pa.array([1, 2], pa.int16()),
            "pressure": pa.array([1000.5, None], pa.float32()),
            "location": pa.array([{"latitude": 1.0, "longitude": 2.0, "region": "east"}, None]),
        }
    )
    decoded = decode_arrow(table)
    assert decoded.rejects == []
    assert [row["region"] for row in rows(decoded)] == ["east", None]
    assert [row["temperature"] for row in rows(decoded)] == [1.0, 2.0]


def test_an_arrow_row_that_breaks_a_rule_is_a_reject_and_the_rest_stays() -> None:
    table = pa.table(
        {
            "device_id": ["a", None, "c", "d"],
            "timestamp": pa.array([NOW_MS, NOW_MS, None, NOW_MS], pa.timestamp("ms", "UTC")),
            "humidity": [50.0, 50.0, 50.0, 101.0],
        }
    )
    decoded = decode_arrow(table)
    assert [row["device_id"] for row in rows(decoded)] == ["a"]
    assert [(r.position, r.reason) for r in decoded.rejects] == [
        (1, "invalid_device_id"),
        (2, "invalid_timestamp"),
        (3, "humidity_out_of_range"),
    ]
    assert json.loads(decoded.rejects[2].raw)["device_id"] == "d"


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("device_id", pa.array([1, 2]), "invalid_device_id"),
        ("timestamp", pa.array(["now", "now"]), "invalid_timestamp"),
        ("timestamp", pa.array([NOW_MS, NOW_MS], pa.timestamp("ms")), "invalid_timestamp"),
        ("temperature", pa.array(["1", "2"]), "invalid_temperature"),
        ("status", pa.array([1, 2]), "invalid_status"),
        ("location", pa.array([1, 2]), "invalid_location"),
    ],
)
def test_an_arrow_column_of_a_wrong_type_rejects_its_readings(
    column: str, values: pa.Array, reason: str
) -> None:
    columns = {
        "device_id": pa.array(["a", "b"]),
        "timestamp": pa.array([NOW_MS, NOW_MS]),
        "humidity": pa.array([50.0, 50.0]),
    } | {column: values}
    decoded = decode_arrow(pa.table(columns))
    assert decoded.batch.num_rows == 0
    assert [r.reason for r in decoded.rejects] == [reason] * 2


def test_an_arrow_stream_without_columns_is_kept_whole() -> None:
    batch = pa.RecordBatch.from_pylist([{"a": 1}] * 3).select([])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    event = Event("1", "/tests", READINGS_V1, sink.getvalue(), ARROW_STREAM)
    decoded = decode(event, NOW_MS)
    assert decoded.batch.num_rows == 0
    assert [reject.raw for reject in decoded.rejects] == [event.data, b"", b""]


def test_a_damaged_arrow_stream_is_one_reject() -> None:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(decode_json(reading()).batch)
    data = sink.getvalue()[:-40]
    decoded = decode(Event("1", "test", READINGS_V1, data, ARROW_STREAM), NOW_MS)
    assert [(r.reason, r.raw) for r in decoded.rejects] == [("invalid_arrow", data)]


def test_two_arrow_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["device_id", "device_id"])
    assert [r.reason for r in decode_arrow(table).rejects] == ["invalid_arrow"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.binary(max_size=300), kind=st.sampled_from([None, JSON, ARROW_STREAM, "text/plain"]))
def test_arbitrary_bytes_never_raise_and_are_never_lost(data: bytes, kind: str | None) -> None:
    decoded = decode(Event("1", "test", READINGS_V1, data, kind), NOW_MS)
    if decoded.batch.num_rows == 0 and not decoded.rejects:
        assert data.strip().startswith(b"[") or kind == ARROW_STREAM


@given(
    items=st.lists(
        JSON_VALUES
        | st.fixed_dictionaries({}, optional=dict.fromkeys(reading(), JSON_VALUES))
        | st.builds(reading, temperature=st.floats(-50, 50) | JSON_VALUES),
        max_size=8,
    )
)
def test_every_item_of_an_array_becomes_a_reading_or_a_reject(items: list[Any]) -> None:
    decoded = decode_json(items)
    assert decoded.batch.num_rows + len(decoded.rejects) == len(items)
    positions = [reject.position for reject in decoded.rejects]
    assert positions == sorted(set(positions))
    for metric in METRICS:
        assert -999.0 not in decoded.batch.column(metric).to_pylist()


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "device_id": st.sampled_from(["a", "b-2", "no good", "", None]),
    "timestamp": st.sampled_from([NOW_MS, NOW_MS - 1, NOW_MS + 3_600_000, 0, None]),
    "temperature": st.sampled_from([20.5, -999.0, -300.0, None]),
    "humidity": st.sampled_from([50.0, 101.0, None]),
    "status": st.sampled_from(["active", "error", "asleep", None]),
    "latitude": st.sampled_from([1.0, 91.0, None]),
    "longitude": st.sampled_from([1.0, None]),
    "region": st.sampled_from(["west", "w" * 65, None]),
}
_KINDS: dict[str, Any] = {
    "device_id": pa.string(),
    "timestamp": pa.timestamp("ms", "UTC"),
    "status": pa.string(),
    "region": pa.string(),
}


@st.composite
def _events(draw: st.DrawFn) -> Event:
    """Of any form; Arrow now and then without a column, or with one of a wrong type."""
    form = draw(st.sampled_from(["arrow", "arrow", "json", "bytes"]))
    if form == "bytes":
        return Event("1", "test", READINGS_V1, draw(st.binary(max_size=20)), ARROW_STREAM)
    count = draw(st.integers(0, 5))
    names = draw(st.lists(st.sampled_from(sorted(_VALUES)), unique=True, min_size=1))
    columns = {
        name: draw(st.lists(_VALUES[name], min_size=count, max_size=count)) for name in names
    }
    if form == "json":
        place = {name: columns.pop(name) for name in ("latitude", "longitude") if name in columns}
        columns.pop("region", None)
        items: list[dict[str, Any]] = [
            {name: values[at] for name, values in columns.items()} for at in range(count)
        ]
        for at, item in enumerate(items):
            if place:
                item["location"] = {name: values[at] for name, values in place.items()}
        return Event("1", "test", READINGS_V1, json.dumps(items).encode(), JSON)
    arrays = {
        name: pa.array(values, _KINDS.get(name, pa.float64())) for name, values in columns.items()
    }
    if draw(st.integers(0, 4)) == 0:
        arrays["junk"] = pa.array(range(count))
    if draw(st.integers(0, 4)) == 0:
        arrays["temperature"] = pa.array(["warm"] * count, pa.string())
    return arrow(pa.table(arrays))


@given(st.lists(_events(), max_size=8))
def test_events_together_are_what_each_is_alone(events: list[Event]) -> None:
    found = decode_all(events, NOW_MS)
    assert len(found) == len(events)
    for one, event in zip(found, events, strict=True):
        alone = decode(event, NOW_MS)
        assert one.batch.equals(alone.batch)
        assert one.rejects == alone.rejects
        assert one.unknown_fields == alone.unknown_fields


def test_what_unfolds_to_much_is_decoded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []

    def split_all(parsed: list[Any], now_ms: int) -> Any:
        together.append(len(parsed))
        return splitting.split_all(parsed, now_ms)

    monkeypatch.setattr(decoding, "split_all", split_all)
    one: dict[str, list[Any]] = {"device_id": ["a"], "timestamp": [NOW_MS], "temperature": [1.0]}
    large = {name: values * 40_000 for name, values in one.items()}
    bomb = arrow(pa.table(one | {"junk": ["x" * 2**20]}), compression="zstd")
    assert len(bomb.data) < 10_000
    small = arrow(pa.table(one))
    found = decode_all([small, arrow(pa.table(large)), bomb, small], NOW_MS)
    assert [len(each.batch) for each in found] == [1, 40_000, 1, 1]
    assert together == [2]


def test_the_type_is_in_the_id_of_simulated_devices_only() -> None:
    assert device_type("weather_station_001534") == "weather_station"
    assert device_type("boiler-7") == "unknown"
