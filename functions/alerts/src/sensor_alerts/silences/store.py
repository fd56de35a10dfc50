"""The table of silences in ClickHouse."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from sensor_alerts.domain.scope import Scope
from sensor_alerts.domain.silence import Recurrence, Silence
from sensor_alerts.places import Place
from sensor_shared.adapters.database import Database
from sensor_shared.telemetry.logs import logger

_COLUMNS: Final = (
    "silence_id, devices, device_types, alert_types, regions, rules, severities, "
    "toUnixTimestamp64Milli(starts_at), toUnixTimestamp64Milli(ends_at), cron, zone, minutes, "
    "author, reason, ended_by, toUnixTimestamp64Milli(created_at), "
    "toUnixTimestamp64Milli(updated_at), version"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SilenceStore:
    """Reads and writes silences.

    All methods raise `DatabaseAwayError` when ClickHouse cannot answer now.
    """

    def __init__(self, database: Database):
        self._database = database
        self._log = logger(part="silences")

    async def write(self, silence: Silence) -> None:
        """Writes a silence; returns when ClickHouse has acknowledged it."""
        token = f"{silence.silence_id}:{silence.version}"
        await self._database.insert("silences", _row(silence), token=token)

    async def get(self, silence_id: str) -> Silence | None:
        """Returns the silence of an id, None when there is none."""
        found = await self._read("silence_id = {id:String}", id=silence_id)
        return found[0] if found else None

    async def not_over(self, now: datetime, limit: int) -> list[Silence]:
        """Returns those that hold now, or will."""
        return await self._read(
            "ends_at > fromUnixTimestamp64Milli({now:Int64}, 'UTC') "
            "ORDER BY starts_at, silence_id LIMIT {limit:UInt32}",
            now=_ms(now),
            limit=limit,
        )

    async def page(
        self, *, ended: bool, now: datetime, after: Place | None, limit: int
    ) -> list[Silence]:
        """Returns silences, the last to end first.

        Args:
            ended: also those that are over.
            now: the time.
            after: the last one of the page before, by its end.
            limit: how many at most.
        """
        conditions, parameters = ["1"], dict[str, Any](limit=limit)
        if not ended:
            conditions.append("ends_at > fromUnixTimestamp64Milli({now:Int64}, 'UTC')")
            parameters["now"] = _ms(now)
        if after is not None:
            conditions.append(
                "(ends_at, silence_id) < "
                "(fromUnixTimestamp64Milli({after:Int64}, 'UTC'), {after_id:String})"
            )
            parameters |= {"after": after.at_ms, "after_id": after.id}
        return await self._read(
            f"{' AND '.join(conditions)} "
            "ORDER BY ends_at DESC, silence_id DESC LIMIT {limit:UInt32}",
            **parameters,
        )

    async def _read(self, condition: str, **parameters: Any) -> list[Silence]:
        rows = await self._database.rows(
            f"SELECT {_COLUMNS} FROM silences FINAL WHERE {condition}",  # noqa: S608
            **parameters,
        )
        found = []
        for row in rows:
            try:
                found.append(_silence(row))
            except ValidationError as error:  # written by hand, or by another version
                self._log.error("silence that cannot be read", silence=row[0], error=str(error))
        return found


def _row(silence: Silence) -> dict[str, Any]:
    scope, again = silence.scope, silence.recurrence
    return {
        "silence_id": silence.silence_id,
        "devices": list(scope.devices),
        "device_types": list(scope.device_types),
        "alert_types": [one.value for one in scope.alert_types],
        "regions": list(scope.regions),
        "rules": list(scope.rules),
        "severities": [one.value for one in scope.severities],
        "starts_at": silence.starts_at,
        "ends_at": silence.ends_at,
        "cron": again.cron if again else "",
        "zone": again.zone if again else "",
        "minutes": again.minutes if again else 0,
        "author": silence.author,
        "reason": silence.reason,
        "ended_by": silence.ended_by,
        "created_at": silence.created_at,
        "updated_at": silence.updated_at,
        "version": silence.version,
    }


def _silence(row: tuple[Any, ...]) -> Silence:
    id_, devices, device_types, alert_types, regions, rules, severities, *rest = row
    starts, ends, cron, zone, minutes, author, reason, ended_by, created, updated, version = rest
    return Silence(
        silence_id=id_,
        scope=Scope(
            devices=devices,
            device_types=device_types,
            alert_types=alert_types,
            regions=regions,
            rules=rules,
            severities=severities,
        ),
        starts_at=_moment(starts),
        ends_at=_moment(ends),
        recurrence=Recurrence(cron=cron, zone=zone, minutes=minutes) if cron else None,
        author=author,
        reason=reason,
        ended_by=ended_by,
        created_at=_moment(created),
        updated_at=_moment(updated),
        version=int(version),
    )


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(epoch_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=epoch_ms)
