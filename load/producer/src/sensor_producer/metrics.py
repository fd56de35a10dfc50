"""What only the producer measures; its two public names are in `sensor_shared.telemetry`."""

from prometheus_client import Counter, Gauge

GENERATED = Counter("sensor_producer_readings_generated_total", "Readings that devices measured.")
RECORDS = Counter("sensor_producer_records_total", "Records that Kafka has acknowledged.")
FAILED = Counter(
    "sensor_producer_deliveries_failed_total",
    "Deliveries that Kafka refused; each is tried again.",
)
FAULTS = Counter(
    "sensor_producer_faults_total", "Readings generated with a simulated fault.", ["kind"]
)
BEHIND = Gauge(
    "sensor_producer_behind_seconds",
    "Age of the oldest measurement not generated yet: above the collect window Kafka, or this "
    "machine, does not keep up.",
)
QUEUE = Gauge(
    "sensor_producer_queue_records", "Records handed over and not acknowledged by Kafka yet."
)
