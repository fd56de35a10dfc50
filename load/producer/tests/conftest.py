"""A small fleet with every fault, and the moment at which tests let it measure."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from sensor_producer.devices import Devices, make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import FaultSettings
from sensor_producer.fleet import Fleet, Readings

NOON = int(datetime(2026, 7, 15, 12, tzinfo=UTC).timestamp() * 1_000_000)
DEVICES = 200
SEED = 7

MakeReadings = Callable[..., Readings]


@pytest.fixture(scope="session")
def noon_us() -> int:
    return NOON


@pytest.fixture(scope="session")
def devices() -> Devices:
    return make_devices(DEVICES, SEED)


@pytest.fixture(scope="session")
def dice() -> Dice:
    return Dice(SEED, DEVICES)


@pytest.fixture(scope="session")
def many_faults() -> FaultSettings:
    return FaultSettings(
        failed=0.05, silent=0.05, stuck=0.05, drift=0.05, spike=0.05, maintenance=0.05,
        overheat=0.2, late=0.05, repeated=0.05,
    )  # fmt: skip


@pytest.fixture(scope="session")
def faulty_fleet(devices: Devices, dice: Dice, many_faults: FaultSettings) -> Fleet:
    return Fleet(devices, dice, 1.0, many_faults)


@pytest.fixture(scope="session")
def faulty_readings(faulty_fleet: Fleet) -> Readings:
    """20 seconds of a fleet in which every fault is frequent."""
    first = faulty_fleet.moments(NOON)
    return faulty_fleet.measure(first, first + 20 * DEVICES)


@pytest.fixture
def make_readings() -> MakeReadings:
    """Makes plain readings of given devices and times."""

    def make(device: list[int], timestamp_ms: list[int], faults: int = 0) -> Readings:
        rows = len(device)
        values = np.full(rows, 20.25)
        return Readings(
            device=np.array(device, dtype=np.int32),
            timestamp_ms=np.array(timestamp_ms, dtype=np.int64),
            temperature=values,
            humidity=values,
            pressure=values,
            status=np.zeros(rows, dtype=np.int8),
            faults=np.full(rows, faults, dtype=np.uint16),
        )

    return make
