"""The alert rules of a running process: read again when the file changes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from sensor_shared.contracts.rules import Breach, Rules, RulesError, load_rules
from sensor_shared.runtime.settings import Section
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

CHECK_SECONDS = 2.0


class RulesSettings(Section):
    """Section RULES: where the alert rules are."""

    file: Path | None = None
    """Default: `alert-rules.yaml` beside the other configuration."""
    check: Annotated[float, Field(gt=0)] = CHECK_SECONDS
    """Seconds between two looks at whether the file has changed."""


class RulesFile:
    """Holds the rules of the last file that could be used.

    A file that cannot be used changes nothing: `trouble`, a metric and the log say so until it
    can. A ConfigMap, which Kubernetes exchanges by a symbolic link, is seen like any other file.

    Args:
        path: of the file.
        load: reads it; raises `RulesError`.

    Raises:
        RulesError: when the first file cannot be used.
    """

    def __init__(self, path: Path, load: Callable[[Path], Rules] = load_rules):
        self._path = path
        self._load = load
        self._seen = self._state()
        self._rules = load(path)
        self._trouble: str | None = None
        self._log = logger(part="rules")

    @property
    def current(self) -> Rules:
        """The rules as they are now."""
        return self._rules

    @property
    def trouble(self) -> str | None:
        """What is wrong with the newest file; None: nothing."""
        return self._trouble

    def breaches(self, batch: pa.RecordBatch) -> list[Breach]:
        """Tests a batch against the rules as they are now: see `Rules.breaches`."""
        return self._rules.breaches(batch)

    def reload(self) -> bool:
        """Reads the file if it has changed; returns whether there are new rules."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        try:
            self._rules = self._load(self._path)
        except RulesError as error:
            self._trouble = f"alert rules are not read again: {error}"
            alert_metrics.RULES_REFUSED.set(1)
            self._log.error("rules refused; the earlier ones stay", error=str(error))
            return False
        self._trouble = None
        alert_metrics.RULES_REFUSED.set(0)
        alert_metrics.RULES_RELOADED.inc()
        self._log.info("rules read again", rules=len(self._rules.rules))
        return True

    async def watch(self, seconds: float = CHECK_SECONDS) -> None:
        """Reloads for ever, whenever the file has changed."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.reload)

    def _state(self) -> tuple[int, ...]:
        """What differs when the file was written, replaced, or its link leads elsewhere."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino
