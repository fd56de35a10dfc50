"""The flow in figures, read from the processes' own metrics once a second."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from sensor_local import web

Buckets = Mapping[float, float]
"""Upper bound → observations up to it, cumulative."""


@dataclass(frozen=True)
class Figures:
    """What the live view shows; None where a process does not tell."""

    produced_per_second: float | None = None
    stored_per_second: float | None = None
    stored: float | None = None
    rejected: float | None = None
    p50_ms: float | None = None
    """Reading's own time → row acknowledged, in the last interval."""
    p99_ms: float | None = None
    lag: float | None = None
    """Records that a group has not finished, over all groups."""
    in_flight: float | None = None
    alerts: float | None = None


class Scrape:
    """One process's metrics at one moment."""

    def __init__(self, text: str, at: float):
        self.at = at
        self._sums: dict[str, float] = {}
        self._buckets: dict[str, dict[float, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._sums[sample.name] = self._sums.get(sample.name, 0.0) + sample.value
                if sample.name.endswith("_bucket"):
                    bounds = self._buckets.setdefault(sample.name.removesuffix("_bucket"), {})
                    bound = float(sample.labels["le"])
                    bounds[bound] = bounds.get(bound, 0.0) + sample.value

    def total(self, name: str) -> float | None:
        """Returns the sum of a metric over its labels, None when it is not there."""
        return self._sums.get(name)

    def buckets(self, name: str) -> Buckets:
        """Returns a histogram's buckets, added up over its labels."""
        return self._buckets.get(name, {})


def _total(scrape: Scrape | None, name: str) -> float | None:
    return None if scrape is None else scrape.total(name)


def quantile(share: float, before: Buckets, now: Buckets) -> float | None:
    """Returns a quantile of what a histogram has observed in between; None for nothing.

    Within a bucket the observations are taken as spread evenly, as Prometheus does it.
    """
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(now.items())}
    total = max(counts.values(), default=0.0)
    if total <= 0:
        return None
    wanted, lower, below = share * total, 0.0, 0.0
    for bound, count in counts.items():
        if count >= wanted:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower


class FiguresMeter:
    """Reads the figures of one system.

    Args:
        ports: of producer_metrics, consumer, alerts_http and dispatcher.
    """

    def __init__(self, ports: Mapping[str, int]):
        self._ports = ports
        self._before: dict[str, Scrape] = {}

    async def read(self) -> Figures:
        """Returns the figures since the call before; the first has no rates."""
        names = ("producer_metrics", "consumer", "alerts_http", "dispatcher")
        scrapes = await asyncio.gather(*map(self._scrape, names))
        producer, consumer, alerts, dispatcher = scrapes
        before = self._before.get("consumer")
        latency = "sensor_stored_latency_ms"
        old = before.buckets(latency) if before else {}
        new = consumer.buckets(latency) if consumer and before else {}
        figures = Figures(
            produced_per_second=self._rate(
                "producer_metrics", producer, "sensor_producer_messages_produced_total"
            ),
            stored_per_second=self._rate(
                "consumer", consumer, "sensor_consumer_readings_stored_total"
            ),
            stored=_total(consumer, "sensor_consumer_readings_stored_total"),
            rejected=_total(consumer, "sensor_consumer_readings_rejected_total"),
            p50_ms=quantile(0.5, old, new),
            p99_ms=quantile(0.99, old, new),
            lag=_total(dispatcher, "sensor_consumer_lag"),
            in_flight=_total(dispatcher, "sensor_dispatcher_events_in_flight"),
            alerts=_total(alerts, "sensor_alerts_raised_total"),
        )
        self._before |= {
            name: scrape for name, scrape in zip(names, scrapes, strict=True) if scrape
        }
        return figures

    async def _scrape(self, name: str) -> Scrape | None:
        try:
            status, body = await web.get(self._ports[name], "/metrics")
        except OSError:
            return None
        return Scrape(body.decode(), time.monotonic()) if status == 200 else None

    def _rate(self, name: str, now: Scrape | None, metric: str) -> float | None:
        before = self._before.get(name)
        if now is None or before is None or now.at <= before.at:
            return None
        later, earlier = now.total(metric), before.total(metric)
        if later is None or earlier is None:
            return None
        return max(0.0, later - earlier) / (now.at - before.at)
