"""Devices and their minutes in Redis, read in bulk and written by compare-and-set."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from redis.asyncio import Redis

from sensor_shared.adapters.windows import MinuteKey, WindowKeys, read_records
from sensor_shared.contracts.windows.layout import TOKEN_BYTES

_SPARE_MS = 120_000
_DEVICES_PER_SCRIPT = 150  # bounds how long one script holds Redis up

# For each device: its key and the keys of its earlier minutes; the token that its record began with
# when it was read, the new record, the number of minutes and their new records.
_SAVE = """
local lost, key, arg, device = {}, 1, 2, 0
while key <= #KEYS do
  local minutes = tonumber(ARGV[arg + 2])
  if redis.call('GETRANGE', KEYS[key], 0, 7) == ARGV[arg] then
    redis.call('SET', KEYS[key], ARGV[arg + 1], 'PX', ARGV[1])
    for i = 1, minutes do
      redis.call('SET', KEYS[key + i], ARGV[arg + 2 + i], 'PX', ARGV[1])
    end
  else
    lost[#lost + 1] = device
  end
  key, arg, device = key + 1 + minutes, arg + 3 + minutes, device + 1
end
return lost
"""


class Change(NamedTuple):
    """The new state of one device.

    Attributes:
        device_id: whose.
        before: its record as it was read, None when there was none.
        record: its new record; the token is set by `save`.
        minutes: the records of earlier minutes that have changed.
    """

    device_id: str
    before: bytes | None
    record: bytes
    minutes: Sequence[tuple[int, bytes]]


class DeviceStore:
    """What analytics remembers of each device, for as long as a trend looks back.

    A device's record and all its minutes change together, and only if nobody has changed the
    device since it was read: each write replaces the record's token by one that never was
    there before.

    Args:
        redis: answers bytes.
        prefix: begin of all keys.
        window: minutes that a trend looks back.
    """

    def __init__(self, redis: Redis, prefix: str, window: int):
        self._redis = redis
        self._keys = WindowKeys(prefix)
        self._ttl_ms = window * 60_000 + _SPARE_MS
        self._script = redis.register_script(_SAVE)

    async def devices(self, ids: Sequence[str]) -> list[bytes | None]:
        """Returns the devices' records, None for a device that is not known.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        return await read_records(self._redis, [self._keys.device(device) for device in ids])

    async def minutes(self, wanted: Sequence[MinuteKey]) -> list[bytes | None]:
        """Returns the records of minutes that have one of their own.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        return await read_records(self._redis, [self._keys.minute(*minute) for minute in wanted])

    async def save(self, changes: Sequence[Change]) -> set[str]:
        """Writes each device unless somebody else has changed it since it was read.

        Returns:
            The devices that were not written.

        Raises:
            RedisError, OSError: when Redis does not answer; some devices may be written.
        """
        lost: set[str] = set()
        for at in range(0, len(changes), _DEVICES_PER_SCRIPT):
            lost |= await self._save(changes[at : at + _DEVICES_PER_SCRIPT])
        return lost

    async def _save(self, changes: Sequence[Change]) -> set[str]:
        token = secrets.token_bytes(TOKEN_BYTES)
        keys: list[str] = []
        args: list[bytes | str | int] = [self._ttl_ms]
        for change in changes:
            keys.append(self._keys.device(change.device_id))
            keys += [self._keys.minute(change.device_id, minute) for minute, _ in change.minutes]
            args.append((change.before or b"")[:TOKEN_BYTES])
            args.append(token + change.record[TOKEN_BYTES:])
            args.append(len(change.minutes))
            args += [record for _, record in change.minutes]
        lost: list[int] = await self._script(keys, args)
        return {changes[at].device_id for at in lost}
