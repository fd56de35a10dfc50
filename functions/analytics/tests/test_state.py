"""Compare-and-set on the real Redis."""

import pytest
from redis.asyncio import Redis

from sensor_analytics.state import Change, DeviceStore
from sensor_shared.contracts.windows.layout import TOKEN_BYTES

pytestmark = pytest.mark.integration

TOKEN = bytes(TOKEN_BYTES)


def change(device: str, before: bytes | None, body: bytes, *minutes: tuple[int, bytes]) -> Change:
    return Change(device, before, TOKEN + body, minutes)


async def test_a_device_and_its_minutes_are_written_together_and_read_back(
    redis: Redis, prefix: str
) -> None:
    store = DeviceStore(redis, prefix, 15)
    changes = [change("a", None, b"A", (1, b"m1"), (2, b"m2")), change("b:1", None, b"B")]
    assert await store.save(changes) == set()
    devices = await store.devices(["b:1", "a", "c"])
    minutes = await store.minutes([("a", 2), ("a", 3), ("a", 1)])
    assert [record and record[TOKEN_BYTES:] for record in devices] == [b"B", b"A", None]
    assert minutes == [b"m2", None, b"m1"]
    keys = [key async for key in redis.scan_iter(f"{prefix}:*")]
    assert len(keys) == 4
    for key in keys:
        assert 15 * 60_000 < await redis.pttl(key) <= 17 * 60_000


async def test_only_the_first_of_two_writers_that_read_the_same_wins(
    redis: Redis, prefix: str
) -> None:
    """The loser's minutes are not written either; other devices of its write are."""
    store = DeviceStore(redis, prefix, 15)
    await store.save([change("a", None, b"0")])
    (before,) = await store.devices(["a"])
    assert await store.save([change("a", before, b"1", (7, b"first"))]) == set()
    second = [change("a", before, b"2", (7, b"second"), (8, b"second")), change("b", None, b"2")]
    assert await store.save(second) == {"a"}
    devices = await store.devices(["a", "b"])
    minutes = await store.minutes([("a", 7), ("a", 8)])
    assert [record and record[TOKEN_BYTES:] for record in devices] == [b"1", b"2"]
    assert minutes == [b"first", None]


async def test_a_device_that_was_gone_meanwhile_counts_as_changed(
    redis: Redis, prefix: str
) -> None:
    store = DeviceStore(redis, prefix, 15)
    await store.save([change("a", None, b"0")])
    (before,) = await store.devices(["a"])
    await redis.delete(*[key async for key in redis.scan_iter(f"{prefix}:*")])
    assert await store.save([change("a", before, b"1")]) == {"a"}
    await store.save([change("a", None, b"2")])
    assert await store.save([change("a", before, b"3")]) == {"a"}


async def test_many_devices_are_written_by_several_scripts(redis: Redis, prefix: str) -> None:
    store = DeviceStore(redis, prefix, 15)
    ids = [f"d{number}" for number in range(1_234)]
    await store.save([change("d600", None, b"other")])
    lost = await store.save([change(device, None, b"x", (1, b"m")) for device in ids])
    assert lost == {"d600"}
    devices = await store.devices(ids)
    assert sum(record is not None and record.endswith(b"x") for record in devices) == 1_233
