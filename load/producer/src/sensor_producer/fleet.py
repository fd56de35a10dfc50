"""The fleet: every reading is a pure function of the seed, the device and its moment.

All moments of measurement are numbered from the epoch on. Device `turn[r]` measures at
`interval * (cycle + r / devices)`, so the load is even, and moment number n belongs to cycle
n // devices and turn n % devices. Whoever generates needs to remember one number only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from sensor_producer.climate import Climate, Metrics
from sensor_producer.devices import Devices
from sensor_producer.dice import Dice, Integers, Purpose
from sensor_producer.faults import Episodes, Fault, FaultSettings
from sensor_shared.contracts.readings import DEVICE_TYPES, MISSING, STATUSES

_MINUTE_MS = 60_000
_ACTIVE, _ERROR, _MAINTENANCE = (STATUSES.index(s) for s in ("active", "error", "maintenance"))
_INDUSTRIAL = DEVICE_TYPES.index("industrial_sensor")
_OVERHEATED = (92.0, 120.0)  # °C at the peak
# Healthy or not, a device stays within these; only overheating crosses an alert's threshold, so
# one share says how many alerts there will be.
_BOUNDS = {"temperature": (-40.0, 89.0), "humidity": (2.0, 94.0), "pressure": (950.0, 1045.0)}
_DRIFT = (8.0, 15.0, 8.0)  # °C, %, hPa at the end of an episode
_SPIKE = (15.0, 30.0, 20.0)


@dataclass(frozen=True, slots=True)
class Readings:
    """Columns of readings, of equal length.

    Attributes:
        device: number of the device.
        timestamp_ms: the moment of measurement, epoch ms.
        temperature, humidity, pressure: °C, %, hPa with two decimals; -999 when it failed.
        status: index into `STATUSES`.
        faults: `Fault` flags.
    """

    device: npt.NDArray[np.int32]
    timestamp_ms: npt.NDArray[np.int64]
    temperature: npt.NDArray[np.float64]
    humidity: npt.NDArray[np.float64]
    pressure: npt.NDArray[np.float64]
    status: npt.NDArray[np.int8]
    faults: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.device)

    def __getitem__(
        self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.integer]
    ) -> "Readings":
        """Returns the readings at a slice, a mask or positions."""
        return Readings(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> "Readings":
        """Returns all readings of `parts` (at least one), in order."""
        if len(parts) == 1:
            return parts[0]
        return Readings(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            )
        )

    def suffering(self, fault: Fault) -> npt.NDArray[np.bool_]:
        """Returns which readings have the fault, or one of several joined by `|`."""
        marked: npt.NDArray[np.bool_] = (self.faults & np.uint16(fault)) != 0
        return marked


class Fleet:
    """N devices that measure at a fixed interval."""

    def __init__(self, devices: Devices, dice: Dice, interval: float, faults: FaultSettings):
        count = len(devices)
        self._devices = devices
        self._dice = dice
        self._rates = faults
        self._interval_us = round(interval * 1_000_000)
        self._phase_us = np.arange(count, dtype=np.int64) * self._interval_us // count
        self._climate = Climate(devices, dice)

        def episodes(purpose: Purpose, share: float, minutes: float) -> Episodes:
            return Episodes(dice, purpose, count, share, round(minutes * _MINUTE_MS))

        self._silent = episodes(Purpose.SILENT, faults.silent, 5)
        self._failed = episodes(Purpose.FAILED, faults.failed, 5)
        self._stuck = episodes(Purpose.STUCK, faults.stuck, 10)
        self._drift = episodes(Purpose.DRIFT, faults.drift, 30)
        self._maintenance = episodes(Purpose.MAINTENANCE, faults.maintenance, 15)
        self._overheat = episodes(Purpose.OVERHEAT, faults.overheat, 5)

    def moments(self, until_us: int) -> int:
        """Returns how many moments of measurement lie before `until_us` (epoch µs)."""
        cycle, rest = divmod(until_us, self._interval_us)
        return cycle * len(self._devices) + int(np.searchsorted(self._phase_us, rest))

    def moment_us(self, number: int) -> int:
        """Returns when the moment `number` is, epoch µs."""
        cycle, turn = divmod(number, len(self._devices))
        return cycle * self._interval_us + int(self._phase_us[turn])

    def measure(self, first: int, last: int) -> Readings:
        """Returns the readings of the moments `first` to `last` - 1, without silent devices."""
        cycle, turn = np.divmod(np.arange(first, last, dtype=np.int64), len(self._devices))
        device = self._devices.turn[turn]
        time_ms = (cycle * self._interval_us + self._phase_us[turn]) // 1000
        speaking = ~self._silent.at(device, time_ms).on
        return self._observe(device[speaking], time_ms[speaking])

    def _observe(self, device: npt.NDArray[np.int32], time_ms: Integers) -> Readings:
        stuck = self._stuck.at(device, time_ms)
        seen_ms = np.where(stuck.on, stuck.started_ms, time_ms)
        metrics = self._climate.at(device, seen_ms)
        faults = np.where(stuck.on, np.uint16(Fault.STUCK), np.uint16(0))

        faults |= self._add_drift(metrics, device, seen_ms)
        faults |= self._add_spikes(metrics, device, seen_ms)
        for name, (low, high) in _BOUNDS.items():
            setattr(metrics, name, np.clip(getattr(metrics, name), low, high))
        faults |= self._add_heat(metrics, device, seen_ms)

        status = np.full(len(device), _ACTIVE, dtype=np.int8)
        maintenance = self._maintenance.at(device, time_ms).on
        status[maintenance] = _MAINTENANCE
        faults |= maintenance * np.uint16(Fault.MAINTENANCE)
        failed = self._failed.at(device, time_ms).on
        status[failed] = _ERROR
        faults[failed] = Fault.FAILED

        def column(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            values = np.round(values, 2)
            values[failed] = MISSING
            return values

        return Readings(
            device=device,
            timestamp_ms=time_ms,
            temperature=column(metrics.temperature),
            humidity=column(metrics.humidity),
            pressure=column(metrics.pressure),
            status=status,
            faults=faults,
        )

    def _add_drift(
        self, metrics: Metrics, device: npt.NDArray[np.int32], time_ms: Integers
    ) -> npt.NDArray[np.uint16]:
        drift = self._drift.at(device, time_ms)
        if drift.on.any():
            sign = np.where(
                self._dice.uniform(Purpose.DRIFT_SIGN, device, drift.number) < 0.5, -1, 1
            )
            self._shift(metrics, drift.on * sign * drift.progress, _DRIFT)
        return drift.on * np.uint16(Fault.DRIFT)

    def _add_spikes(
        self, metrics: Metrics, device: npt.NDArray[np.int32], time_ms: Integers
    ) -> npt.NDArray[np.uint16]:
        on = self._dice.uniform(Purpose.SPIKE, device, time_ms) < self._rates.spike
        if on.any():
            height = 2 * self._dice.uniform(Purpose.SPIKE_HEIGHT, device, time_ms) - 1
            self._shift(metrics, on * (height + np.sign(height)), _SPIKE)
        return on * np.uint16(Fault.SPIKE)

    def _add_heat(
        self, metrics: Metrics, device: npt.NDArray[np.int32], time_ms: Integers
    ) -> npt.NDArray[np.uint16]:
        heat = self._overheat.at(device, time_ms)
        on = heat.on & (self._devices.kind[device] == _INDUSTRIAL)
        if on.any():
            low, high = _OVERHEATED
            peak = low + (high - low) * self._dice.uniform(
                Purpose.OVERHEAT_PEAK, device, heat.number
            )
            rise = np.sin(np.pi * heat.progress) * (peak - metrics.temperature)
            metrics.temperature = metrics.temperature + on * rise
        return np.where(on, np.uint16(Fault.OVERHEAT), np.uint16(0))

    @staticmethod
    def _shift(
        metrics: Metrics, by: npt.NDArray[np.float64], steps: tuple[float, float, float]
    ) -> None:
        metrics.temperature = metrics.temperature + by * steps[0]
        metrics.humidity = metrics.humidity + by * steps[1]
        metrics.pressure = metrics.pressure + by * steps[2]
