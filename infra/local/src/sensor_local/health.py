"""Asks every service that speaks HTTP whether it can do its work."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sensor_local import web

_READINESS = "/health/readiness"
_PATHS = {"clickhouse": "/ping", "mail": "/"}


async def report(endpoints: Mapping[str, Any], tell: Callable[[str], None]) -> bool:
    """Tells one line for each service; returns whether all are well."""
    ports = {
        name: port
        for name, address in endpoints.items()
        if isinstance(address, str)
        and address.startswith("http://")
        and (port := urlsplit(address).port)
    }
    answers = await asyncio.gather(*(_ask(name, port) for name, port in ports.items()))
    for name, answer in zip(ports, answers, strict=True):
        tell(f"{name:17} {answer}")
    return all(answer == "ok" for answer in answers)


async def _ask(name: str, port: int) -> str:
    try:
        status, body = await web.get(port, _PATHS.get(name, _READINESS), timeout=5.0)
    except OSError as error:
        return f"does not answer: {error}"
    if status != 200:
        return f"not ready (status {status})"
    # A function that does its work, but not as it should, says so.
    return body.decode("utf-8", "replace") if body.startswith(b"degraded") else "ok"
