"""The changes of alerts in ClickHouse: the facts, in the table `alert_changes`."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sensor_alerts.rows import clickhouse
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.contracts.alert_changes import AlertChange
from sensor_shared.telemetry import metrics

_MAX_GROUP: Final = 500
_LINGER_SECONDS: Final = 0.003
"""An insert costs the same for one alert as for many, and those of an event come together."""
_MARK_SECONDS: Final = 1.0
"""Nobody waits for the marks."""
_RECENT: Final = "at > now64(3) - INTERVAL 5 MINUTE"
_lines: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(AlertChange)


class Changes:
    """Reads and writes the changes; concurrent calls share their inserts.

    All methods raise `DatabaseAwayError` when ClickHouse cannot answer now.
    """

    def __init__(self, database: Database):
        self._database = database
        self._write = GroupCommit(self._insert, max_items=_MAX_GROUP, linger=_LINGER_SECONDS)
        self._mark = GroupCommit(self._insert_published, max_items=_MAX_GROUP, linger=_MARK_SECONDS)
        self._find = GroupCommit(self._lookup, max_items=_MAX_GROUP, max_commits=2)

    async def append(self, change: AlertChange) -> None:
        """Writes a change; returns when ClickHouse has acknowledged it."""
        await self._write(change)

    async def published(self, change: AlertChange) -> None:
        """Notes that a change was offered to the notifications and published."""
        await self._mark(change)

    async def of_device(self, device_id: str) -> list[AlertChange]:
        """Returns the newest change of each of a device's alerts that changed in the last day.

        What is older is in `alerts` as well: the sweep has seen to it.
        """
        return await self._find(device_id)

    async def of_alert(self, device_id: str, alert_id: str, limit: int) -> list[AlertChange]:
        """Returns an alert's newest changes, `limit` at most, the oldest of them first."""
        rows = await self._database.rows(
            "SELECT data FROM alert_changes FINAL WHERE device_id = {device:String} "
            "AND alert_id = {alert:String} ORDER BY version DESC LIMIT {limit:UInt32}",
            device=device_id,
            alert=alert_id,
            limit=limit,
        )
        return [_decoder.decode(data) for (data,) in reversed(rows)]

    async def recent(self, alert_id: str) -> AlertChange | None:
        """Returns the newest change of the last minutes of an alert, whichever device it is of."""
        rows = await self._database.rows(
            f"SELECT data FROM alert_changes WHERE {_RECENT} AND alert_id = {{alert:String}} "  # noqa: S608
            "ORDER BY version DESC LIMIT 1",
            alert=alert_id,
        )
        return _decoder.decode(rows[0][0]) if rows else None

    async def unlisted(self) -> list[AlertChange]:
        """Returns the newest changes of alerts whose rows in `alerts` are still to be written.

        What is older than some minutes, the sweep has seen to.
        """
        rows = await self._database.rows(
            "SELECT data FROM (SELECT alert_id, version, data FROM alert_changes "  # noqa: S608
            f"WHERE {_RECENT} ORDER BY device_id, alert_id, version DESC "
            "LIMIT 1 BY device_id, alert_id) "
            "WHERE (alert_id, version) NOT IN "
            "(SELECT alert_id, version FROM alerts WHERE updated_at > now64(3) - INTERVAL 6 MINUTE)"
        )
        return [_decoder.decode(data) for (data,) in rows]

    async def unpublished(self, older_than_seconds: int, limit: int) -> list[AlertChange]:
        """Returns changes of the last day that nobody has published, the oldest first."""
        rows = await self._database.rows(
            "SELECT data FROM alert_changes FINAL "
            "WHERE at > now64(3) - INTERVAL 1 DAY AND published = 0 "
            "AND at < now64(3) - INTERVAL {seconds:UInt32} SECOND "
            "ORDER BY at, version LIMIT {limit:UInt32}",
            seconds=older_than_seconds,
            limit=limit,
        )
        return [_decoder.decode(data) for (data,) in rows]

    async def close(self) -> None:
        """Waits for the writes under way."""
        await self._write.drain()
        await self._mark.drain()

    async def _insert(self, changes: Sequence[AlertChange]) -> list[None]:
        started = time.perf_counter()
        await self._insert_rows([_row(change, published=False) for change in changes])
        elapsed = (time.perf_counter() - started) * 1000
        metrics.INSERT_LATENCY.labels("alert_changes").observe(elapsed)
        return [None] * len(changes)

    async def _insert_published(self, changes: Sequence[AlertChange]) -> list[None]:
        await self._insert_rows([_row(change, published=True) for change in changes])
        return [None] * len(changes)

    async def _insert_rows(self, rows: list[dict[str, Any]]) -> None:
        block = _lines.encode_lines(rows)
        # The same rows are the same block: written again, it is ignored.
        token = hashlib.blake2b(block, digest_size=16).hexdigest()
        await self._database.insert_block(
            "alert_changes", list(rows[0]), block, fmt="JSONEachRow", token=token
        )

    async def _lookup(self, device_ids: Sequence[str]) -> list[list[AlertChange]]:
        rows = await self._database.rows(
            "SELECT data FROM alert_changes WHERE device_id IN {devices:Array(String)} "
            "AND at > now64(3) - INTERVAL 1 DAY "
            "ORDER BY device_id, alert_id, version DESC LIMIT 1 BY device_id, alert_id",
            devices=sorted(set(device_ids)),
        )
        by_device: dict[str, list[AlertChange]] = {}
        for (data,) in rows:
            change = _decoder.decode(data)
            by_device.setdefault(change.alert.device_id, []).append(change)
        return [by_device.get(device_id, []) for device_id in device_ids]


def _row(change: AlertChange, *, published: bool) -> dict[str, Any]:
    return {
        "device_id": change.alert.device_id,
        "alert_id": change.alert.alert_id,
        "version": change.alert.version,
        "change_id": change.change_id,
        "kind": change.kind.value,
        "at": clickhouse(change.at),
        "by": change.by,
        "note": change.note,
        "severity": change.alert.severity.value,
        "data": msgspec.json.encode(change).decode(),
        "published": int(published),
    }
