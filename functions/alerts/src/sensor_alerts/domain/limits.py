"""How often people are told: the limits, and their keeping in one process."""

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
_MAX_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on notifications; durations in milliseconds."""

    deduplication_ms: int
    cooldown_ms: int
    per_device_and_hour: int
    per_minute: int


class HeldBack(StrEnum):
    """Why nobody is told."""

    DEDUPLICATED = "deduplicated"
    """The same device and subject were told of, at this severity or a higher one."""
    COOLDOWN = "cooldown"
    DEVICE_LIMIT = "device_limit"
    OVERALL_LIMIT = "overall_limit"


@dataclass(frozen=True, slots=True)
class Occasion:
    """What somebody would be told of.

    Attributes:
        name: unique; who asks again by the same name gets the same answer.
        severity: rank, 1 to 4.
    """

    name: str
    device_id: str
    subject: str
    severity: int


class Gate(Protocol):
    """Lets notifications through, each counted, or says why not."""

    async def claim(self, occasion: Occasion, now_ms: int) -> HeldBack | None:
        """Takes the right to send a notification; None: it may go."""


@dataclass(slots=True)
class _Told:
    name: str
    severity: int
    deduplicated_until: int
    cooled_at: int


class LocalGate:
    """The limits as one process can keep them, for the time in which Redis is away."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._told: OrderedDict[tuple[str, str], _Told] = OrderedDict()
        self._by_device: OrderedDict[str, deque[int]] = OrderedDict()
        self._overall: deque[int] = deque()

    async def claim(self, occasion: Occasion, now_ms: int) -> HeldBack | None:
        """See `Gate`."""
        limits = self._limits
        about = (occasion.device_id, occasion.subject)
        told = self._told.get(about)
        if told is not None and told.name == occasion.name:
            return None
        _forget(self._overall, now_ms - MINUTE_MS)
        if len(self._overall) >= limits.per_minute:
            return HeldBack.OVERALL_LIMIT
        if told is not None:
            if told.severity >= occasion.severity and now_ms < told.deduplicated_until:
                return HeldBack.DEDUPLICATED
            if now_ms < told.cooled_at:
                return HeldBack.COOLDOWN
        recent = self._by_device.setdefault(occasion.device_id, deque())
        _forget(recent, now_ms - HOUR_MS)
        if len(recent) >= limits.per_device_and_hour:
            return HeldBack.DEVICE_LIMIT
        recent.append(now_ms)
        self._overall.append(now_ms)
        self._told[about] = _Told(
            occasion.name,
            occasion.severity,
            now_ms + limits.deduplication_ms,
            now_ms + limits.cooldown_ms,
        )
        self._told.move_to_end(about)
        self._by_device.move_to_end(occasion.device_id)
        for remembered in (self._told, self._by_device):
            if len(remembered) > _MAX_REMEMBERED:
                remembered.popitem(last=False)
        return None


def _forget(moments: deque[int], until: int) -> None:
    while moments and moments[0] <= until:
        moments.popleft()
