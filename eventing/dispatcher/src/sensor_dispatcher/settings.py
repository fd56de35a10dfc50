"""What the dispatcher is told from outside: addresses, which a cluster would resolve itself."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.runtime.settings import Section, ServerSettings, Settings, SettingsError
from sensor_shared.telemetry.logs import LoggerSettings


def _mapping(value: Any) -> Any:
    """Reads `name=url,name=url`, the form that an environment variable has."""
    if not isinstance(value, str):
        return value
    pairs = [entry.strip().partition("=") for entry in value.split(",") if entry.strip()]
    if any(not equals for _, equals, _ in pairs):
        raise ValueError("must be name=url,name=url")
    return {name.strip(): url.strip() for name, _, url in pairs}


Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+([/?][!-~]*)?$")]


class DispatcherSettings(Section):
    """Section DISPATCHER."""

    sinks: Annotated[dict[str, Url], BeforeValidator(_mapping)] = Field(default={})
    """Address of each Knative Service by its name."""
    namespace: str = "twinup"
    """Namespace of objects that name none; part of the `source` of plain records and pings."""
    grace_seconds: Annotated[float, Field(ge=0)] = 20.0
    """How long SIGTERM waits for deliveries in flight before it leaves them to the next start."""


class DispatcherProcess(Settings):
    """Settings of the dispatcher's process."""

    dispatcher: DispatcherSettings = DispatcherSettings()
    kafka: KafkaSettings = KafkaSettings()
    server: ServerSettings = ServerSettings(port=8090)
    logger: LoggerSettings = LoggerSettings()


def require_sinks(settings: DispatcherSettings, services: frozenset[str]) -> None:
    """Checks that each Service of the wiring has an address.

    Raises:
        SettingsError: naming those that have none.
    """
    if missing := services - settings.sinks.keys():
        names = ", ".join(sorted(missing))
        raise SettingsError(
            f"configuration:\n  TWINUP_DISPATCHER_SINKS: no address for the Services {names}"
        )
