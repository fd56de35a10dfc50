"""The deliveries that become one insert, by what is known of their past."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from sensor_consumer.delivery import Delivery
from sensor_consumer.seen import Past


@dataclass(frozen=True, slots=True)
class Group:
    """Deliveries that are stored together.

    Attributes:
        new: nobody has begun to store them.
        old: nobody has in the time that is remembered. What ClickHouse has of them, it had before.
        doubtful: somebody has of late, or may be storing them at this moment.
    """

    new: Sequence[Delivery] = ()
    old: Sequence[Delivery] = ()
    doubtful: Sequence[Delivery] = ()

    @property
    def deliveries(self) -> list[Delivery]:
        """All of them."""
        return [*self.new, *self.old, *self.doubtful]

    def in_doubt(self) -> "Group":
        """Returns the same deliveries after an insert without an answer."""
        return Group(doubtful=self.deliveries)


def by_past(
    deliveries: Sequence[Delivery],
    past: Mapping[str, Past],
    given_back: Container[str],
    answered: Container[str],
) -> tuple[Group, list[Delivery]]:
    """Returns those that are to be stored, and those that are known to be stored already.

    Args:
        deliveries: one of each key.
        past: of the keys; of what is not there nobody knows, and it is taken for new.
        given_back: keys of those whose insert had no answer before.
        answered: keys of those that this process has stored.
    """
    new, old, doubtful, stored = [], [], [], []
    for delivery in deliveries:
        state = past.get(delivery.key, Past.NEW)
        unsure = state is Past.STORED or delivery.key not in past or delivery.key in answered
        if state is Past.BEGUN or delivery.key in given_back or (delivery.replayed and unsure):
            doubtful.append(delivery)
        elif state is Past.STORED:
            stored.append(delivery)
        elif state is Past.UNKNOWN or delivery.replayed:
            old.append(delivery)
        else:
            new.append(delivery)
    return Group(new, old, doubtful), stored


def halves(deliveries: list[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
    """Returns two or more in two parts: what is wrong is in one of them, mostly."""
    middle = len(deliveries) // 2
    return deliveries[:middle], deliveries[middle:]
