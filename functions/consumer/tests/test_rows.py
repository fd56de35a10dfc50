"""Columns for ClickHouse, the devices that must be told, and the keys that are remembered."""

import math

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sensor_consumer import rows
from sensor_consumer.delivery import Delivery
from sensor_consumer.devices import KnownDevices
from sensor_consumer.seen import RecentKeys
from sensor_shared.contracts.events import READINGS_V1, Event
from sensor_shared.contracts.readings import LIMITS, Reject, empty_batch
from sensor_shared.contracts.readings.numbers import DeviceNumbers

from .conftest import batch_of, reading

KEYS = st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), min_size=1, unique=True)


def read(block: rows.Block) -> pa.Table:
    return pa.ipc.open_stream(block.data).read_all()


@given(
    st.lists(
        st.one_of(st.none(), st.floats(*LIMITS["pressure"]), st.integers(0, 10**8)), min_size=1
    )
)
def test_metrics_are_rounded_to_the_nearest_thousandth(values: list[float | None]) -> None:
    """Whatever has three digits or fewer comes back exactly."""
    given_ = [v / 1000 if isinstance(v, int) else v for v in values]
    batch = batch_of([reading("d", pressure=value) for value in given_])
    stored = read(rows.readings(batch)).column("pressure").to_pylist()
    for value, kept in zip(given_, stored, strict=True):
        if value is None:
            assert kept is None
        else:
            assert abs(float(kept) - value) <= 0.0005 + math.ulp(value)
            if round(value, 3) == value:
                assert float(kept) == value


@given(KEYS)
def test_the_token_depends_on_the_events_and_not_on_their_order(keys: list[str]) -> None:
    assert rows.token(keys) == rows.token(keys[::-1])
    assert len(rows.token(keys)) == 32
    if len(keys) > 1:
        assert rows.token(keys) != rows.token(keys[1:])


def test_the_token_of_one_event_is_its_key() -> None:
    assert rows.token(["0f" * 16]) == "0f" * 16


def test_rejects_keep_any_bytes() -> None:
    event = Event(id="é", source="/tests", type=READINGS_V1, data=b"")
    reject = Reject(3, "invalid_json", "why", "", b"\x00\xff")
    (row,) = read(rows.rejects([Delivery(event, empty_batch(), [reject], 7)])).to_pylist()
    assert (row["event_id"], row["position"], row["raw"]) == ("é", 3, b"\x00\xff")


def test_only_new_and_moved_devices_are_told_and_only_once_stored() -> None:
    known = KnownDevices(DeviceNumbers())
    batch = batch_of([reading("a", 1), reading("b", 2), reading("a", 3)])
    changed = known.changed(batch)
    facts = zip(changed["device_id"].to_pylist(), changed["timestamp"].to_pylist(), strict=True)
    assert sorted((id_, moment.timestamp()) for id_, moment in facts) == [
        ("a", 0.003),
        ("b", 0.002),
    ]
    assert known.changed(batch).num_rows == 2  # not stored yet
    known.remember(changed)
    assert known.changed(batch).num_rows == 0
    elsewhere = {"latitude": 1.0, "longitude": 2.0, "region": "east"}
    moved = batch_of([reading("a", 4, location=elsewhere), reading("b", 5)])
    assert known.changed(moved)["device_id"].to_pylist() == ["a"]


def test_a_full_memory_of_devices_only_tells_them_again() -> None:
    known = KnownDevices(DeviceNumbers(limit=2))
    for name in "abc":
        known.remember(batch_of([reading(name)]))
    assert known.changed(batch_of([reading("c"), reading("a")]))["device_id"].to_pylist() == ["a"]


def test_the_oldest_keys_are_forgotten_first() -> None:
    recent = RecentKeys(2)
    recent.add(["a", "b"])
    recent.add(["a"])
    recent.add(["c"])
    assert [key in recent for key in "abc"] == [True, False, True]
