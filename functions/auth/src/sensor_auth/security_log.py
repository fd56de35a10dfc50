"""What matters for security, kept where admins read it: written in the background, in batches."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_auth.domain import SecurityEvent
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.contracts.events import new_id
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_TABLE = "security_events"
_MAX_WAITING = 10_000
_MAX_BATCH = 1_000
_PAUSE_SECONDS = 0.5
_LAST_SECONDS = 5.0
_MAX_DETAIL = 500


@dataclass(slots=True)
class _Batch:
    rows: list[dict[str, Any]]
    token: str


class SecurityLog:
    """Takes events at once and writes them to ClickHouse when it answers.

    Nobody waits for it and nothing fails by it. Every event is a line of the process's log as
    well. While ClickHouse is away 10,000 events wait; those beyond are only in that log, and
    `sensor_auth_security_events_lost_total` counts them. So does what a stop leaves behind.

    Args:
        database: with the table `security_events`.
        most: events that may wait.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        *,
        most: int = _MAX_WAITING,
        now: Callable[[], float] = time.time,
    ):
        self._database = database
        self._most = most
        self._now = now
        self._waiting: deque[dict[str, Any]] = deque()
        self._batch: _Batch | None = None
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reported = ""
        self._log = logger(part="security")

    def record(
        self,
        event: SecurityEvent,
        *,
        username: str = "",
        actor: str = "",
        address: str = "",
        session: str = "",
        detail: str = "",
    ) -> None:
        """Takes one event; never waits, never raises.

        Args:
            event: what happened.
            username: whom it is about.
            actor: who did it.
            address: of the client.
            session: id of the session that it is about.
            detail: a few words, never a secret; cut after 500 characters.
        """
        request = structlog.contextvars.get_contextvars().get("request_id", "")
        texts = {
            "username": username,
            "actor": actor,
            "address": address,
            "session": session,
            "request_id": str(request),
            "detail": detail[:_MAX_DETAIL],
        }
        told = {name: text for name, text in texts.items() if text}
        self._log.info("security event", **{"kind": str(event), **told})
        metrics.SECURITY_EVENTS.labels(str(event)).inc()
        if len(self._waiting) >= self._most:
            metrics.SECURITY_EVENTS_LOST.inc()
            return
        moment = datetime.fromtimestamp(self._now(), UTC)
        row = {"time": moment, "id": new_id(), "event": str(event), **texts}
        self._waiting.append(row)
        self._some.set()
        self._count()

    def start(self) -> None:
        """Begins to write; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="security-log")

    async def stop(self) -> None:
        """Writes what waits, for 5 seconds at most."""
        await end([self._task])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                while self._left and await self._write():
                    pass
        if self._left:
            metrics.SECURITY_EVENTS_LOST.inc(self._left)
            self._log.error("security events are in this log alone", events=self._left)

    @property
    def _left(self) -> int:
        return len(self._waiting) + (len(self._batch.rows) if self._batch else 0)

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            await self._write()
            # What comes in meanwhile goes together.
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _write(self) -> bool:
        """Writes one batch; the same one again until ClickHouse has it."""
        if self._batch is None:
            count = min(len(self._waiting), _MAX_BATCH)
            rows = [self._waiting.popleft() for _ in range(count)]
            self._batch = _Batch(rows, f"security-{rows[0]['id']}")
        try:
            await self._database.insert_many(_TABLE, self._batch.rows, token=self._batch.token)
        except (DatabaseAwayError, ClickHouseError) as error:
            # Without the table too: the migrations may still be running.
            if (reason := str(error)[:300]) != self._reported:
                self._reported = reason
                self._log.warning("security events wait", events=self._left, error=reason)
            return False
        self._batch, self._reported = None, ""
        if not self._waiting:
            self._some.clear()
        self._count()
        return True

    def _count(self) -> None:
        metrics.SECURITY_EVENTS_WAITING.set(self._left)
