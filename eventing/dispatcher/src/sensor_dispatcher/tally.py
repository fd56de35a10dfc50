"""What became of a source's events: counted once, for /status and for Prometheus alike."""

from sensor_shared.telemetry import metrics


class Tally:
    """Counts of one source since the process started."""

    def __init__(self, source: str):
        self.delivered = 0
        self.retried = 0
        self.dead_lettered = 0
        self.dropped = 0
        """Ticks of a PingSource that were given up; a KafkaSource drops nothing."""
        self.in_flight = 0
        self._delivered = metrics.DISPATCH_DELIVERED.labels(source)
        self._retried = metrics.DISPATCH_RETRIED.labels(source)
        self._dead_lettered = metrics.DISPATCH_DEAD_LETTERED.labels(source)
        self._dropped = metrics.DISPATCH_DROPPED.labels(source)
        self._in_flight = metrics.DISPATCH_IN_FLIGHT.labels(source)
        self._latency = metrics.DISPATCH_LATENCY.labels(source)

    def start(self, count: int = 1) -> None:
        """Notes events that are on their way."""
        self.in_flight += count
        self._in_flight.inc(count)

    def retry(self) -> None:
        """Notes a try that failed and will be repeated."""
        self.retried += 1
        self._retried.inc()

    def deliver(self, seconds: float) -> None:
        """Notes an event that its sink took, so long after it came from Kafka."""
        self.delivered += 1
        self._delivered.inc()
        self._latency.observe(seconds * 1000)

    def bury(self) -> None:
        """Notes an event that became a dead letter."""
        self.dead_lettered += 1
        self._dead_lettered.inc()

    def drop(self) -> None:
        """Notes a tick that was given up."""
        self.dropped += 1
        self._dropped.inc()

    def end(self) -> None:
        """Notes that an event is on its way no longer."""
        self.in_flight -= 1
        self._in_flight.dec()
