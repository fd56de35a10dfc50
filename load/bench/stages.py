"""What the stages of one event cost, beside Python's own JSON reader in the same run.

`make test-bench` prints microseconds of CPU per event of 60 readings, the best of several rounds,
and the ratio to `json.loads` of the same readings: machines differ, ratios less.
"""

import io
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from sensor_shared.contracts.events import ARROW_STREAM, JSON, READINGS_V1, Event, new_id
from sensor_shared.contracts.readings import decode
from sensor_shared.contracts.rules import load_rules

READINGS = 60
ROUNDS = 7
CALLS = 300
RULES = Path(__file__).parents[2] / "configs" / "alert-rules.yaml"


def readings(now_ms: int) -> list[dict[str, object]]:
    """Returns one event's readings as a device gateway would send them."""
    place = {"latitude": 40.106052, "longitude": 27.533442, "region": "west"}
    return [
        {
            "device_id": f"weather_station_{number:06}",
            "timestamp": now_ms - number,
            "temperature": 20 + number / 100,
            "humidity": 55.04,
            "pressure": 1010.61,
            "location": place,
            "status": "active",
        }
        for number in range(READINGS)
    ]


def cpu_us(call: Callable[[], object]) -> float:
    """Returns microseconds of CPU per call, the best of `ROUNDS`."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time_ns()
        for _ in range(CALLS):
            call()
        best = min(best, (time.process_time_ns() - started) / CALLS / 1000)
    return best


def main() -> None:
    """Prints the table."""
    now_ms = time.time_ns() // 1_000_000
    text = json.dumps(readings(now_ms)).encode()
    as_json = Event(new_id(), "urn:bench", READINGS_V1, text, JSON)
    batch = decode(as_json, now_ms).batch
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    as_arrow = Event(new_id(), "urn:bench", READINGS_V1, sink.getvalue(), ARROW_STREAM)
    rules = load_rules(RULES)
    stages: dict[str, Callable[[], object]] = {
        "json.loads (baseline)": lambda: json.loads(text),
        "decode and validate JSON": lambda: decode(as_json, now_ms),
        "decode and validate Arrow": lambda: decode(as_arrow, now_ms),
        "test against the alert rules": lambda: rules.breaches(batch),
    }
    costs = {name: cpu_us(stage) for name, stage in stages.items()}
    baseline = costs["json.loads (baseline)"]
    lines = [
        f"{platform.platform()}, Python {platform.python_version()}, pyarrow {pa.__version__}",
        f"{'one event of 60 readings':32}{'CPU µs':>10}{'ratio':>8}",
        *(f"{name:32}{cost:10.0f}{cost / baseline:8.2f}" for name, cost in costs.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
