"""One step for the readings of some devices: read, fold, judge, write, publish.

Messages are made only for devices whose write won, so several replicas never say the same
thing twice. A process that dies between the write and the broker loses those messages: the
next trend comes in its turn, a delta is gone. Readings are never lost or counted twice by it.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from redis.exceptions import RedisError

from sensor_analytics.domain.delta import Changes, advance, strongest
from sensor_analytics.domain.fold import Cells, Folded, cells, fold
from sensor_analytics.domain.observations import Integers, Mask, Observations, observe
from sensor_analytics.domain.pace import phases, turns
from sensor_analytics.messages import Delta, Trend, encode, topic
from sensor_analytics.reports import delta_reports, trend_reports
from sensor_analytics.state import Change, DeviceStore
from sensor_shared.adapters.windows import MinuteKey, WindowSettings
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.windows.layout import (
    MINUTE_MS,
    SCALE,
    Devices,
    Sums,
    device_records,
    devices_from,
    empty,
    minute_records,
    minutes_from,
)
from sensor_shared.contracts.windows.trend import directions, trends
from sensor_shared.telemetry import metrics

Publish = Callable[[str, bytes], None]

_ATTEMPTS = 8


@dataclass(slots=True)
class _Step:
    """The devices of one step with their minutes, before and after the fold.

    Attributes:
        before: the devices' records as they were read.
        was_current: (C,) cells that were in these records.
    """

    device_ids: Sequence[str]
    before: list[bytes | None]
    devices: Devices
    where: Cells
    was_current: Mask
    sums: Sums
    moments: list[bytes]
    changes: Changes
    folded: Folded


class Analysis:
    """Keeps the devices' windows and publishes what they show.

    Args:
        store: the devices' state.
        publish: queues one message; never waits.
        settings: windows, thresholds, intervals.
        now_ms: the clock, epoch milliseconds; paces the messages and nothing else.
    """

    def __init__(
        self,
        store: DeviceStore,
        publish: Publish,
        settings: WindowSettings,
        *,
        now_ms: Callable[[], int],
    ):
        self._store = store
        self._publish = publish
        self._settings = settings
        self._now_ms = now_ms
        self._threshold = round(settings.delta_threshold * SCALE)
        self._slopes = np.array(
            [settings.temperature_slope, settings.humidity_slope, settings.pressure_slope]
        )

    async def take(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Folds valid readings in; returns when all are in Redis.

        Devices that another replica has changed meanwhile are read and folded again.

        Raises:
            Retry: Redis is down, or too many replicas work on the same devices. What was
                written until then stays, and is found when the readings come again.
        """
        observations = observe(batches)
        try:
            for attempt in range(_ATTEMPTS):
                lost = await self._step(observations)
                if not len(lost):
                    return
                metrics.ANALYTICS_CONFLICTS.inc(len(lost))
                observations = observations.only(lost)
                await asyncio.sleep(random.uniform(0, 0.005) * 2**attempt)  # noqa: S311
        except (RedisError, OSError) as error:
            raise Retry(f"redis: {error}", after=1) from error
        raise Retry("too many replicas work on the same devices", after=1, overloaded=True)

    async def _step(self, observations: Observations) -> Integers:
        """Takes the readings of all devices that it can, returns the others' positions."""
        step = await self._folded(observations)
        now = self._now_ms()
        # In this order: the reports hold what the records say.
        reports: list[Trend | Delta] = [*await self._trends(step, now)]
        reports += self._deltas(step, now)
        lost = await self._store.save(_writes(step))
        for report in reports:
            if report.device_id not in lost:
                self._publish(topic(report), encode(report))
        won = np.array([device not in lost for device in step.device_ids])
        for outcome in ("new", "late", "repeated"):
            count = int(getattr(step.folded, outcome)[won].sum())
            metrics.ANALYTICS_READINGS.labels(outcome).inc(count)
        return np.flatnonzero(~won)

    async def _folded(self, observations: Observations) -> _Step:
        ids = observations.device_ids
        before = await self._store.devices(ids)
        devices, current, current_moments = devices_from(before)
        where = cells(observations, devices)
        was_current = where.current(devices)
        sums, moments = await self._minutes(ids, devices, where, current, current_moments)
        changes = advance(observations, devices, self._threshold)
        window = self._settings.trend_window
        folded = fold(observations, where, devices, sums, moments, window=window)
        return _Step(ids, before, devices, where, was_current, sums, moments, changes, folded)

    async def _minutes(
        self,
        ids: Sequence[str],
        devices: Devices,
        where: Cells,
        current: Sums,
        current_moments: Sequence[bytes],
    ) -> tuple[Sums, list[bytes]]:
        """Returns what is kept of the cells; minutes after the current one have no record yet."""
        sums, moments = empty(len(where.device)), [b""] * len(where.device)
        own = np.flatnonzero(where.current(devices))
        sums[own] = current[where.device[own]]
        for at in own.tolist():
            moments[at] = current_moments[where.device[at]]
        earlier = np.flatnonzero(where.earlier(devices))
        found = await self._store.minutes(_keys(ids, where.device[earlier], where.minute[earlier]))
        sums[earlier], seen = minutes_from(found)
        for at, one in zip(earlier.tolist(), seen, strict=True):
            moments[at] = one
        return sums, moments

    async def _trends(self, step: _Step, now: int) -> Iterator[Trend]:
        """Judges the devices whose turn it is; returns what is to be published."""
        settings, devices = self._settings, step.devices
        phase = phases(step.device_ids)
        check = turns(phase, now, round(settings.trend_check * 1000))
        regular = turns(phase, now, round(settings.trend_interval * 1000))
        unknown = devices["judged"] == 0
        devices["judged"][unknown] = check[unknown]
        devices["published"][unknown] = regular[unknown]
        due = np.flatnonzero((devices["judged"] < check) & (step.folded.new > 0))
        if not len(due):
            return iter(())

        first = devices["latest"][due] // MINUTE_MS - settings.trend_window + 1
        found = trends(await self._window(step, due, first))
        previous = devices["direction"][due]
        direction = directions(
            found,
            previous,
            self._slopes,
            significance=settings.significance,
            points=settings.trend_points,
        )
        told: Mask = (direction != previous).any(axis=1)
        told |= devices["published"][due] < regular[due]
        devices["judged"][due] = check[due]
        devices["direction"][due] = direction
        devices["published"][due[told]] = regular[due[told]]
        return trend_reports(
            [step.device_ids[at] for at in due[told].tolist()],
            found.only(told),
            direction[told],
            devices["latest"][due[told]],
            first[told] * MINUTE_MS,
        )

    async def _window(self, step: _Step, due: Integers, first: Integers) -> Sums:
        """Returns the minutes of the devices `due` from `first` on: (D, trend window)."""
        window = empty(len(due) * self._settings.trend_window).reshape(len(due), -1)
        place = np.full(len(step.devices), -1)
        place[due] = np.arange(len(due))
        row = place[step.where.device]
        column = step.where.minute - first[row]
        at_hand = (row >= 0) & (column >= 0)
        window[row[at_hand], column[at_hand]] = step.sums[at_hand]
        missing = np.ones(window.shape, dtype=np.bool_)
        missing[row[at_hand], column[at_hand]] = False
        rows, columns = np.nonzero(missing)
        keys = _keys(step.device_ids, due[rows], first[rows] + columns)
        window[rows, columns], _ = minutes_from(await self._store.minutes(keys))
        return window

    def _deltas(self, step: _Step, now: int) -> Iterator[Delta]:
        """Returns what is to be published of the sudden changes."""
        pause_ms = self._settings.delta_interval * 1000
        free = now - step.devices["delta_at"] >= pause_ms
        chosen = strongest(step.changes)
        told = chosen[free[step.changes.device[chosen]]]
        metrics.ANALYTICS_HELD_BACK.labels("delta").inc(len(chosen) - len(told))
        step.devices["delta_at"][step.changes.device[told]] = now
        return delta_reports(step.device_ids, step.changes, told, self._settings.delta_threshold)


