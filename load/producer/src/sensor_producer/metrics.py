"""What only the producer measures; its two public names are in `sensor_shared.telemetry`."""

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter, Gauge, Histogram

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


def observe_all(histogram: Histogram, values: npt.NDArray[np.float64]) -> None:
    """Adds all values to a histogram without labels, at the cost of one.

    The client library has no such call; a call per reading would cost more than making it.
    """
    bounds = np.array(histogram._upper_bounds)  # noqa: SLF001
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):  # noqa: SLF001
        if count:
            bucket.inc(count)
    histogram._sum.inc(float(values.sum()))  # noqa: SLF001
