"""Compose files as Docker Compose would read them: included, merged, variables filled in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .dockerfiles import ROOT

FOLDER = ROOT / "infra" / "compose"
WHOLE, PARTS, PRODUCTION = (
    "docker-compose.yml",
    "docker-compose.infra.yml",
    "docker-compose.prod.yml",
)
GIVEN: Mapping[str, str] = {
    "GRAFANA_PASSWORD": "swordfish",
    "SECRETS_DIR": "/etc/twinup/secrets",
    "SMTP_HOST": "smtp.example.com",
    "SMTP_USERNAME": "alerts",
    "SMTP_SENDER": "alerts@example.com",
    "SMTP_RECIPIENTS": "operators@example.com",
}
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:\?[^}]*)?\}")
_MAPPINGS_BY_NAME = ("services", "volumes", "secrets")


class Reset(list[Any]):
    """What `!reset` leaves of a list."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!reset", lambda _loader, _node: Reset())


def text(file: str) -> str:
    return (FOLDER / file).read_text(encoding="utf-8")


def document(file: str) -> dict[str, Any]:
    """One file as it stands."""
    found: dict[str, Any] = yaml.load(text(file), _Loader)  # noqa: S506 - a safe loader's child
    return found


def model(*files: str) -> dict[str, Any]:
    """Several files, the later over the earlier."""
    merged: dict[str, Any] = {name: {} for name in _MAPPINGS_BY_NAME}
    for file in files:
        read = document(file)
        for part in [*map(document, read.get("include", [])), read]:
            for name in _MAPPINGS_BY_NAME:
                merged[name] = _merge(merged[name], part.get(name) or {})
    filled: dict[str, Any] = _fill(merged)
    return filled


def published(service: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Address, port of this machine and port of the container."""
    found = []
    for port in service.get("ports", []):
        address, outer, inner = str(port).split(":")
        found.append((address, int(outer), int(inner)))
    return found


def is_ours(service: Mapping[str, Any]) -> bool:
    return str(service.get("image", "")).startswith("ghcr.io/example/")


def is_job(service: Mapping[str, Any]) -> bool:
    return bool(service.get("healthcheck", {}).get("disable"))


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def _merge(old: Any, new: Any) -> Any:
    if isinstance(new, Reset):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        both = {name: _merge(old[name], new[name]) for name in old.keys() & new.keys()}
        return {**old, **new, **both}
    if isinstance(old, list) and isinstance(new, list):
        # Of two volumes at the same place the later one counts.
        places = {target(one) for one in new}
        return [*(one for one in old if target(one) is None or target(one) not in places), *new]
    return new


def _fill(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _fill(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_fill(part) for part in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda match: GIVEN[match[1]], value).replace("$$", "$")
    return value


def target(volume: Any) -> str | None:
    """Where in the container a volume is; None for what is no volume."""
    found = re.fullmatch(r".+:(/[^:]+)(:ro)?", volume) if isinstance(volume, str) else None
    return None if found is None else found[1]


def source(volume: str) -> Path | None:
    """File or folder that a volume mounts; None for a named one."""
    name = volume.partition(":")[0]
    return (FOLDER / name).resolve() if name.startswith((".", "/")) else None


MODELS: Mapping[str, dict[str, Any]] = {
    "parts": model(PARTS),
    "whole": model(WHOLE),
    "production": model(WHOLE, PRODUCTION),
}
"""What `docker compose` is called with."""
EVERY = [(kind, name) for kind, found in MODELS.items() for name in found["services"]]
OURS = [(kind, name) for kind, name in EVERY if is_ours(MODELS[kind]["services"][name])]


def service(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = MODELS[kind]["services"][name]
    return found
