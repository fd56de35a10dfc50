"""What a process of the project is given: its variables, its files, and the settings from both."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sensor_alerts.settings import AlertServiceSettings
from sensor_analytics.settings import AnalyticsSettings
from sensor_auth.settings import AuthSettings
from sensor_consumer.settings import ConsumerSettings
from sensor_gateway.settings import GatewaySettings
from sensor_producer.settings import ProducerConfig
from sensor_shared.adapters.migrations import MigrationSettings
from sensor_shared.runtime.settings import Settings

from . import contract
from .rendered import Pod, Rendered

SETTINGS: Mapping[str, type[Settings]] = {
    "consumer": ConsumerSettings,
    "analytics": AnalyticsSettings,
    "alerts": AlertServiceSettings,
    "alerts-grpc": AlertServiceSettings,
    "auth": AuthSettings,
    "gateway": GatewaySettings,
    "producer": ProducerConfig,
    "migrations": MigrationSettings,
}
"""Of each pod whose process reads TWINUP_* variables."""
WORKDIR = PurePosixPath("/app")
EXTERNAL_CONFIG_MAPS = {"clickhouse-ca": {"ca.crt"}}
"""That the production overlay refers to, and the README says how to make."""


def processes(rendered: Rendered) -> list[Pod]:
    return [pod for pod in rendered.pods if pod.name in SETTINGS]


def variables(rendered: Rendered, pod: Pod, container: Mapping[str, Any]) -> dict[str, str]:
    """The container's variables, with secrets as the contract has them."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= rendered.data(source["configMapRef"]["name"])
        elif source["secretRef"]["name"] in contract.fresh() or rendered.overlay != "dev":
            found |= contract.values(source["secretRef"]["name"])
        else:
            assert source["secretRef"].get("optional"), f"{pod.name}: {source}"
    for entry in container.get("env", []):
        given = entry.get("valueFrom", {})
        if "secretKeyRef" in given:
            reference = given["secretKeyRef"]
            found[entry["name"]] = contract.values(reference["name"])[reference["key"]]
        elif "configMapKeyRef" in given:
            reference = given["configMapKeyRef"]
            found[entry["name"]] = rendered.data(reference["name"])[reference["key"]]
        else:
            found[entry["name"]] = entry["value"]
    return found


def settings(rendered: Rendered, pod: Pod, folder: Path) -> Settings:
    """The settings that the process would load, from its variables and its configuration file.

    A variable that names a mounted file gets one that exists here, for settings that look.
    """
    environ = variables(rendered, pod, pod.container)
    for name, value in environ.items():
        if value.startswith("/") and is_file(rendered, pod, PurePosixPath(value)):
            environ[name] = __file__
    file = None
    if pod.name != "migrations":
        name = f"{pod.container['name']}-config.yaml"
        file = folder / name
        file.write_text(rendered.data("configs")[name], encoding="utf-8")
    return SETTINGS[pod.name].load(environ, file)


def volume_of(pod: Pod, path: PurePosixPath) -> tuple[dict[str, Any], PurePosixPath] | None:
    """The volume that a path lies in, and the path inside it."""
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    for mount in pod.container["volumeMounts"]:
        if path.is_relative_to(mount["mountPath"]):
            return volumes[mount["name"]], path.relative_to(mount["mountPath"])
    return None


def is_file(rendered: Rendered, pod: Pod, path: PurePosixPath) -> bool:
    """Whether a path is a file of a mounted ConfigMap or secret."""
    found = volume_of(pod, WORKDIR / path)
    if found is None:
        return False
    volume, inside = found
    if "secret" in volume:
        return str(inside) in contract.values(volume["secret"]["secretName"])
    if "configMap" in volume:
        name = volume["configMap"]["name"]
        return str(inside) in EXTERNAL_CONFIG_MAPS.get(name, set()) or (
            name not in EXTERNAL_CONFIG_MAPS and str(inside) in rendered.data(name)
        )
    return False
