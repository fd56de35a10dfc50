"""Where Kafka, ClickHouse and the functions are: the environment says it, else what runs here.

So the same commands serve a cluster: `TWINUP_KAFKA_BROKERS=… make dlq` needs no run folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from sensor_dispatcher.settings import DispatcherProcess
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.runtime.settings import Settings, SettingsError, config_file

_BROKERS = "TWINUP_KAFKA_BROKERS"
_CLICKHOUSE = "TWINUP_CLICKHOUSE_HOST"
_SINKS = "TWINUP_DISPATCHER_SINKS"
_ENDPOINTS: Mapping[str, str] = {
    "consumer": "consumer",
    "analytics": "analytics",
    "alerts": "alerts_http",
}
"""Name in `endpoints.json` of each Service that events are sent to."""


class _ClickHouse(Settings):
    clickhouse: ClickHouseSettings = ClickHouseSettings()


class Addresses:
    """Addresses as the environment and the run folder give them."""

    def __init__(self, environ: Mapping[str, str]):
        self._environ = environ
        run = RunFolder(Path(environ.get("TWINUP_RUN_DIR", ".run")))
        self._endpoints: dict[str, Any] = run.endpoints or {}

    @property
    def brokers(self) -> str:
        """Kafka's bootstrap addresses.

        Raises:
            StartError: when nobody says where it is.
        """
        found: str | None = self._environ.get(_BROKERS) or self._endpoints.get("kafka")
        if not found:
            raise StartError(f"not running: `make up` starts it, or {_BROKERS} names a cluster's")
        return found

    @property
    def clickhouse(self) -> ClickHouseSettings:
        """ClickHouse's address, user and database.

        Raises:
            StartError: when nobody says where it is, or a setting is a mistake.
        """
        if self._environ.get(_CLICKHOUSE):
            try:
                return _ClickHouse.load(self._environ).clickhouse
            except SettingsError as error:
                raise StartError(str(error)) from error
        if "clickhouse" not in self._endpoints:
            raise StartError(f"not running: `make up` starts it, or {_CLICKHOUSE} names a server")
        address = urlsplit(self._endpoints["clickhouse"])
        headers = self._endpoints["clickhouse_headers"]
        return ClickHouseSettings(
            host=address.hostname or "",
            port=address.port or 0,
            user=headers["X-ClickHouse-User"],
            password=SecretStr(headers["X-ClickHouse-Key"]),
            database=headers["X-ClickHouse-Database"],
        )

    @property
    def settings(self) -> DispatcherProcess:
        """The dispatcher's settings; its namespace is part of what identifies plain records.

        Raises:
            StartError: when they hold a mistake.
        """
        try:
            return DispatcherProcess.load(self._environ, config_file(self._environ, "dispatcher"))
        except SettingsError as error:
            raise StartError(str(error)) from error

    @property
    def services(self) -> dict[str, str]:
        """URL by the name of the Service: those of the environment, else those that run here."""
        if self._environ.get(_SINKS):
            return dict(self.settings.dispatcher.sinks)
        return {
            service: str(self._endpoints[name])
            for service, name in _ENDPOINTS.items()
            if name in self._endpoints
        }

    def service(self, name: str) -> str:
        """Returns the URL of a Service.

        Raises:
            StartError: when nobody says where it is.
        """
        if (url := self.services.get(name)) is None:
            raise StartError(
                f"where is {name}? `make up` starts it, or {_SINKS}={name}=http://… names one"
            )
        return url
