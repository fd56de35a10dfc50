"""The capacity model: from a number of devices to cores, pods, bytes and money. Arithmetic only."""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

from load.capacity import sizes
from load.capacity.costs import Measured

DAY = 86_400
GIB = 2**30
GB = 1e9
CONSUMER_INSERTS = 10.0
"""Inserts per second into `readings` of all consumers, for each shard of a cluster."""


def _given(default: Any, meaning: str) -> Any:
    """A number that may be given; what it means, with its unit, is in the command's help too."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Prices:
    """The defaults are round figures to replace, nobody's offer."""

    core: float = _given(20.0, "money for a core and month")
    memory_gib: float = _given(3.0, "money for a GiB of memory and month")
    storage_gb: float = _given(0.1, "money for a GB of storage and month")


@dataclass(frozen=True)
class Plan:
    """What is asked for, and what is assumed.

    Attributes:
        devices: that send.
        prices: see there.
    """

    devices: float
    interval: float = _given(1.0, "seconds between two readings of a device")
    readings_per_record: int = _given(250, "readings, as gateways collect them; at most 600")
    requests_per_device: float = _given(0.01, "REST requests per second and device")
    busy: float = _given(0.6, "share of a core planned to be in use, so that a third more fits in")
    min_pods: int = _given(2, "pods of each function, so that one may be away")
    kafka_replicas: int = _given(3, "copies of each record")
    kafka_hours: float = _given(24.0, "hours that sensor-data is kept")
    clickhouse_replicas: int = _given(2, "copies of each row; each of them merges")
    raw_days: float = _given(90.0, "days that readings are kept")
    server_cores: float = _given(64.0, "cores of the largest ClickHouse server to be had")
    server_gb: float = _given(30_000.0, "GB of its disks")
    memory_per_core_gib: float = _given(4.0, "GiB of ClickHouse and Kafka, most of it page cache")
    partition_mb: float = _given(5.0, "MB per second that one partition is planned for")
    min_partitions: int = _given(12, "partitions of sensor-data in the manifests")
    prices: Prices = field(default_factory=Prices)

    @property
    def readings(self) -> float:
        """Readings per second."""
        return self.devices / self.interval

    @property
    def events(self) -> float:
        """Records per second."""
        return self.readings / min(self.readings_per_record, max(1.0, self.readings))


@dataclass(frozen=True)
class Sizing:
    """What it takes. Cores are those to have, at `Plan.busy` in use, unless said otherwise.

    Attributes:
        pods: by function; `dispatcher` stands for the pods of Knative's data plane.
        partitions: of sensor-data.
        kafka_cores, kafka_gb: of all brokers.
        clickhouse_cores, clickhouse_gb: of all servers.
        shards: groups of replicas that ClickHouse needs.
        inserts_per_second: of one consumer pod, for TWINUP_STORE_INSERTS_PER_SECOND.
        redis_used: cores in use; one Redis has one.
        redis_gib: of its data.
        network_mb: per second between all processes.
        cores, memory_gib, storage_gb, cost: of everything, per month.
    """

    pods: dict[str, int]
    partitions: int
    kafka_cores: float
    kafka_gb: float
    clickhouse_cores: float
    clickhouse_gb: float
    shards: int
    inserts_per_second: float
    redis_used: float
    redis_processes: int
    redis_gib: float
    network_mb: float
    cores: float
    memory_gib: float
    storage_gb: float
    cost: float


def size(plan: Plan, measured: Measured) -> Sizing:
    """Returns what a plan takes."""
    used = {
        name: cost.cores(plan.events, plan.readings) for name, cost in measured.cost.items()
    } | {"gateway": measured.request * plan.requests_per_device * plan.devices, "auth": 0.0}
    to_have = {name: cores / plan.busy for name, cores in used.items()}
    pods = {
        name: max(plan.min_pods, ceil(to_have[name]))
        for name in ("dispatcher", "consumer", "analytics", "alerts", "gateway", "auth")
    }
    in_kafka, in_request = sizes.reading_bytes(plan.readings_per_record)
    kafka_mb = plan.readings * in_kafka / 1e6
    kafka_gb = kafka_mb / 1e3 * plan.kafka_hours * 3600 * plan.kafka_replicas
    clickhouse_gb = stored_gb(plan, measured) * plan.clickhouse_replicas
    one_copy = to_have["clickhouse"]
    shards = max(
        1,
        ceil(one_copy / plan.server_cores),
        ceil(clickhouse_gb / plan.clickhouse_replicas / plan.server_gb),
    )
    redis_gib = sizes.redis_bytes(plan.devices, plan.interval, plan.events) / GIB
    kafka_cores = to_have["kafka"] * plan.kafka_replicas
    clickhouse_cores = one_copy * plan.clickhouse_replicas
    cores = sum(pods.values()) + kafka_cores + clickhouse_cores
    cores += max(1.0, to_have["redis"]) + max(1.0, to_have["mqtt"])
    memory = sum(
        count * measured.memory_mib.get(name, 256.0) * 1.5 / 1024 for name, count in pods.items()
    )
    memory += plan.memory_per_core_gib * (kafka_cores + clickhouse_cores) + 2 * redis_gib
    storage = kafka_gb + clickhouse_gb + 2 * redis_gib * GIB / GB
    prices = plan.prices
    return Sizing(
        pods=pods,
        partitions=max(
            plan.min_partitions, 2 * pods["dispatcher"], ceil(kafka_mb / plan.partition_mb)
        ),
        kafka_cores=kafka_cores,
        kafka_gb=kafka_gb,
        clickhouse_cores=clickhouse_cores,
        clickhouse_gb=clickhouse_gb,
        shards=shards,
        inserts_per_second=CONSUMER_INSERTS * shards / pods["consumer"],
        redis_used=used["redis"],
        redis_processes=max(1, ceil(to_have["redis"])),
        redis_gib=redis_gib,
        network_mb=plan.readings * network_bytes(plan, measured, in_kafka, in_request) / 1e6,
        cores=cores,
        memory_gib=memory,
        storage_gb=storage,
        cost=cores * prices.core + memory * prices.memory_gib + storage * prices.storage_gb,
    )


def stored_gb(plan: Plan, measured: Measured) -> float:
    """Returns one copy of what ClickHouse keeps: raw readings, minutes, hours, in GB."""
    raw = plan.readings * DAY * plan.raw_days * measured.stored_bytes
    # Fewer readings than one a minute make fewer minutes, and the same of hours.
    minutes = sizes.MINUTE_ROLLUP_BYTES * 365 * min(1.0, 60 / plan.interval)
    hours = sizes.HOUR_ROLLUP_BYTES * 365 * 5 * min(1.0, 3600 / plan.interval)
    return (raw + plan.devices * (minutes + hours)) / GB


def network_bytes(plan: Plan, measured: Measured, in_kafka: float, in_request: float) -> float:
    """Returns the bytes that one reading sends between processes.

    Into Kafka and to its replicas, to two sources and from these to two functions, into
    ClickHouse and to its replicas, and to and from Redis.
    """
    kafka = in_kafka * (plan.kafka_replicas + 2)
    requests = 2 * in_request
    clickhouse = in_request + measured.stored_bytes * (plan.clickhouse_replicas - 1)
    return kafka + requests + clickhouse + sizes.redis_traffic_bytes(plan.interval)
