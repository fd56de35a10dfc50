"""*history*: one device's last 24 hours in minutes, with a hundred million readings stored."""

import http.client
import json
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import numpy as np

from load.bench.api.stock import DEVICES, READINGS, device_id
from load.bench.flow.bed import BenchError

MARK_MS: Final = 50.0
"""p99 of a page of minutes."""
_MINUTES: Final = 1_440
_DAY_MS: Final = 86_400_000
_WARM_UP: Final = 20
"""Questions of each kind that are not counted: a server that has just started opens its parts."""
QUESTIONS: Final[Mapping[str, Mapping[str, str | int]]] = {
    "minutes": {"resolution": "minute", "limit": 2_000},
    "chart_of_minutes": {"resolution": "minute", "max_points": 500},
    "page_of_readings": {"resolution": "raw", "limit": 1_000},
    "chart_of_readings": {"resolution": "raw", "max_points": 500, "metric": "temperature"},
}
"""What is asked about each of the devices, by its name in the results."""


def measure(
    address: str, token: str, end_ms: int, *, requests: int = 400, seed: int = 1
) -> dict[str, Any]:
    """Asks for the history of one device after the other, and never twice for the same.

    One connection, one question at a time, so that a time is that of the answer alone. Without a
    cache of the gateway's it is that of ClickHouse.

    Args:
        address: URL of the gateway.
        token: access token of somebody who may read.
        end_ms: where the stored day ends, epoch milliseconds.
        requests: of each kind.
        seed: of the devices' order.

    Raises:
        BenchError: when an answer is not what was stored.
    """
    devices = random.Random(seed).sample(range(DEVICES), _WARM_UP + requests)  # noqa: S311
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        kinds = {
            name: _ask_all(connection, headers, name, devices[_WARM_UP:], end_ms)
            for name in QUESTIONS
        }
    finally:
        connection.close()
    return {
        "readings_stored": READINGS,
        "devices": DEVICES,
        **kinds,
    }


def _ask_all(
    connection: http.client.HTTPConnection,
    headers: Mapping[str, str],
    name: str,
    devices: Sequence[int],
    end_ms: int,
) -> dict[str, Any]:
    times, size = [], 0
    for number in devices:
        span = {"from": end_ms - _DAY_MS, "to": end_ms}
        path = f"/api/v1/devices/{device_id(number)}/history?"
        began = time.perf_counter()
        connection.request("GET", path + urlencode({**QUESTIONS[name], **span}), headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        times.append((time.perf_counter() - began) * 1_000)
        size += len(body)
        if answer.status != 200:
            raise BenchError(f"{name}: {answer.status} {body[:300]!r}")
        if name == "minutes":
            _check(json.loads(body))
    return {
        "requests": len(times),
        "p50_ms": round(float(np.quantile(times, 0.5)), 2),
        "p99_ms": round(float(np.quantile(times, 0.99)), 2),
        "max_ms": round(max(times), 2),
        "bytes_each": size // len(times),
    }


def _check(answer: dict[str, Any]) -> None:
    """Sees that all minutes of the day are there, and in them all that was stored."""
    items = answer["items"]
    readings = sum(item["readings"] for item in items)
    moments = [datetime.fromisoformat(item["timestamp"]) for item in items]
    whole = len(items) == _MINUTES and moments == sorted(moments, reverse=True)
    if not whole or readings != READINGS // DEVICES:
        raise BenchError(f"{len(items)} minutes with {readings} readings were answered")
