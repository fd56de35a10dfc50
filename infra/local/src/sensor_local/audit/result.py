"""What an audit says, for people and as JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Self


class UnknownError(Exception):
    """The audit cannot tell: a part that it asks does not answer; the message says which."""


@dataclass(frozen=True)
class Audit:
    """The account of one or more runs of the producer, in readings.

    received = stored + duplicate + rejected + dead_lettered + in_flight + lost

    Attributes:
        received: that Kafka has acknowledged to the producer.
        stored: in `readings`, once each.
        duplicate: second copies that were sent on purpose; they change nothing.
        rejected: in `rejects`.
        dead_lettered: given up by the dispatcher; only those that are neither of the above.
        in_flight: in Kafka, not yet delivered for good; only those that are neither of the above.
        lost: all the rest.
        duplicated: readings that are there more often than they were sent.
        different: pairs of device and minute with the right number of readings, but other ones.
        runs: of the producer, in this account.
        minutes: of the readings' own time, in this account.
        at: when it began, RFC 3339.
    """

    received: int
    stored: int
    duplicate: int
    rejected: int
    dead_lettered: int
    in_flight: int
    lost: int
    duplicated: int
    different: int
    runs: int
    minutes: int
    at: str

    @property
    def good(self) -> bool:
        """Tells whether nothing is lost, doubled or changed."""
        return self.lost == 0 and self.duplicated == 0 and self.different == 0

    @property
    def status(self) -> int:
        """The exit status: 0 for a good account, else 1."""
        return 0 if self.good else 1

    def __str__(self) -> str:
        terms = {
            "stored": self.stored,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "dead-lettered": self.dead_lettered,
            "in flight": self.in_flight,
            **({"lost": self.lost} if self.lost else {}),
        }
        total = " + ".join(f"{name} {count:,}" for name, count in terms.items())
        line = (
            f"audit: received {self.received:,} = {total}"
            f"; lost {self.lost:,}, duplicated {self.duplicated:,}"
        )
        if self.different:
            line += f"; {self.different:,} device minutes hold other readings than were sent"
        return line

    def to_json(self) -> str:
        """Returns the fields as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote."""
        return cls(**json.loads(text))
