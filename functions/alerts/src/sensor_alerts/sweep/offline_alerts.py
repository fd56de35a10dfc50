"""The alerts of silent devices and of groups of them: raised, updated, cleared."""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sensor_alerts.domain import life
from sensor_alerts.domain.alert import Record, epoch_ms, from_ms
from sensor_alerts.domain.life import Step
from sensor_alerts.domain.offline import FLEET
from sensor_alerts.intake import Intake
from sensor_alerts.leases import Subject
from sensor_alerts.ledger import Ledger
from sensor_shared.contracts.alert_changes import SYSTEM, AlertSnapshot
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings import device_type
from sensor_shared.contracts.rules import AlertType, Rules, SilenceRule, alert_id

GROUP_RULE: Final = "devices-silent"
"""Rule id of group alerts; their device is `fleet`, or `region:` and its name."""
TOGETHER: Final = 32
"""Alerts that are raised or cleared at the same time."""
_REGION: Final = "region:"


class OfflineAlerts:
    """Writes what a sweep has found out about silent devices.

    Args:
        intake: takes new alerts.
        ledger: changes those that are open.
        update: how often the members of a group are written.
    """

    def __init__(self, intake: Intake, ledger: Ledger, *, update: timedelta):
        self._intake = intake
        self._ledger = ledger
        self._update = update
        self._places = asyncio.Semaphore(TOGETHER)

    async def raise_one(
        self, device_id: str, region: str, rule: SilenceRule, seen_ms: int, limit_ms: int
    ) -> None:
        """Raises an alert of a device that was last seen at a moment, and is silent since later.

        Args:
            device_id: of the device.
            region: where it stands, empty when that is not known.
            rule: that holds for it.
            seen_ms: epoch milliseconds.
            limit_ms: how much later it counted as silent.
        """
        since = from_ms(seen_ms + limit_ms)
        async with self._places:
            await self._intake.admit(
                AlertSnapshot(
                    alert_id=alert_id(device_id, rule.id, seen_ms + limit_ms),
                    device_id=device_id,
                    rule_id=rule.id,
                    alert_type=AlertType.DEVICE_OFFLINE,
                    severity=rule.severity,
                    message=f"{device_id}: nothing was measured since {rfc3339(from_ms(seen_ms))}",
                    region=region,
                    device_type=device_type(device_id),
                    first_at=since,
                    last_at=since,
                ),
                "sweep",
            )

    async def raise_group(self, group: AlertSnapshot, known: Record | None, now: datetime) -> None:
        """Raises a group, or writes from time to time how many it has now."""
        if known is None:
            await self._intake.admit(group, "sweep")
            return
        if known.alert.members == group.members or now - known.updated_at < self._update:
            return

        def members_now(current: Record | None) -> Step | None:
            if current is None or not current.open:
                return None
            return life.updated(current, now, members=group.members, message=group.message)

        await self._ledger.change(Subject(group.device_id, GROUP_RULE), members_now)

    async def back(self, records: Sequence[Record], moments: Sequence[int], now: datetime) -> None:
        """Clears alerts of devices that are back since these moments, epoch milliseconds."""
        await asyncio.gather(
            *(
                self.clear(record, from_ms(moment), now)
                for record, moment in zip(records, moments, strict=True)
            )
        )

    async def close(self, groups: dict[str, Record], now: datetime) -> None:
        """Clears groups."""
        for record in groups.values():
            await self.clear(record, now, now)

    async def clear(self, record: Record, at: datetime, now: datetime, note: str = "") -> None:
        """Clears an alert, unless it was cleared or opened again meanwhile."""

        def decision(current: Record | None) -> Step | None:
            if current is None or current.alert.alert_id != record.alert.alert_id:
                return None
            return life.cleared(current, SYSTEM, at, now, note) if current.open else None

        async with self._places:
            await self._ledger.change(
                Subject(record.alert.device_id, record.alert.episode), decision
            )


def group_alert(name: str, members: int, total: int, rules: Rules, now: datetime) -> AlertSnapshot:
    """Returns the alert that a group would be: of a region by its name, or of `FLEET`."""
    where = "the fleet" if name == FLEET else f"region {name}"
    said = f"no data from {where}: {members:,} of {total:,} devices are silent"
    if members >= total:
        said = f"no data from {where}: all {total:,} devices are silent"
    device_id = "fleet" if name == FLEET else _REGION + _safe(name)
    return AlertSnapshot(
        alert_id=alert_id(device_id, GROUP_RULE, epoch_ms(now)),
        device_id=device_id,
        rule_id=GROUP_RULE,
        alert_type=AlertType.DEVICE_OFFLINE,
        severity=rules.silence_groups.severity,
        message=said,
        region=name,
        first_at=now,
        last_at=now,
        members=members,
    )


def _safe(region: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:-]", "_", region)[:100]
