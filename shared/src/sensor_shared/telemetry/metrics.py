"""Every metric of the system, declared once with its type, unit and meaning.

Those of alerts have a module of their own, `alert_metrics`. The first four names are those of the
original system and stay. Histograms of latency are in milliseconds, because the original's names
end in `_ms`.
"""

import numpy as np
import numpy.typing as npt
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

LATENCY_MS = (
    *(1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 70, 80, 90, 100, 120, 150),
    *(200, 300, 500),
    *(1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000),
)
"""Buckets of every histogram of latency."""

# --- producer
PRODUCED = Counter(
    "sensor_producer_messages_produced_total", "Readings that Kafka has acknowledged."
)
PRODUCER_LATENCY = Histogram(
    "sensor_producer_latency_ms",
    "From a reading's own time to Kafka's acknowledgement, milliseconds.",
    buckets=LATENCY_MS,
)
PRODUCER_GENERATED = Counter(
    "sensor_producer_readings_generated_total", "Readings that devices measured."
)
PRODUCER_RECORDS = Counter("sensor_producer_records_total", "Records that Kafka has acknowledged.")
PRODUCER_FAILED = Counter(
    "sensor_producer_deliveries_failed_total",
    "Deliveries that Kafka refused; each is tried again.",
)
PRODUCER_FAULTS = Counter(
    "sensor_producer_faults_total", "Readings generated with a simulated fault.", ["kind"]
)
PRODUCER_BEHIND = Gauge(
    "sensor_producer_behind_seconds",
    "Age of the oldest measurement not generated yet: above the collect window Kafka, or this "
    "machine, does not keep up.",
)
PRODUCER_QUEUE = Gauge(
    "sensor_producer_queue_records",
    "Records in memory, handed over and not acknowledged by Kafka yet.",
)
PRODUCER_SPOOL_BYTES = Gauge("sensor_producer_spool_bytes", "Bytes on disk for Kafka.")
PRODUCER_SPOOL_LIMIT = Gauge(
    "sensor_producer_spool_limit_bytes", "Bytes that the spool may have; 0 without a spool."
)
PRODUCER_SPOOL_RECORDS = Gauge(
    "sensor_producer_spool_records", "Records on disk that Kafka has not acknowledged."
)
PRODUCER_SPOOLED = Counter("sensor_producer_spooled_readings_total", "Readings put on disk.")
PRODUCER_SPOOL_FULL = Counter(
    "sensor_producer_spool_full_total",
    "Times that the spool took no more, and the fleet began to wait.",
)
PRODUCER_SPOOL_UNREADABLE = Counter(
    "sensor_producer_spool_unreadable_bytes_total",
    "Bytes of an earlier run's spool that are no whole record.",
)

# --- consumer
CONSUMER_LAG = Gauge(
    "sensor_consumer_lag",
    "Records of a topic's partition that a group has not finished yet.",
    ["group", "topic", "partition"],
)
INSERT_LATENCY = Histogram(
    "db_insert_latency_ms",
    "One insert into ClickHouse, from sending to acknowledgement, milliseconds.",
    ["table"],
    buckets=LATENCY_MS,
)
STORED_LATENCY = Histogram(
    "sensor_stored_latency_ms",
    "From a reading's own time to ClickHouse's acknowledgement, milliseconds.",
    buckets=LATENCY_MS,
)
VISIBLE_LATENCY = Histogram(
    "sensor_visible_latency_ms",
    "From a reading's own time until Redis holds it as the latest, milliseconds.",
    buckets=LATENCY_MS,
)
DELIVERED_LATENCY = Histogram(
    "sensor_delivered_latency_ms",
    "From a reading's own time to its arrival at the function, milliseconds.",
    ["function"],
    buckets=LATENCY_MS,
)
READINGS_STORED = Counter(
    "sensor_consumer_readings_stored_total", "Readings acknowledged by ClickHouse."
)
READINGS_REJECTED = Counter(
    "sensor_consumer_readings_rejected_total", "Readings kept as rejects.", ["reason"]
)
UNKNOWN_FIELDS = Counter(
    "sensor_consumer_unknown_fields_total", "Fields that no version of the contract knows."
)
EVENTS_REPEATED = Counter(
    "sensor_consumer_events_repeated_total", "Deliveries of an event that was stored before."
)
REJECTED_SHARE = Gauge(
    "sensor_consumer_rejected_share",
    "Mean share of rejects in the events of the last seconds, 0 to 1.",
)
FLOODED = Gauge(
    "sensor_consumer_flooded", "1 while so much is rejected that something must be wrong."
)
EVENTS_HELD_BACK = Counter(
    "sensor_consumer_events_held_back_total",
    "Events without a good reading that a flood of rejects sent to the dead letters.",
)
INSERT_ROWS = Histogram(
    "sensor_consumer_insert_rows",
    "Readings joined into one insert.",
    buckets=(1, 10, 30, 60, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 50_000),
)
LATEST_FAILED = Counter(
    "sensor_consumer_latest_failed_total", "Updates of latest values that Redis did not take."
)
BREACHES = Counter(
    "sensor_consumer_breaches_total",
    "Breaches of alert rules by the way they were reported.",
    ["rule", "way"],
)
ROLLUP_DURATION = Histogram(
    "sensor_rollup_duration_ms",
    "One run that brought the rollups up to date, milliseconds.",
    buckets=LATENCY_MS,
)
ROLLUP_MINUTES = Counter(
    "sensor_rollup_minutes_total",
    "Minutes whose rollups were made anew: the newest ones by every run, late ones by their marks.",
    ["kind"],
)
ROLLUP_MARKED = Counter(
    "sensor_rollup_marked_total", "Minutes marked because readings of theirs came late."
)
ROLLUP_WAITING = Gauge(
    "sensor_rollup_minutes_waiting", "Marked minutes whose rollups are still to be made anew."
)