def _writes(step: _Step) -> list[Change]:
    """The devices that are not as they were read, with those of their earlier minutes."""
    current = step.where.current(step.devices)
    # A minute that is current no more leaves the device's record.
    apart = np.flatnonzero((step.folded.changed | step.was_current) & ~current)
    minutes: dict[int, list[tuple[int, bytes]]] = {}
    for device, minute, record in zip(
        step.where.device[apart].tolist(),
        step.where.minute[apart].tolist(),
        minute_records(step.sums[apart], _at(step.moments, apart)),
        strict=True,
    ):
        minutes.setdefault(device, []).append((minute, record))
    # Each device has one, and cells are in the order of devices.
    own = np.flatnonzero(current)
    records = device_records(step.devices, step.sums[own], _at(step.moments, own))
    return [
        Change(step.device_ids[at], before, record, minutes.get(at, ()))
        for at, (before, record) in enumerate(zip(step.before, records, strict=True))
        if at in minutes or record != before
    ]


def _at(moments: Sequence[bytes], cells: Integers) -> list[bytes]:
    return [moments[at] for at in cells.tolist()]


def _keys(ids: Sequence[str], device: Integers, minute: Integers) -> list[MinuteKey]:
    return [(ids[d], m) for d, m in zip(device.tolist(), minute.tolist(), strict=True)]
