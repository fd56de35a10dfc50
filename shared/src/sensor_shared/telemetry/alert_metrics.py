"""The metrics of alerts: of their rules, their life, the sweeps, and the notifications."""

from prometheus_client import Counter, Gauge, Histogram

from sensor_shared.telemetry.metrics import LATENCY_MS

ALERTS_RECEIVED = Counter("sensor_alerts_received_total", "Alert requests received.", ["way"])
ALERTS_RAISED = Counter(
    "sensor_alerts_raised_total", "Alerts stored in the history.", ["type", "severity"]
)
ALERTS_SUPPRESSED = Counter(
    "sensor_alerts_suppressed_total", "Notifications or alerts held back, and why.", ["reason"]
)
ALERTS_CLEARED = Counter(
    "sensor_alerts_cleared_total", "Alerts that are over, by themselves or by a user.", ["by"]
)
ALERT_CHANGES = Counter(
    "sensor_alerts_changes_total", "Changes of alerts that were stored.", ["kind"]
)
ALERT_CHANGES_PUBLISHED = Counter(
    "sensor_alerts_changes_published_total", "Changes of alerts that Kafka has acknowledged."
)
ALERT_CHANGES_REPAIRED = Counter(
    "sensor_alerts_changes_repaired_total",
    "Changes of alerts that were published for a process which had died, or had no Kafka.",
)
ALERT_CHANGES_NOT_STREAMED = Counter(
    "sensor_alerts_changes_not_streamed_total",
    "Changes of alerts left out of the live stream, which says so: Redis was away for too long.",
)
ALERTS_WATCHED = Gauge(
    "sensor_alerts_watched", "Open and pending alerts that the last sweep looked at.", ["state"]
)
ALERTS_SWEEP_DURATION = Histogram(
    "sensor_alerts_sweep_duration_ms",
    "One part of a sweep, milliseconds.",
    ["part"],
    buckets=LATENCY_MS,
)
ALERTS_SWEEPS = Counter(
    "sensor_alerts_sweeps_total", "Sweeps: done, or left to another replica's.", ["outcome"]
)
DEVICES_SILENT = Gauge(
    "sensor_devices_silent", "Devices without a reading for too long, by the last sweep."
)
RULES_REFUSED = Gauge(
    "sensor_rules_refused", "1 while the newest file of alert rules cannot be used."
)
RULES_RELOADED = Counter("sensor_rules_reloaded_total", "Files of alert rules put into use.")
ALERTS_NOTIFIED = Counter("sensor_alerts_notified_total", "Notifications sent.", ["channel"])
ALERTS_NOTIFY_FAILED = Counter(
    "sensor_alerts_notify_failed_total", "Notifications that failed for good.", ["channel"]
)
NOTIFY_RETRIED = Counter(
    "sensor_alerts_notify_retried_total",
    "Notifications that a target did not take, and that are tried again.",
    ["channel"],
)
NOTIFY_HELD_BACK = Counter(
    "sensor_alerts_notify_suppressed_total",
    "Notifications recorded and not sent, and why.",
    ["channel", "reason"],
)
NOTIFY_WAITING = Gauge(
    "sensor_alerts_notify_waiting", "Notifications that wait in this process.", ["channel"]
)
NOTIFY_QUEUED = Gauge(
    "sensor_alerts_notify_queued",
    "Notifications that wait in all, as the replica found that looked last.",
    ["channel"],
)
NOTIFY_LATENCY = Histogram(
    "sensor_alerts_notify_latency_ms",
    "From a change of an alert until a target took the notification, milliseconds.",
    ["channel"],
    buckets=LATENCY_MS,
)