# --- functions
EVENTS_HANDLED = Counter(
    "sensor_function_events_total", "Events answered, by outcome.", ["function", "outcome"]
)
EVENT_DURATION = Histogram(
    "sensor_function_event_duration_ms",
    "Handling of one event, milliseconds.",
    ["function"],
    buckets=LATENCY_MS,
)

# --- analytics
ANALYTICS_PUBLISHED = Counter(
    "sensor_analytics_published_total", "MQTT messages that the broker acknowledged.", ["kind"]
)
ANALYTICS_FAILED = Counter(
    "sensor_analytics_failed_total", "MQTT messages that were given up.", ["kind"]
)
ANALYTICS_READINGS = Counter(
    "sensor_analytics_readings_total",
    "Readings by what became of them: new (counted in a window), repeated, late (before it).",
    ["outcome"],
)
ANALYTICS_CONFLICTS = Counter(
    "sensor_analytics_conflicts_total",
    "Devices that were read again because another replica had changed them meanwhile.",
)
ANALYTICS_HELD_BACK = Counter(
    "sensor_analytics_held_back_total",
    "Messages left out because their device had one a short while before.",
    ["kind"],
)

# --- auth and gateway
LOGINS = Counter("sensor_auth_logins_total", "Attempts to log in.", ["outcome"])
PASSWORD_HASHES = Counter(
    "sensor_auth_password_hashes_total", "Password hashes computed, to check or to keep."
)
SECURITY_EVENTS = Counter(
    "sensor_auth_security_events_total", "Events of the security log.", ["event"]
)
SECURITY_EVENTS_WAITING = Gauge(
    "sensor_auth_security_events_waiting", "Security events that ClickHouse has not got yet."
)
SECURITY_EVENTS_LOST = Counter(
    "sensor_auth_security_events_lost_total",
    "Security events that are only in the process's log: too many waited for ClickHouse.",
)
REQUESTS = Counter(
    "sensor_http_requests_total", "Requests answered.", ["function", "route", "status"]
)
REQUEST_DURATION = Histogram(
    "sensor_http_request_duration_ms",
    "Requests, milliseconds.",
    ["function", "route"],
    buckets=LATENCY_MS,
)
LIMITED = Counter(
    "sensor_http_limited_total", "Requests answered 429, by the bucket that was empty.", ["policy"]
)
LIMITS_LOCAL = Gauge(
    "sensor_http_limits_local",
    "1 while Redis is away and this process counts requests by itself alone.",
)
API_KEYS_REFUSED = Counter(
    "sensor_api_keys_refused_total", "API keys that opened nothing, and why.", ["reason"]
)
CACHE_READS = Counter(
    "sensor_gateway_reads_total", "Reads by where they were answered.", ["source"]
)
EXPORTED = Counter("sensor_gateway_exported_readings_total", "Readings that exports have sent.")

LIVE_STREAMS = Gauge("sensor_gateway_live_streams", "Live streams that are open.")
LIVE_EVENTS = Counter("sensor_gateway_live_events_total", "Changes sent to live streams.")
LIVE_ENDED = Counter(
    "sensor_gateway_live_ended_total", "Live streams that the gateway ended, and why.", ["reason"]
)
LIVE_RESETS = Counter(
    "sensor_gateway_live_resets_total",
    "Times that a live stream told its client to list the alerts anew, and why.",
    ["reason"],
)
LIVE_ALERT_LATENCY = Histogram(
    "sensor_gateway_live_alert_latency_ms",
    "From the decision about a change of an alert until the live streams have it, milliseconds.",
    buckets=LATENCY_MS,
)
LIVE_POLL_DURATION = Histogram(
    "sensor_gateway_live_poll_duration_ms",
    "One look at what has changed, for all live streams, milliseconds.",
    buckets=LATENCY_MS,
)

# --- dispatcher (Knative's stand-in on one machine)
DISPATCH_DELIVERED = Counter(
    "sensor_dispatcher_events_delivered_total", "Events that their sink accepted.", ["source"]
)
DISPATCH_RETRIED = Counter(
    "sensor_dispatcher_events_retried_total", "Tries that failed and were repeated.", ["source"]
)
DISPATCH_DEAD_LETTERED = Counter(
    "sensor_dispatcher_events_dead_lettered_total", "Events that became dead letters.", ["source"]
)
DISPATCH_DROPPED = Counter(
    "sensor_dispatcher_ticks_dropped_total", "Ticks of a schedule that were given up.", ["source"]
)
DISPATCH_IN_FLIGHT = Gauge(
    "sensor_dispatcher_events_in_flight", "Events taken from Kafka and not finished.", ["source"]
)
DISPATCH_LATENCY = Histogram(
    "sensor_dispatcher_delivery_latency_ms",
    "From Kafka's answer to the sink's acceptance, retries included, milliseconds.",
    ["source"],
    buckets=LATENCY_MS,
)


def observe_all(histogram: Histogram, values: npt.NDArray[np.float64]) -> None:
    """Adds all values to a histogram without labels (or to a labelled child of one) at once.

    The client library has no such call, and one call per reading would cost more than all
    else that is done with it.
    """
    bounds = histogram._upper_bounds  # noqa: SLF001
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):  # noqa: SLF001
        if count:
            bucket.inc(count)
    histogram._sum.inc(float(values.sum()))  # noqa: SLF001


def exposition() -> tuple[bytes, str]:
    """Returns all metrics of this process in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
