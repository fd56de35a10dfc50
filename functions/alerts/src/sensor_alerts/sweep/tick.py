"""One tick of the PingSource: everything that time decides, by one replica."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import KafkaException
from redis.exceptions import RedisError

from sensor_alerts.domain.alert import epoch_ms
from sensor_alerts.intake import CurrentRules
from sensor_alerts.leases import Leases
from sensor_alerts.ledger import Ledger
from sensor_alerts.outbox import Outbox
from sensor_alerts.sweep.conditions import Conditions
from sensor_alerts.sweep.scan import Scan
from sensor_alerts.sweep.silence import Silence
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

_LONGEST_SECONDS: Final = 60.0
"""After which a sweep that never ended does not keep others from theirs."""
_REPAIR_SECONDS: Final = 30.0


class Tick:
    """Sweeps, unless another replica does.

    Args:
        rules: as they are now.
        leases: say whose sweep it is.
        conditions, silence, scan: the parts of a sweep.
        ledger, outbox: finish what a process that died has begun.
        scan_seconds: between two looks at the newest readings of all devices.
        now: the time, UTC.
    """

    def __init__(
        self,
        *,
        rules: CurrentRules,
        leases: Leases,
        conditions: Conditions,
        silence: Silence,
        scan: Scan,
        ledger: Ledger,
        outbox: Outbox,
        scan_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._rules = rules
        self._leases = leases
        self._conditions = conditions
        self._silence = silence
        self._scan = scan
        self._ledger = ledger
        self._outbox = outbox
        self._scan_seconds = scan_seconds
        self._now = now
        self._log = logger(part="sweep")

    async def __call__(self) -> None:
        """Sweeps once.

        Raises:
            Retry: when Redis or ClickHouse is away; the next tick does the work.
        """
        try:
            owner = await self._leases.alone("sweep", _LONGEST_SECONDS)
            if owner is None:
                alert_metrics.ALERTS_SWEEPS.labels("elsewhere").inc()
                return
            try:
                await self._sweep()
            finally:
                await self._leases.done("sweep", owner)
        except (RedisError, DatabaseAwayError) as error:
            raise Retry(f"no sweep: {str(error)[:200]}", after=1) from error
        alert_metrics.ALERTS_SWEEPS.labels("done").inc()

    async def _sweep(self) -> None:
        rules, now = self._rules.current, self._now()
        live = await self._conditions.live()
        await _timed("conditions", lambda: self._conditions.decide(live, rules, now))
        await _timed("silence", lambda: self._silence(live, rules, now))
        if await self._leases.alone("scan", self._scan_seconds):
            await _timed("scan", lambda: self._scan(rules, epoch_ms(now)))
        if await self._leases.alone("repair", _REPAIR_SECONDS):
            await _timed("repair", self._repair)
        await self._ledger.settled()

    async def _repair(self) -> None:
        try:
            await self._outbox.repair(self._ledger.complete)
        except KafkaException as error:
            self._log.warning("changes not published yet", error=str(error))


async def _timed(part: str, work: Callable[[], Awaitable[None]]) -> None:
    started = time.perf_counter()
    await work()
    elapsed = (time.perf_counter() - started) * 1000
    alert_metrics.ALERTS_SWEEP_DURATION.labels(part).observe(elapsed)
