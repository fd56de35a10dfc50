"""A running system whose processes are killed and paused, and what must be true afterwards."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import psutil
from redis.asyncio import Redis

from sensor_local.audit.result import Audit
from sensor_local.background import up
from sensor_local.daemon import tell
from sensor_local.folder import RunFolder
from sensor_shared.adapters.latest import LatestReadings
from tests.e2e.system_under_test import System, wait_for

PATIENCE_SECONDS = 200.0
"""For each thing that is waited for: much more than it takes on a machine with nothing else."""
AUDIT_SECONDS = 90.0
"""The same for an audit that holds."""
_INTERVAL_MS = 1_000
_SAMPLE = 200


@dataclass(frozen=True)
class LiveSystem(System):
    """The system and its faults."""

    @property
    def devices(self) -> int:
        """Size of the fleet: readings per second."""
        return int(self.environ["TWINUP_PRODUCER_DEVICE_COUNT"])

    def start(self) -> None:
        """Starts everything; it stops by itself should this process end without a word."""
        up(RunFolder(self.run_dir), self.environ, tell, owner=os.getpid())

    # --- faults

    def kill(self, *names: str) -> None:
        """Kills processes with SIGKILL and waits until the supervisor has them running again."""
        before = {name: self._supervised()[name]["pid"] for name in names}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        wait_for(
            lambda: all(self._supervised()[name]["pid"] != before[name] for name in names),
            f"{' and '.join(names)} to be started again",
            PATIENCE_SECONDS,
        )

    @contextlib.contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """Stops processes with SIGSTOP, and lets them go on afterwards."""
        pids = [self._supervised()[name]["pid"] for name in names]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    # --- what must be true afterwards

    def recover(self) -> float:
        """Waits until every process is ready, new readings are stored and old ones delivered.

        Returns:
            How long that took, seconds.
        """
        began = time.monotonic()
        wait_for(self._all_ready, "every process to be ready", PATIENCE_SECONDS)
        since_ms = time.time_ns() // 1_000_000
        wait_for(lambda: self._reports(since_ms), "new readings to be stored", PATIENCE_SECONDS)
        wait_for(self._keeps_up, "the events of the meantime to be delivered", PATIENCE_SECONDS)
        return time.monotonic() - began

    def audit(self) -> Audit:
        """Asks the system's own audit until it holds: what is lost stays so.

        What is doubled does not, since merges remove it: it fails at once.
        """

        def holds() -> Audit | None:
            done = self.command("audit", "--json")
            if done.returncode in (0, 1):
                account = Audit.from_json(done.stdout)
                assert account.duplicated == 0, str(account)
                if account.good and not account.dead_lettered:
                    return account
            tell(f"not yet: {(done.stdout + done.stderr).strip()}")
            return None

        return wait_for(holds, "an audit that holds", AUDIT_SECONDS)

    def latest_values_are_right(self) -> None:
        """Compares Redis with ClickHouse for devices that report at this time.

        A reading is stored before it is shown, so Redis must be between what was the newest row
        before it was asked (within the devices' interval) and what is the newest row after.
        """

        def right() -> bool:
            before = self._newest()
            asked = random.sample(sorted(before), min(_SAMPLE, len(before)))
            shown = asyncio.run(self._shown(asked))
            after = self._newest()
            return len(asked) == _SAMPLE and all(
                moment is not None and before[id_] - _INTERVAL_MS <= moment <= after[id_]
                for id_, moment in shown.items()
            )

        wait_for(right, "the latest values to follow what is stored", PATIENCE_SECONDS)

    def in_flight(self) -> int | None:
        """Events that are not finished, of all sources; None when the dispatcher cannot say."""
        try:
            status = httpx.get(f"{self.endpoints['dispatcher']}/status", timeout=15).json()
        except httpx.HTTPError:
            return None
        sources: list[dict[str, Any]] = list(status["sources"].values())
        if any(source["lag"] is None for source in sources):
            return None
        return sum(int(source["lag"]) + int(source["in_flight"]) for source in sources)

    def stored(self) -> int:
        """Number of readings that are stored."""
        return int(self.query("SELECT count() AS n FROM readings FINAL")[0]["n"])

    def take_away_a_reading(self) -> str:
        """Deletes one stored reading and returns it as JSON.

        One of a minute that is over, if there is one: a paused producer may not have written
        down the last second of the present one.
        """
        (row,) = self.query(
            "SELECT * FROM readings"
            " ORDER BY timestamp < (SELECT toStartOfMinute(max(timestamp)) FROM readings) DESC,"
            " timestamp DESC LIMIT 1"
        )
        self._execute(
            f"ALTER TABLE readings DELETE WHERE device_id = '{row['device_id']}'"
            f" AND timestamp = toDateTime64('{row['timestamp']}', 3, 'UTC')"
            " SETTINGS mutations_sync = 2"
        )
        return json.dumps(row)

    def give_back(self, row: str) -> None:
        """Stores what was taken away."""
        self._execute(f"INSERT INTO readings FORMAT JSONEachRow {row}")

    def end(self) -> None:
        """Kills whatever is left of it, paused or not."""
        for _ in range(10):
            left = self.processes()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=5)

    def _execute(self, sql: str) -> None:
        answer = httpx.post(
            self.endpoints["clickhouse"],
            content=sql,
            headers=self.endpoints["clickhouse_headers"],
            timeout=60,
        )
        assert answer.status_code == 200, answer.text

    def _supervised(self) -> dict[str, dict[str, Any]]:
        document = json.loads((self.run_dir / "processes.json").read_text())
        return {process["name"]: process for process in document["processes"]}

    def _all_ready(self) -> bool:
        return all(one["state"] in ("ready", "done") for one in self._supervised().values())

    def _reports(self, since_ms: int) -> bool:
        """Nine of ten devices have a reading of later than that; the others may be silent."""
        moment = f"fromUnixTimestamp64Milli({since_ms})"
        sql = f"SELECT uniqExact(device_id) AS n FROM readings WHERE timestamp > {moment}"  # noqa: S608
        try:
            return int(self.query(sql)[0]["n"]) > 0.9 * self.devices
        except httpx.HTTPError:
            return False

    def _keeps_up(self) -> bool:
        """No more is under way than what some devices' seconds bring."""
        left = self.in_flight()
        return left is not None and left < 150

    def _newest(self) -> dict[str, int]:
        """Moment of each device's newest row, for those that had one in the last seconds."""
        rows = self.query(
            "SELECT device_id, toUnixTimestamp64Milli(max(timestamp)) AS moment FROM readings"
            " WHERE timestamp > now64(3) - INTERVAL 5 SECOND GROUP BY device_id"
        )
        return {row["device_id"]: int(row["moment"]) for row in rows}

    async def _shown(self, ids: list[str]) -> dict[str, int | None]:
        client = Redis.from_url(self.endpoints["redis"])
        try:
            documents = await LatestReadings(client).get(ids)
        finally:
            await client.aclose()
        return {
            id_: None if document is None else _moment(document)
            for id_, document in zip(ids, documents, strict=True)
        }


def _moment(document: bytes) -> int:
    """Epoch milliseconds of a latest value."""
    text: str = json.loads(document)["timestamp"]
    return round(datetime.fromisoformat(text).timestamp() * 1000)
