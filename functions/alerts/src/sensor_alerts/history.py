"""The history of alerts in ClickHouse: what is there is what happened."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sensor_alerts.domain.alert import Alert, epoch_ms, rank
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.contracts.rules import AlertType, Severity
from sensor_shared.telemetry import metrics

# Kept in the row's metadata, beside what the sender gave.
_COUNT: Final = "count"
_LAST: Final = "last_ms"

_COLUMNS: Final = (
    "alert_id, device_id, rule_id, alert_type, severity, message, metric, value, threshold, "
    "latitude, longitude, region, toUnixTimestamp64Milli(timestamp), "
    "toUnixTimestamp64Milli(processed_at), email_sent, metadata, version"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_GROUP: Final = 500
_lines: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Page:
    """The newest alerts that match, and how many match in all."""

    alerts: list[Alert]
    total: int


class History:
    """Reads and writes the table `alerts`; concurrent calls share their queries.

    All methods raise `DatabaseAwayError` when ClickHouse cannot answer now.

    Args:
        database: where the table is.
        window_ms: how far from an alert's breaches a further one still belongs to it.
    """

    def __init__(self, database: Database, window_ms: int):
        self._database = database
        self._window_ms = window_ms
        self._write = GroupCommit(self._insert, max_items=_MAX_GROUP, max_commits=2)
        self._find = GroupCommit(self._lookup, max_items=_MAX_GROUP, max_commits=2)

    async def record(self, alert: Alert) -> None:
        """Writes an alert; returns when ClickHouse has acknowledged it."""
        await self._write(alert)

    async def find(self, breach: Alert) -> Alert | None:
        """Returns the recorded alert that a breach belongs to: itself, or the newest around it."""
        return await self._find(breach)

    async def page(
        self,
        *,
        device_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        min_severity: Severity | None = None,
        limit: int,
    ) -> Page:
        """Returns the newest alerts first.

        Args:
            device_id: None: of all devices.
            start: measured then or later.
            end: measured then or earlier.
            min_severity: this severity or a higher one.
            limit: how many alerts at most; `total` counts all that match.
        """
        conditions, parameters = ["1"], dict[str, Any]()
        if device_id is not None:
            conditions.append("device_id = {device:String}")
            parameters["device"] = device_id
        if start is not None:
            conditions.append("timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')")
            parameters["start"] = epoch_ms(start)
        if end is not None:
            conditions.append("timestamp <= fromUnixTimestamp64Milli({end:Int64}, 'UTC')")
            parameters["end"] = epoch_ms(end)
        if min_severity is not None:
            conditions.append("toInt8(severity) >= {severity:Int8}")
            parameters["severity"] = rank(min_severity)
        matching = f"FROM alerts FINAL WHERE {' AND '.join(conditions)}"
        rows = await self._database.rows(
            f"SELECT {_COLUMNS} {matching} "
            "ORDER BY timestamp DESC, alert_id LIMIT {limit:UInt32}",
            **parameters,
            limit=limit,
        )
        total = len(rows)
        if total == limit:
            count = await self._database.rows(f"SELECT count() {matching}", **parameters)
            total = int(count[0][0])
        return Page([_alert(row) for row in rows], total)

    async def answers(self) -> None:
        """Returns when ClickHouse has shown that the table can be read."""
        await self._database.rows("SELECT 1 FROM alerts LIMIT 1")

    async def close(self) -> None:
        """Waits for the writes under way."""
        await self._write.drain()

    async def _insert(self, alerts: Sequence[Alert]) -> list[None]:
        started = time.perf_counter()
        rows = [_row(alert) for alert in alerts]
        block = _lines.encode_lines(rows)
        # The same versions of the same alerts are the same block: written again, it is ignored.
        token = hashlib.blake2b(block, digest_size=16).hexdigest()
        await self._database.insert_block(
            "alerts", list(rows[0]), block, fmt="JSONEachRow", token=token
        )
        metrics.INSERT_LATENCY.labels("alerts").observe((time.perf_counter() - started) * 1000)
        return [None] * len(alerts)

    async def _lookup(self, breaches: Sequence[Alert]) -> list[Alert | None]:
        moments = [breach.timestamp_ms for breach in breaches]
        rows = await self._database.rows(
            f"SELECT {_COLUMNS} FROM alerts FINAL WHERE device_id IN {{devices:Array(String)}} "  # noqa: S608
            "AND timestamp <= fromUnixTimestamp64Milli({latest:Int64}, 'UTC') "
            f"AND toInt64OrZero(metadata['{_LAST}']) >= {{earliest:Int64}} "
            "ORDER BY timestamp DESC",
            devices=sorted({breach.device_id for breach in breaches}),
            latest=max(moments) + self._window_ms,
            earliest=min(moments) - self._window_ms,
        )
        by_device: dict[str, list[Alert]] = {}
        for row in rows:
            alert = _alert(row)
            by_device.setdefault(alert.device_id, []).append(alert)
        return [self._match(breach, by_device.get(breach.device_id, [])) for breach in breaches]

    def _match(self, breach: Alert, recorded: list[Alert]) -> Alert | None:
        for alert in recorded:
            if alert.alert_id == breach.alert_id:
                return alert
        return next((alert for alert in recorded if alert.covers(breach, self._window_ms)), None)


def _row(alert: Alert) -> dict[str, Any]:
    row = msgspec.structs.asdict(alert)
    own = {_COUNT: str(row.pop("count")), _LAST: str(row.pop("last_ms"))}
    return row | {
        "alert_type": alert.alert_type.value,
        "severity": alert.severity.value,
        "timestamp": _clickhouse(alert.timestamp),
        "processed_at": _clickhouse(alert.processed_at),
        "metadata": alert.metadata | own,
    }


def _clickhouse(moment: datetime) -> str:
    """ClickHouse's own form of a DateTime64(3, 'UTC')."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def _alert(row: tuple[Any, ...]) -> Alert:
    alert_id, device_id, rule_id, alert_type, severity, message, metric, value, threshold = row[:9]
    latitude, longitude, region, timestamp_ms, processed_ms, email_sent, metadata, version = row[9:]
    kept = {key: text for key, text in metadata.items() if key not in (_COUNT, _LAST)}
    return Alert(
        alert_id=alert_id,
        device_id=device_id,
        rule_id=rule_id,
        alert_type=AlertType(alert_type),
        severity=Severity(severity),
        message=message,
        metric=metric,
        value=value,
        threshold=threshold,
        latitude=latitude,
        longitude=longitude,
        region=region,
        timestamp=_EPOCH + timedelta(milliseconds=timestamp_ms),
        last_ms=int(metadata.get(_LAST, timestamp_ms)),
        processed_at=_EPOCH + timedelta(milliseconds=processed_ms),
        metadata=kept,
        email_sent=bool(email_sent),
        count=int(metadata.get(_COUNT, 1)),
        version=int(version),
    )
