"""How many readings, by what becomes of them."""

from dataclasses import dataclass

from sensor_producer.faults import Fault
from sensor_producer.fleet import Readings


@dataclass(frozen=True, slots=True)
class Totals:
    """Readings that Kafka has acknowledged: acknowledged = distinct + repeated + invalid."""

    acknowledged: int = 0
    repeated: int = 0
    """Second copies: the same device and timestamp in another event."""
    invalid: int = 0
    """Expected among the rejects."""

    @classmethod
    def of(cls, readings: Readings) -> "Totals":
        """Counts readings that were acknowledged."""
        return cls(
            acknowledged=len(readings),
            repeated=int(readings.suffering(Fault.REPEATED).sum()),
            invalid=int(readings.suffering(Fault.FAILED).sum()),
        )

    @property
    def distinct(self) -> int:
        """Expected in `readings`, once each."""
        return self.acknowledged - self.repeated - self.invalid

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.acknowledged + other.acknowledged,
            self.repeated + other.repeated,
            self.invalid + other.invalid,
        )
