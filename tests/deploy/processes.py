"""What each process of ours reads from its environment, by its name in deployment files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sensor_alerts.settings import AlertServiceSettings
from sensor_analytics.settings import AnalyticsSettings
from sensor_auth.settings import AuthSettings
from sensor_consumer.settings import ConsumerSettings
from sensor_dispatcher.settings import DispatcherProcess
from sensor_gateway.settings import GatewaySettings
from sensor_local.audit.asking import AuditSettings
from sensor_producer.settings import ProducerConfig
from sensor_shared.adapters.migrations import MigrationSettings
from sensor_shared.runtime.settings import Settings

from .dockerfiles import ROOT

FUNCTIONS: Mapping[str, type[Settings]] = {
    "consumer": ConsumerSettings,
    "analytics": AnalyticsSettings,
    "alerts": AlertServiceSettings,
    "auth": AuthSettings,
    "gateway": GatewaySettings,
}
TOOLS: Mapping[str, type[Settings]] = {
    "sensor_dispatcher": DispatcherProcess,
    "sensor_producer": ProducerConfig,
    "sensor_shared.adapters.migrations": MigrationSettings,
}
NO_SETTINGS = {"TWINUP_FUNCTION", "TWINUP_CONFIG_DIR"}
"""Read before the settings are."""


def unknown(environment: Mapping[str, str], *settings: type[Settings]) -> list[str]:
    """Variables of an environment that none of these settings has."""
    known = {name for kind in settings for name in variables(kind)} | NO_SETTINGS
    given = {name for name in environment if name.startswith("TWINUP_")}
    return sorted(name for name in given - known if name.removesuffix("_FILE") not in known)


def variables(settings: type[Settings]) -> Iterator[str]:
    """Every variable that these settings have."""
    for section, field in settings.model_fields.items():
        keys: Mapping[str, Any] = getattr(field.annotation, "model_fields", {})
        yield from (f"TWINUP_{section}_{key}".upper() for key in keys)


def loaded(
    name: str, kind: type[Settings], environment: Mapping[str, str], secrets: Path
) -> Settings:
    """The settings as the process would have them; secrets' files are looked for in a folder."""
    moved = {
        variable: value.replace("/run/secrets", str(secrets))
        for variable, value in environment.items()
        if variable not in NO_SETTINGS
    }
    file = ROOT / "configs" / f"{name}-config.yaml"
    return kind.load(moved, file if file.is_file() else None)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of settings, with where it is."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}".lstrip("."))
    else:
        yield path, value


COMMANDS = (DispatcherProcess, AuditSettings)
"""What the operators' commands read."""
