"""Says it loudly when most of what arrives is rejected, instead of draining a topic into rejects.

While there is a flood of rejects, an event without one good reading goes to the dead letters with
all its bytes and can be put back when the cause is mended. It is not held in its topic by `Retry`:
each such event would take one of the source's places for minutes, and the good ones behind them
would wait.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from sensor_consumer.delivery import Delivery
from sensor_consumer.settings import FloodSettings
from sensor_shared.contracts.errors import Poison
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_REMEMBERED: Final = 100
_SHOWN_BYTES: Final = 200
_WINDOWS: Final = 20


class ReadingStore(Protocol):
    """What is behind the gate: `store.Store`."""

    async def add(self, delivery: Delivery) -> None:
        """Returns when the rows are stored."""


class Shares:
    """The mean over the last seconds' events of the part of an event that was rejected.

    Events count alike, whatever their size: one huge event of rubbish is no flood, and an event
    that could not be read at all counts as much as one of many readings.

    Args:
        seconds: length of the window, which moves on by whole seconds.
        least: events that the mean is taken of. Where fewer came in the window, as large ones do,
            the last ones before it count too, up to twenty windows ago.
    """

    def __init__(self, seconds: int, least: int):
        self._last = deque[tuple[float, float]](maxlen=least)
        self._least = least
        self._events = [0] * seconds
        self._rejected = [0.0] * seconds
        self._second = 0

    def add(self, share: float, now: float) -> None:
        """Counts one event; `share` is 0 to 1, `now` in seconds."""
        place = self._move(int(now)) % len(self._events)
        self._events[place] += 1
        self._rejected[place] += share
        self._last.append((now, share))

    def mean(self, now: float) -> float:
        """Returns the mean share, 0.0 where no event came in the window or too few before it."""
        self._move(int(now))
        events = sum(self._events)
        if events >= self._least:
            return sum(self._rejected) / events
        oldest = now - _WINDOWS * len(self._events)
        if not events or len(self._last) < self._least or self._last[0][0] < oldest:
            return 0.0
        return sum(share for _, share in self._last) / self._least

    def begin_anew(self) -> None:
        """Forgets what came before the window."""
        self._last.clear()

    def _move(self, second: int) -> int:
        for passed in range(max(self._second + 1, second + 1 - len(self._events)), second + 1):
            place = passed % len(self._events)
            self._events[place], self._rejected[place] = 0, 0.0
        self._second = max(self._second, second)
        return self._second


class Floodgate:
    """A store that refuses events without a good reading while there is a flood of rejects.

    An event counts when it is stored or refused, so one that must come again because a part is
    down counts once. Each replica judges by what it gets itself.

    Args:
        store: what is behind.
        settings: when it is a flood.
        clock: seconds.
    """

    def __init__(
        self,
        store: ReadingStore,
        settings: FloodSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._store = store
        self._settings = settings
        self._clock = clock
        self._shares = Shares(settings.window_seconds, settings.min_events)
        self._share = 0.0
        self._flooded = False
        self._refused = 0
        self._examples: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._log = logger(part="floodgate")
        self.look()

    @property
    def trouble(self) -> str | None:
        """What is wrong, in words; None without a flood."""
        if not self._flooded:
            return None
        return (
            f"flood of rejects: {self._share:.0%} of what came of late ({self._reasons()}); until "
            f"it is {self._settings.max_share / 2:.0%} events without a good reading go to the "
            f"dead letters, so far {self._refused}"
        )

    async def add(self, delivery: Delivery) -> None:
        """Returns when the delivery's rows are stored.

        Raises:
            Poison: in a flood, for an event without a good reading.
            Retry: as the store does.
        """
        if self._flooded and not delivery.batch.num_rows:
            self._refused += 1
            metrics.EVENTS_HELD_BACK.inc()
            self._count(delivery)
            raise Poison(f"held back in a flood of rejects: {delivery.rejects[0].reason}")
        await self._store.add(delivery)
        self._count(delivery)

    def look(self) -> None:
        """Judges anew; to be called about every second, since a flood can end in silence."""
        self._share = self._shares.mean(self._clock())
        highest = self._settings.max_share
        if not self._flooded and self._share > highest:
            self._begin()
        elif self._flooded and self._share <= highest / 2:
            self._end()
        metrics.REJECTED_SHARE.set(self._share)
        metrics.FLOODED.set(self._flooded)

    def _count(self, delivery: Delivery) -> None:
        rejects = delivery.rejects
        self._shares.add(len(rejects) / delivery.rows if rejects else 0.0, self._clock())
        if rejects:
            first = rejects[0]
            self._examples.append(
                {
                    "reason": first.reason,
                    "detail": first.detail,
                    "source": delivery.event.source[:_SHOWN_BYTES],
                    "event_id": delivery.event.id[:_SHOWN_BYTES],
                    "raw": repr(first.raw[:_SHOWN_BYTES]),
                }
            )
            self.look()

    def _reasons(self) -> str:
        reasons = Counter(example["reason"] for example in self._examples)
        return ", ".join(reason for reason, _ in reasons.most_common(3))

    def _begin(self) -> None:
        self._flooded, self._refused = True, 0
        self._log.error(
            "flood of rejects begins",
            share=round(self._share, 3),
            seconds=self._settings.window_seconds,
            reasons=dict(Counter(example["reason"] for example in self._examples)),
            example=self._examples[-1] if self._examples else None,
        )

    def _end(self) -> None:
        self._flooded = False
        self._shares.begin_anew()
        self._log.info(
            "flood of rejects ends", share=round(self._share, 3), held_back=self._refused
        )
        self._examples.clear()
