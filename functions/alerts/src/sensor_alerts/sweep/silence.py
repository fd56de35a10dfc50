"""Devices that have fallen silent, and those that are back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from sensor_alerts.domain import offline
from sensor_alerts.domain.alert import Record, epoch_ms
from sensor_alerts.domain.offline import FLEET, Pause
from sensor_alerts.sweep.conditions import Live
from sensor_alerts.sweep.fleet import Fleet, Moments
from sensor_alerts.sweep.offline_alerts import GROUP_RULE, TOGETHER, OfflineAlerts, group_alert
from sensor_alerts.sweep.pause import Pauses
from sensor_shared.contracts.rules import Rules
from sensor_shared.telemetry import alert_metrics

_NEVER_MS: Final = 2**62


class Silence:
    """Finds silent devices, takes many for one where many are one matter, and who is back.

    Args:
        fleet: knows when devices were last seen.
        pauses: know when nearly nobody was heard.
        alerts: written by what is found.
    """

    def __init__(self, fleet: Fleet, pauses: Pauses, alerts: OfflineAlerts):
        self._fleet = fleet
        self._pauses = pauses
        self._alerts = alerts

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
            await self._alerts.back(list(alerts.values()), [epoch_ms(now)] * len(alerts), now)
            await self._alerts.close(groups, now)
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
            group = group_alert(name, members, total, rules, now)
            await self._alerts.raise_group(group, groups.get(name), now)
        await self._alerts.close({n: one for n, one in groups.items() if n not in found}, now)
        lonely = [at for at in places[alone].tolist() if seen.silent[at]]
        for start in range(0, len(lonely), TOGETHER):
            some = await self._still(lonely[start : start + TOGETHER], seen, now_ms)
            await asyncio.gather(*(self._raise(at, seen, rules) for at in some))

    async def _raise(self, place: int, seen: "_Seen", rules: Rules) -> None:
        id_ = seen.ids[place]
        region = self._fleet.region(id_)
        rule = rules.silence_rule(id_, region or None)
        if rule is not None:
            seen_ms, over_ms = int(seen.moments[place]), int(seen.over[place])
            await self._alerts.raise_one(id_, region, rule, seen_ms, over_ms)

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
        await self._alerts.back([one for one, _ in back], [moment for _, moment in back], now)
        await asyncio.gather(
            *(self._alerts.clear(one, now, now, "not seen for so long: taken away") for one in gone)
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
