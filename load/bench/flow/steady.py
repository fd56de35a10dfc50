"""*steady*: the whole system, as `make up` runs it, under its usual load."""

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from load.bench.flow import meter
from load.bench.flow.bed import Bed, BenchError
from load.bench.flow.gateway import Oracle, Sampler, log_in
from sensor_local.checkout import CONFIGS
from sensor_local.figures import Scrape, quantile
from sensor_producer.settings import ProducerConfig

WITHOUT_PRODUCER = (
    *("kafka", "clickhouse", "redis", "mqtt", "mail", "topics", "migrations", "consumer"),
    *("analytics", "alerts", "auth", "gateway", "dispatcher"),
)
"""The producer is started and stopped by the measurement: the audit needs the rest to run on."""

PRODUCER = {
    "TWINUP_PRODUCER_DEVICE_COUNT": "10000",
    "TWINUP_PRODUCER_PRODUCE_INTERVAL": "1s",
    # A reading that its device sends late, or once more, on purpose is no slowness of the system.
    "TWINUP_FAULTS_LATE": "0",
    "TWINUP_FAULTS_REPEATED": "0",
}
_STORED = "sensor_consumer_readings_stored_total"
_EVENTS = "sensor_function_events_total"
_REJECTED = "sensor_consumer_readings_rejected_total"
_SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
_STAGES = {
    "produced": "sensor_producer_latency_ms",
    "delivered": "sensor_delivered_latency_ms",
    "stored": "sensor_stored_latency_ms",
    "visible": "sensor_visible_latency_ms",
}


def measure(*, warm_up: float, seconds: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Runs the system, and returns what a report says about it.

    Args:
        warm_up: seconds of load before the window.
        seconds: of the window.
        tell: takes one line for people.

    Raises:
        BenchError: when it could not be measured.
    """
    with Bed(WITHOUT_PRODUCER, tell) as bed:
        bed.start("producer", PRODUCER)
        tell(f"steady: everything runs; warming up for {warm_up:g} s")
        time.sleep(warm_up)
        environment = {**os.environ, **bed.environment("producer"), **PRODUCER}
        config = ProducerConfig.load(environment, CONFIGS / "producer-config.yaml")
        token = log_in(bed.port["auth"], bed.secrets.admin_password)
        sampler = Sampler(bed.port["gateway"], token, Oracle.of(config))
        pids = {"supervisor": bed.supervisor(), **bed.pids()}
        tell(f"steady: measuring for {seconds:g} s")
        sampler.start()
        rows = bed.number("SELECT count() FROM readings")
        before = {name: bed.scrape(name) for name in ("producer_metrics", "consumer")}
        cpu = meter.sample(pids)
        time.sleep(seconds)
        used = meter.cores(cpu, meter.sample(pids))
        after = {name: bed.scrape(name) for name in before}
        rows = bed.number("SELECT count() FROM readings") - rows
        memory = meter.memory(pids)
        seen = sampler.stop()
        if used.keys() != pids.keys():
            raise BenchError(f"ended in the middle: {sorted(pids.keys() - used.keys())}")
        tell("steady: stopping the producer, waiting for the rest")
        bed.stop("producer")
        bed.drain()
        account = _audit(bed)
    took = after["consumer"].at - before["consumer"].at
    stages = {stage: _quantiles(metric, before, after) for stage, metric in _STAGES.items()}
    stored = _increase(_STORED, before["consumer"], after["consumer"])
    rejected = _increase(_REJECTED, before["consumer"], after["consumer"])
    events = _increase(_EVENTS, before["consumer"], after["consumer"])
    times = ", ".join(f"{name} {ms} ms" for name, ms in stages["stored"].items())
    by_rest = of_samples(seen.ages_ms)
    tell(
        f"steady: {stored / took:,.0f} readings/s stored, {times}, seen by REST p99"
        f" {by_rest['p99']} ms, {sum(used.values()):.2f} cores"
    )
    return {
        "readings_per_second": round(stored / took, 1),
        "readings_per_record": round((stored + rejected) / max(1.0, events), 1),
        "rows_per_second": round(rows / took, 1),
        "seconds": round(took, 1),
        "devices": config.producer.device_count,
        "produced_ms": stages["produced"],
        "delivered_ms": stages["delivered"],
        "stored_ms": stages["stored"],
        "visible_ms": stages["visible"],
        "gateway_visible_ms": by_rest
        | {"samples": len(seen.ages_ms), "requests": seen.requests, "failed": seen.failed},
        "rejected_share": round(rejected / max(1.0, stored + rejected), 5),
        "cpu_cores": {name: round(value, 3) for name, value in used.items()},
        "cpu_cores_total": round(sum(used.values()), 3),
        "rss_mb": {name: round(one.rss_mb, 1) for name, one in memory.items()},
        "rss_mb_total": round(sum(one.rss_mb for one in memory.values()), 1),
        "pss_mb_total": _sum([one.pss_mb for one in memory.values()]),
        "lost": account["lost"],
        "duplicated": account["duplicated"],
        "audit": account,
    }


def of_samples(values: Sequence[float]) -> dict[str, float | None]:
    """Returns p50, p99 and p99.9 of single samples; None where there are none."""
    return {
        name: round(float(np.quantile(values, share)), 1) if len(values) else None
        for name, share in _SHARES.items()
    }


def _quantiles(
    metric: str, before: dict[str, Scrape], after: dict[str, Scrape]
) -> dict[str, float | None]:
    process = "producer_metrics" if metric.startswith("sensor_producer") else "consumer"
    old, new = before[process].buckets(metric), after[process].buckets(metric)
    found = {name: quantile(share, old, new) for name, share in _SHARES.items()}
    return {name: None if value is None else round(value, 1) for name, value in found.items()}


def _increase(metric: str, before: Scrape, after: Scrape) -> float:
    return (after.total(metric) or 0.0) - (before.total(metric) or 0.0)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 1) if len(known) == len(values) else None


def _audit(bed: Bed) -> dict[str, int]:
    words = ("--ledger", str(bed.run.ledger), "--since", str(bed.since_ms), "--json")
    done = bed.python("sensor_local.audit", *words)
    try:
        document: dict[str, int] = json.loads(done.stdout)
    except ValueError as error:
        raise BenchError(f"no audit: {done.stdout}{done.stderr}") from error
    return document
