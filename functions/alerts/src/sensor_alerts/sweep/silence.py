"""Devices that have fallen silent, and those that are back."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from sensor_alerts.domain import life, offline
from sensor_alerts.domain.alert import Record, epoch_ms, from_ms
from sensor_alerts.domain.life import Step
from sensor_alerts.domain.offline import FLEET, Pause
from sensor_alerts.intake import Intake
from sensor_alerts.leases import Subject
from sensor_alerts.ledger import Ledger
from sensor_alerts.sweep.conditions import Live
from sensor_alerts.sweep.fleet import Fleet, Moments
from sensor_alerts.sweep.pause import Pauses
from sensor_shared.contracts.alert_changes import SYSTEM, AlertSnapshot
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings import device_type
from sensor_shared.contracts.rules import AlertType, Rules, alert_id
from sensor_shared.telemetry import alert_metrics

GROUP_RULE: Final = "devices-silent"
"""Rule id of group alerts; their device is `fleet`, or `region:` and its name."""
_REGION: Final = "region:"
_TOGETHER: Final = 32
_NEVER_MS: Final = 2**62


class Silence:
    """Raises alerts for silent devices, one for many where many are one matter, and clears them.

    Args:
        fleet: knows when devices were last seen.
        pauses: know when nearly nobody was heard.
        intake: takes what is found.
        ledger: changes alerts that are open.
        update: how often the members of a group are written.
    """

    def __init__(
        self, fleet: Fleet, pauses: Pauses, intake: Intake, ledger: Ledger, *, update: timedelta
    ):
        self._fleet = fleet
        self._pauses = pauses
        self._intake = intake
        self._ledger = ledger
        self._update = update
        self._places = asyncio.Semaphore(_TOGETHER)

    async def __call__(self, live: Live, rules: Rules, now: datetime) -> None:
        """Looks at all devices once."""
        limits = [rule.limit_ms for rule in rules.silence if rule.enabled]
        own = {rule.id for rule in rules.silence}
        alerts = {
            subject.device_id: record for subject, record in live.items() if subject.episode in own
        }
        groups = {
            FLEET if subject.device_id == "fleet" else record.alert.region: record
            for subject, record in live.items()
            if subject.episode == GROUP_RULE
        }
        if not limits:
            await self._back(list(alerts.values()), [epoch_ms(now)] * len(alerts), now)
            await self._close(groups, now)
            return
        await self._fleet.seed()
        now_ms = epoch_ms(now)
        forgotten_ms = now_ms - int(rules.silence_groups.forget_after * 1000)
        # From half of the limit on a device counts towards its group: of those that fall silent at
        # once some reach the limit in an earlier sweep than the others.
        soft_ms = now_ms - min(limits) // 2
        pause = await self._pauses.last(
            now_ms,
            forgotten_ms,
            least=min(limits) // 2,
            devices=rules.silence_groups.min_devices,
        )
        ids, moments = await self._fleet.seen(forgotten_ms, soft_ms)
        if ids:
            await self._fleet.know(ids)
            moments = await self._fleet.exact(ids, moments, now_ms - max(limits), soft_ms)
        over = self._limits(ids, rules)
        silent = now_ms - moments > over
        alert_metrics.DEVICES_SILENT.set(int(silent.sum()))
        await self._returned(alerts, {ids[at] for at in np.flatnonzero(silent)}, now, rules)
        # What begins now begins without the pause; what is open ends when its devices are back.
        counted = offline.without(pause, moments)
        nearly = now_ms - np.where(self._grouped(ids, groups), moments, counted) > over // 2
        new = np.array([id_ not in alerts for id_ in ids], np.bool_) & nearly
        silent = now_ms - counted > over
        await self._group(_Seen(ids, moments, over, silent, new, pause), groups, rules, now)

    def _grouped(self, ids: Sequence[str], groups: dict[str, Record]) -> npt.NDArray[np.bool_]:
        """Returns which devices belong to groups that are open."""
        if not groups or FLEET in groups:
            return np.full(len(ids), FLEET in groups, np.bool_)
        return np.array([self._fleet.region(id_) in groups for id_ in ids], np.bool_)

    def _limits(self, ids: Sequence[str], rules: Rules) -> Moments:
        enabled = [rule for rule in rules.silence if rule.enabled]
        if len(rules.silence) == 1 and rules.silence[0].scope.everything:
            return np.full(len(ids), enabled[0].limit_ms, np.int64)
        found = (rules.silence_rule(id_, self._fleet.region(id_) or None) for id_ in ids)
        return np.array([one.limit_ms if one else _NEVER_MS for one in found], np.int64)

    async def _group(
        self, seen: "_Seen", groups: dict[str, Record], rules: Rules, now: datetime
    ) -> None:
        places = np.flatnonzero(seen.new)
        settings, now_ms = rules.silence_groups, epoch_ms(now)
        alone = np.ones(len(places), np.bool_)
        found: dict[str, int] = {}
        totals: dict[str, int] = {}
        # While nobody is quite silent yet, a later sweep will know more.
        if groups or (len(places) >= settings.min_devices and seen.silent[places].any()):
            everybody, _ = await self._fleet.seen(
                now_ms - int(settings.forget_after * 1000), _NEVER_MS
            )
            nearly = [seen.ids[at] for at in places.tolist()]
            totals, codes, names = self._regions(everybody, nearly)
            counts = np.array([totals[name] for name in names], np.int64)
            plan = offline.plan(codes, names, counts, set(groups), settings)
            found, alone = plan.groups, plan.alone
        for name, members in found.items():
            total = sum(totals.values()) if name == FLEET else totals[name]
            group = _group_alert(name, members, total, rules, now)
            await self._raise_group(group, groups.get(name), now)
        await self._close({n: one for n, one in groups.items() if n not in found}, now)
        lonely = [at for at in places[alone].tolist() if seen.silent[at]]
        for start in range(0, len(lonely), _TOGETHER):
            some = await self._still(lonely[start : start + _TOGETHER], seen, now_ms)
            await asyncio.gather(
                *(
                    self._raise(seen.ids[at], int(seen.moments[at]), int(seen.over[at]), rules)
                    for at in some
                )
            )

    async def _still(self, places: list[int], seen: "_Seen", now_ms: int) -> list[int]:
        """Returns those that are silent still: to raise many takes a while, and some come back."""
        ids = [seen.ids[at] for at in places]
        found = await self._fleet.last_seen(ids)
        moments = np.array([found.get(id_, 0) for id_ in ids], np.int64)
        counted = offline.without(seen.pause, np.maximum(moments, seen.moments[places]))
        silent = now_ms - counted > seen.over[places]
        return [at for at, is_silent in zip(places, silent, strict=True) if is_silent]

    def _regions(
        self, everybody: Sequence[str], silent: Sequence[str]
    ) -> tuple[dict[str, int], npt.NDArray[np.int64], list[str]]:
        totals: dict[str, int] = {}
        for id_ in everybody:
            name = self._fleet.region(id_)
            totals[name] = totals.get(name, 0) + 1
        names = sorted(totals)
        numbers = {name: number for number, name in enumerate(names)}
        codes = [numbers.get(self._fleet.region(id_), 0) for id_ in silent]
        return totals, np.array(codes, np.int64), names

    async def _raise(self, device_id: str, seen_ms: int, limit_ms: int, rules: Rules) -> None:
        region = self._fleet.region(device_id)
        rule = rules.silence_rule(device_id, region or None)
        if rule is None:
            return
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

    async def _raise_group(self, group: AlertSnapshot, known: Record | None, now: datetime) -> None:
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

    async def _returned(
        self, alerts: dict[str, Record], silent: set[str], now: datetime, rules: Rules
    ) -> None:
        """Clears the alerts of devices that are back, and of those that nobody waits for."""
        asked = [device_id for device_id in alerts if device_id not in silent]
        if not asked:
            return
        seen = await self._fleet.last_seen(asked)
        now_ms = epoch_ms(now)
        forget_ms = int(rules.silence_groups.forget_after * 1000)
        back: list[tuple[Record, int]] = []
        gone: list[Record] = []
        for device_id in asked:
            record, moment = alerts[device_id], seen.get(device_id)
            rule = rules.silence_rule(device_id, record.alert.region or None)
            if rule is None or (moment is not None and now_ms - moment <= rule.limit_ms):
                back.append((record, moment or now_ms))
            elif now_ms - record.settled_ms > forget_ms:
                gone.append(record)
        await self._back([one for one, _ in back], [moment for _, moment in back], now)
        await asyncio.gather(
            *(self._clear(one, now, now, "not seen for so long: taken away") for one in gone)
        )

    async def _back(self, records: Sequence[Record], moments: Sequence[int], now: datetime) -> None:
        await asyncio.gather(
            *(
                self._clear(record, from_ms(moment), now)
                for record, moment in zip(records, moments, strict=True)
            )
        )

    async def _close(self, groups: dict[str, Record], now: datetime) -> None:
        for record in groups.values():
            await self._clear(record, now, now)

    async def _clear(self, record: Record, at: datetime, now: datetime, note: str = "") -> None:
        def decision(current: Record | None) -> Step | None:
            if current is None or current.alert.alert_id != record.alert.alert_id:
                return None
            return life.cleared(current, SYSTEM, at, now, note) if current.open else None

        async with self._places:
            await self._ledger.change(
                Subject(record.alert.device_id, record.alert.episode), decision
            )


@dataclass(frozen=True, slots=True)
class _Seen:
    """Devices that are silent or nearly so.

    Attributes:
        ids: the devices.
        moments: when each was last seen.
        over: after how many milliseconds each is silent.
        silent: mask of those that are, without the pause.
        new: mask of those that are at least half-way, and have no alert of their own.
        pause: the last one of the fleet.
    """

    ids: Sequence[str]
    moments: Moments
    over: Moments
    silent: npt.NDArray[np.bool_]
    new: npt.NDArray[np.bool_]
    pause: Pause


def _group_alert(name: str, members: int, total: int, rules: Rules, now: datetime) -> AlertSnapshot:
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
