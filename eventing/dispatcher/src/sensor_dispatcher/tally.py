"""What became of a source's events: counted once, for /status and for Prometheus alike."""

from dataclasses import dataclass

from sensor_shared.telemetry import metrics


@dataclass(slots=True)
class Tally:
    """Counts of one source since the process started."""

    source: str
    delivered: int = 0
    retried: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    """Ticks of a PingSource that were given up; a KafkaSource drops nothing."""
    in_flight: int = 0

    def start(self, count: int = 1) -> None:
        """Notes events that are on their way."""
        self.in_flight += count
        metrics.DISPATCH_IN_FLIGHT.labels(self.source).inc(count)

    def retry(self) -> None:
        """Notes a try that failed and will be repeated."""
        self.retried += 1
        metrics.DISPATCH_RETRIED.labels(self.source).inc()

    def deliver(self, seconds: float) -> None:
        """Notes an event that its sink took, so long after it came from Kafka."""
        self.delivered += 1
        metrics.DISPATCH_DELIVERED.labels(self.source).inc()
        metrics.DISPATCH_LATENCY.labels(self.source).observe(seconds * 1000)

    def bury(self) -> None:
        """Notes an event that became a dead letter."""
        self.dead_lettered += 1
        metrics.DISPATCH_DEAD_LETTERED.labels(self.source).inc()

    def drop(self) -> None:
        """Notes a tick that was given up."""
        self.dropped += 1
        metrics.DISPATCH_DROPPED.labels(self.source).inc()

    def end(self) -> None:
        """Notes that an event is on its way no longer."""
        self.in_flight -= 1
        metrics.DISPATCH_IN_FLIGHT.labels(self.source).dec()
