"""The arithmetic of the audit, without I/O: where each reading of the ledger is.

A minute's readings are sets of keys, one sorted unique uint64 each: the device's position in the
ledger times 2^16, plus the milliseconds since the minute's begin.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensor_producer.checksum import scramble

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

MINUTE_MS = 60_000

_SHIFT = np.uint64(16)
_OFFSET = np.uint64(0xFFFF)

NO_KEYS: Keys = np.empty(0, np.uint64)


def pack(position: npt.NDArray[np.integer], offset_ms: npt.NDArray[np.integer]) -> Keys:
    """Returns the keys of readings, in their order.

    Args:
        position: of the devices.
        offset_ms: since the begin of the minute, below 60,000.
    """
    return (position.astype(np.uint64) << _SHIFT) | offset_ms.astype(np.uint64)


def device_of(keys: Keys) -> npt.NDArray[np.int64]:
    """Returns the position of each key's device."""
    return (keys >> _SHIFT).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the ledger has of some devices in one minute.

    Attributes:
        start_ms: begin of the minute, epoch ms.
        position: of the devices, ascending.
        count: readings of each.
        checksum: of their timestamps.
    """

    start_ms: int
    position: npt.NDArray[np.int64]
    count: Counts
    checksum: npt.NDArray[np.uint64]

    def tally(self, keys: Keys) -> Counts:
        """Returns how many of the keys each device has; keys of other devices do not count."""
        owner = device_of(keys)
        place = np.searchsorted(self.position, owner)
        place[place == len(self.position)] = 0
        mine = self.position[place] == owner if len(self.position) else np.zeros(0, np.bool_)
        return np.bincount(place[mine], minlength=len(self.position)).astype(np.int64)

    def checksum_of(self, keys: Keys) -> npt.NDArray[np.uint64]:
        """Returns the checksum of each device's keys; all keys must be of these devices."""
        place = np.searchsorted(self.position, device_of(keys))
        result = np.zeros(len(self.position), np.uint64)
        np.add.at(result, place, scramble((keys & _OFFSET).astype(np.int64) + self.start_ms))
        return result


@dataclass(frozen=True, slots=True)
class Settled:
    """Where the readings of the ledger are: count = stored + dead_lettered + in_flight + lost.

    `different` counts the devices that have the right number of readings, but other ones.
    """

    stored: int = 0
    dead_lettered: int = 0
    in_flight: int = 0
    lost: int = 0
    different: int = 0

    def __add__(self, other: "Settled") -> "Settled":
        return Settled(
            self.stored + other.stored,
            self.dead_lettered + other.dead_lettered,
            self.in_flight + other.in_flight,
            self.lost + other.lost,
            self.different + other.different,
        )


def settle(expected: Expected, stored: Keys, dead: Keys, flight: Keys) -> Settled:
    """Says where the readings of some devices in one minute are.

    The ledger knows how many readings a device has, not which. So what is stored counts up to
    that number, and what is missing is explained by what is known to be elsewhere.

    Args:
        expected: by the ledger.
        stored: all keys of these devices and this minute that the table has.
        dead: keys among the dead letters, of any devices.
        flight: keys that may be on their way, of any devices.
    """
    there = expected.tally(stored)
    dead = np.setdiff1d(dead, stored, assume_unique=True)
    flight = np.setdiff1d(flight, np.union1d(stored, dead), assume_unique=True)
    elsewhere_dead, elsewhere_flight = expected.tally(dead), expected.tally(flight)
    short = np.maximum(expected.count - there, 0)
    given_up = np.minimum(short, elsewhere_dead)
    on_the_way = np.minimum(short - given_up, elsewhere_flight)
    # With a reading elsewhere, one that the ledger does not have yet may stand in its place.
    sure = (there == expected.count) & (elsewhere_dead + elsewhere_flight == 0)
    other = sure & (expected.checksum_of(stored) != expected.checksum)
    return Settled(
        stored=int(np.minimum(expected.count, there).sum()),
        dead_lettered=int(given_up.sum()),
        in_flight=int(on_the_way.sum()),
        lost=int((short - given_up - on_the_way).sum()),
        different=int(other.sum()),
    )


@dataclass(frozen=True, slots=True)
class Copies:
    """Rows of one minute that stand for a reading that another row stands for already.

    Attributes:
        expected: the devices that were looked at.
        there: readings of each that are stored.
        rows: copies in the table as it lies there.
        answered: copies that answers count, which should leave all of them out.
    """

    expected: Expected
    there: Counts
    rows: int
    answered: int

    def surplus(self, count: npt.NDArray[np.integer]) -> int:
        """Returns how many stored readings the ledger does not have; `count` is by position."""
        return int(np.maximum(self.there - count[self.expected.position], 0).sum())


def duplicated(copies: Iterable[Copies], repeated: Mapping[int, int], gaps: Set[int]) -> int:
    """Returns the copies that nobody sent on purpose.

    Merges may have removed rows already, so fewer copies than were sent are right.

    Args:
        copies: by minute.
        repeated: second copies that were sent on purpose, by begin of the minute.
        gaps: minutes in which the ledger lacks readings that are stored, because a producer was
            killed before it wrote them down. Second copies are sent up to some seconds, or one
            generated batch, later: they may be lacking in the two minutes before as well.
    """
    total = 0
    for one in copies:
        start = one.expected.start_ms
        known = gaps.isdisjoint(range(start, start + 3 * MINUTE_MS, MINUTE_MS))
        total += max(one.answered, one.rows - repeated.get(start, 0) if known else 0)
    return total
