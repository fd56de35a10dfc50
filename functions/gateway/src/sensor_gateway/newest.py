"""The newest stored readings of many devices, found by the sort key."""

from collections.abc import Sequence
from typing import Any, Final

from sensor_gateway.readings import document
from sensor_shared.adapters.database import Database

_RECENT_SECONDS: Final = 900
_CHUNK: Final = 50
"""Devices of one statement, each with a look of its own at the end of its readings."""

# What is found in a window without an end is the newest there is.
_RECENT: Final = f"""
SELECT device_id, toUnixTimestamp64Milli(max(timestamp)) FROM readings
WHERE device_id IN {{devices:Array(String)}} AND timestamp > now64(3) - {_RECENT_SECONDS}
GROUP BY device_id
"""  # noqa: S608  (built from constants; values are bound)
_LAST: Final = """
(SELECT device_id, toUnixTimestamp64Milli(timestamp) FROM readings
 WHERE device_id = {{{name}:String}} ORDER BY device_id DESC, timestamp DESC LIMIT 1)
"""
# FINAL looks at those keys alone, where deliveries that came twice may have left two rows.
_READINGS: Final = """
SELECT device_id, timestamp, temperature, humidity, pressure, status FROM readings FINAL
WHERE (device_id, timestamp) IN (
    SELECT pair.1, fromUnixTimestamp64Milli(pair.2, 'UTC')
    FROM (SELECT arrayJoin(arrayZip({devices:Array(String)}, {moments:Array(Int64)})) AS pair)
)
"""
_PLACES: Final = """
SELECT device_id, latitude, longitude, region FROM devices FINAL
WHERE device_id IN {devices:Array(String)}
"""


class NewestReadings:
    """Answers for devices that Redis has nothing of."""

    def __init__(self, database: Database):
        self._database = database

    async def of(self, device_ids: Sequence[str]) -> dict[str, bytes]:
        """Returns the newest reading of each device that has one, as its JSON document.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        if not device_ids:
            return {}
        found = dict(await self._database.rows(_RECENT, devices=list(device_ids)))
        older = [id_ for id_ in device_ids if id_ not in found]
        for start in range(0, len(older), _CHUNK):
            found |= await self._last(older[start : start + _CHUNK])
        if not found:
            return {}
        ids = list(found)
        rows = await self._database.rows(_READINGS, devices=ids, moments=list(found.values()))
        known = await self._database.rows(_PLACES, devices=ids)
        places = {device_id: place for device_id, *place in known}
        nowhere: list[Any] = [None, None, ""]
        return {
            device_id: document(device_id, tuple(values), tuple(places.get(device_id, nowhere)))
            for device_id, *values in rows
        }

    async def _last(self, device_ids: Sequence[str]) -> dict[str, int]:
        names = [f"device_{at}" for at in range(len(device_ids))]
        statement = " UNION ALL ".join(_LAST.format(name=name) for name in names)
        return dict(
            await self._database.rows(statement, **dict(zip(names, device_ids, strict=True)))
        )
