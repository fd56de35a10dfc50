"""What goes wrong with devices: when an episode is on, and what each reading suffers from."""

from dataclasses import dataclass
from enum import IntFlag, auto
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensor_producer.dice import Dice, Floats, Integers, Purpose
from sensor_shared.runtime.settings import Section

Mask = npt.NDArray[np.bool_]
Share = Annotated[float, Field(ge=0, le=1)]


class Fault(IntFlag):
    """Marks on a reading; several may hold at once."""

    FAILED = auto()
    """All metrics are -999, status error: the consumer rejects it."""
    STUCK = auto()
    DRIFT = auto()
    SPIKE = auto()
    MAINTENANCE = auto()
    OVERHEAT = auto()
    LATE = auto()
    """Delivered seconds after it was measured."""
    REPEATED = auto()
    """The second copy of a reading that was delivered before."""


class FaultSettings(Section):
    """Section FAULTS: the share of readings that suffer from each fault, 0 to 1."""

    failed: Share = 0.0015
    silent: Share = 0.0015
    stuck: Share = 0.002
    drift: Share = 0.002
    spike: Share = 0.0005
    maintenance: Share = 0.002
    overheat: Share = 0.004
    """Of the readings of industrial devices."""
    late: Share = 0.001
    repeated: Share = 0.001


@dataclass(frozen=True, slots=True)
class Episode:
    """The part of an episode that each reading is in.

    Attributes:
        on: whether the device is in an episode at all; the rest is meaningful only there.
        number: counts the device's stretches of time.
        started_ms: when the stretch began, epoch ms.
        progress: 0 at its begin, near 1 at its end.
    """

    on: Mask
    number: Integers
    started_ms: Integers
    progress: Floats


class Episodes:
    """Cuts each device's time into stretches, a share of which are an episode of one fault.

    Stretches last half to one and a half times `mean_ms`, fixed per device, and begin at
    different times, so that episodes come and go evenly over the fleet.
    """

    def __init__(self, dice: Dice, purpose: Purpose, devices: int, share: float, mean_ms: int):
        self._dice = dice
        self._purpose = purpose
        self._share = share
        everyone = np.arange(devices)
        which = np.full(devices, int(purpose))
        length = dice.uniform(Purpose.EPISODE_LENGTH, everyone, which)
        offset = dice.uniform(Purpose.EPISODE_OFFSET, everyone, which)
        self._length = ((0.5 + length) * mean_ms).astype(np.int64)
        self._offset = (offset * self._length).astype(np.int64)

    def at(self, device: npt.NDArray[np.integer], time_ms: Integers) -> Episode:
        """Returns where each device is at its time (epoch ms)."""
        length, offset = self._length[device], self._offset[device]
        number = (time_ms + offset) // length
        started = number * length - offset
        return Episode(
            on=self._dice.uniform(self._purpose, device, number) < self._share,
            number=number,
            started_ms=started,
            progress=(time_ms - started) / length,
        )
