"""What programs are told: the same JSON by webhook and by MQTT."""

import msgspec

from sensor_alerts.domain.notification import Notification
from sensor_shared.contracts.alert_changes import AlertChange
from sensor_shared.contracts.events import ALERT_CHANGED_V1, rfc3339


class Message(msgspec.Struct, frozen=True):
    """One notification.

    Attributes:
        type: of `data`, a versioned contract.
        id: the same for every repetition.
        timestamp: when the alert changed.
        news: raised, escalated, reopened, acknowledged or cleared.
        data: the change, with the alert as it is now.
    """

    type: str
    id: str
    timestamp: str
    news: str
    data: AlertChange


def encode(one: Notification) -> bytes:
    """Returns a notification as JSON."""
    return msgspec.json.encode(
        Message(
            ALERT_CHANGED_V1,
            one.notification_id,
            rfc3339(one.change.at),
            one.news.value,
            one.change,
        )
    )
