"""What is full first when devices become more: what adding pods alone does not help against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from load.capacity.costs import Measured
from load.capacity.model import Plan, stored_gb

ROOT = Path(__file__).parents[2]
ROLLUP_SECONDS = 20.0
"""Between two runs (eventing/07-rollups-to-consumer.yaml)."""
ROLLUP_PAUSES = 6.0
"""Of these, between the slices of a run."""
ROLLUP_CPU = 0.4 / 1_200_000
"""CPU seconds for one reading in a minute that is made anew (decision 7)."""
ROLLUP_MINUTES = 150.0
"""Seconds of readings that one run makes anew at most."""
_SCALED = ("consumer", "analytics", "alerts", "gateway")
_MAX_SCALE = "autoscaling.eventing.knative.dev/max-scale"


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that fills up.

    Attributes:
        name: what is full.
        devices: with which it is.
        remedy: what to do then.
    """

    name: str
    devices: float
    remedy: str


def limits(plan: Plan, measured: Measured) -> list[Limit]:
    """Returns the limits of a plan's kind of load, the first to be met first."""
    cost = partial(_cores_of_one_reading, plan, measured)
    pods = {name: _function(name) for name in _SCALED}
    dispatching = _source()
    raw_gb = stored_gb(replace(plan, devices=1.0), measured)
    rates: Sequence[tuple[str, float, str]] = [
        (
            "one Redis process (one core)",
            plan.busy / cost("redis"),
            (
                "give analytics a Redis of its own (`TWINUP_REDIS_HOST` of that function: it shares"
                " no key with the others); beyond twice that, the keys must be spread over several"
                " Redis, for which there is no code"
            ),
        ),
        (
            f"{pods['consumer']} pods of consumer (its max-scale)",
            pods["consumer"] * plan.busy / cost("consumer"),
            "raise max-scale, and lower `TWINUP_STORE_INSERTS_PER_SECOND` to what the table says",
        ),
        (
            f"{pods['analytics']} pods of analytics (its max-scale)",
            pods["analytics"] * plan.busy / cost("analytics"),
            (
                "raise max-scale; replicas that meet at a device read it again"
                " (`sensor_analytics_conflicts_total`)"
            ),
        ),
        (
            f"{pods['alerts']} pods of alerts (its max-scale)",
            pods["alerts"] * plan.busy / cost("alerts"),
            "raise max-scale; fewer breaches, by better rules, is the better remedy",
        ),
        (
            f"{pods['gateway']} pods of gateway (its max-scale)",
            # People's requests are counted by devices, however often these send.
            pods["gateway"]
            * plan.busy
            / (measured.request * plan.requests_per_device * plan.interval),
            "raise max-scale",
        ),
        (
            f"{dispatching} dispatching pods (max-scale of the KafkaSources)",
            # Each source has its own; the cost is that of both.
            2 * dispatching * plan.busy / cost("dispatcher"),
            "raise max-scale of the KafkaSources, and the partitions of sensor-data with it",
        ),
        (
            f"one ClickHouse server of {plan.server_cores:g} cores",
            plan.server_cores * plan.busy / cost("clickhouse"),
            (
                "several shards: needs `Distributed` tables, which are not here, or one system per"
                " region or customer"
            ),
        ),
        (
            f"one ClickHouse server's disks of {plan.server_gb / 1000:g} TB",
            plan.server_gb / raw_gb / plan.interval,
            "a shorter TTL of `readings` (minutes, hours and days stay), or tiered storage",
        ),
        (
            "one thread for the rollups",
            (ROLLUP_SECONDS - ROLLUP_PAUSES) / (ROLLUP_MINUTES * ROLLUP_CPU),
            "raise `TWINUP_ROLLUP_THREADS`; until then rollups are later, and never wrong",
        ),
    ]
    found = [Limit(name, rate * plan.interval, remedy) for name, rate, remedy in rates]
    return sorted(found, key=lambda limit: limit.devices)


def _cores_of_one_reading(plan: Plan, measured: Measured, process: str) -> float:
    """Returns the cores that one reading per second takes in records of the plan's size."""
    return measured.cost[process].cores(1 / plan.readings_per_record, 1.0)


def _function(name: str) -> int:
    document = _yaml(ROOT / "functions" / name / "func.yaml")
    return int(document["deploy"]["options"]["scale"]["max"])


def _source() -> int:
    document = _yaml(ROOT / "eventing" / "01-sensor-data-to-consumer.yaml")
    return int(document["metadata"]["annotations"][_MAX_SCALE])


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
