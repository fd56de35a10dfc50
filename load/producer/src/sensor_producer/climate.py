"""What a healthy device would measure: a function of type, region and time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensor_producer.devices import Devices
from sensor_producer.dice import Dice, Floats, Integers, Purpose
from sensor_shared.contracts.readings import DEVICE_TYPES, REGIONS

_DAY_MS = 86_400_000
_YEAR_MS = 365.25 * _DAY_MS
_LOCAL_MS = 3 * 3_600_000  # UTC+3 in all five regions
_WARMEST_DAY = 205  # of the year
_WARMEST_HOUR = 15

# Mean °C, yearly and daily swing of °C, mean % relative humidity.
_REGIONS = {
    "north": (14.0, 8.5, 3.5, 74.0),
    "south": (19.0, 9.0, 5.0, 63.0),
    "east": (9.0, 14.0, 6.5, 58.0),
    "west": (16.5, 9.5, 5.0, 62.0),
    "central": (11.5, 12.0, 6.5, 57.0),
}
# °C at 15 °C outdoors, share of the outdoor swing, rise at full work; % at 60 % outdoors, share.
_TYPES = {
    "temperature_sensor": (17.0, 0.8, 0.0, 55.0, 0.6),
    "humidity_sensor": (20.0, 0.4, 0.0, 58.0, 0.8),
    "pressure_sensor": (19.0, 0.4, 0.0, 50.0, 0.4),
    "weather_station": (15.0, 1.0, 0.0, 60.0, 1.0),
    "industrial_sensor": (64.0, 0.2, 9.0, 32.0, 0.2),
}
# Deviation between devices, and between the readings of one.
_CALIBRATION = (0.8, 2.0, 0.8)
_NOISE = (0.08, 0.25, 0.08)


@dataclass(slots=True)
class Metrics:
    """°C, % relative humidity and hPa of some readings."""

    temperature: Floats
    humidity: Floats
    pressure: Floats


class Climate:
    """Daily and seasonal curves, weather that passes over a region, calibration and noise."""

    def __init__(self, devices: Devices, dice: Dice):
        self._dice = dice
        regions = np.array([_REGIONS[name] for name in REGIONS])
        types = np.array([_TYPES[name] for name in DEVICE_TYPES])
        self._outdoors = regions[devices.region].T.copy()
        self._type = types[devices.kind].T.copy()
        everyone = np.arange(len(devices))
        once = np.zeros(len(devices), dtype=np.int64)
        self._calibration = np.array(
            [
                deviation * dice.normal(purpose, everyone, once)
                for purpose, deviation in zip(
                    (
                        Purpose.CALIBRATION_TEMPERATURE,
                        Purpose.CALIBRATION_HUMIDITY,
                        Purpose.CALIBRATION_PRESSURE,
                    ),
                    _CALIBRATION,
                    strict=True,
                )
            ]
        )
        self._weather_phase = devices.region * 1.3

    def at(self, device: npt.NDArray[np.integer], time_ms: Integers) -> Metrics:
        """Returns what each device measures at its time (epoch ms), not yet rounded."""
        mean, yearly, daily, humid = self._outdoors[:, device]
        base, share, rise, damp, damp_share = self._type[:, device]
        calibration = self._calibration[:, device]
        days = (time_ms + _LOCAL_MS) / _DAY_MS
        season = np.cos(2 * np.pi * (time_ms / _YEAR_MS - _WARMEST_DAY / 365.25))
        hour = np.cos(2 * np.pi * (days - _WARMEST_HOUR / 24))
        phase = self._weather_phase[device]
        front = np.sin(2 * np.pi * days / 5.3 + phase)
        work = 0.5 + 0.5 * hour

        outdoors = mean + yearly * season + daily * hour + 2.5 * front
        damp_outdoors = humid - 8 * season - 2.2 * daily * hour + 6 * front
        pressure = (
            1013.2
            - 3.0 * season
            + 7.0 * np.sin(2 * np.pi * days / 6.7 + phase)
            + 1.1 * np.cos(4 * np.pi * (days - 10 / 24))
        )
        return Metrics(
            temperature=base
            + share * (outdoors - 15)
            + rise * work
            + calibration[0]
            + _NOISE[0] * self._dice.normal(Purpose.NOISE_TEMPERATURE, device, time_ms),
            humidity=damp
            + damp_share * (damp_outdoors - 60)
            + calibration[1]
            + _NOISE[1] * self._dice.normal(Purpose.NOISE_HUMIDITY, device, time_ms),
            pressure=pressure
            + calibration[2]
            + _NOISE[2] * self._dice.normal(Purpose.NOISE_PRESSURE, device, time_ms),
        )
