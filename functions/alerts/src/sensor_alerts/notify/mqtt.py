"""The channel MQTT: a message with QoS 1 for each change, on the topics of device and region.

Messages are not retained: they are news, and limits and silences may hold back what follows, so
that a retained one would go on saying what is no longer so. How things stand is asked of the API.
"""

from collections.abc import Sequence

from sensor_alerts.domain.notification import Notification
from sensor_alerts.notify.channel import NotDeliveredError
from sensor_alerts.notify.message import encode
from sensor_alerts.notify.settings import AlertMqttSettings
from sensor_shared.adapters.mqtt import GivenUpError, Publisher


class Mqtt:
    """Publishes; see `sensor_alerts.notify.channel.Channel`."""

    def __init__(self, settings: AlertMqttSettings):
        self._publisher = Publisher(settings)

    async def open(self) -> None:
        """Begins to connect."""
        self._publisher.start()

    async def close(self) -> None:
        """Disconnects."""
        await self._publisher.stop()

    async def deliver(self, target: str, told: Sequence[Notification]) -> None:
        """Publishes one notification; returns when the broker has acknowledged it.

        Raises:
            NotDeliveredError: when there was no room for it.
        """
        (one,) = told
        try:
            await self._publisher.deliver(target, encode(one))
        except GivenUpError as error:
            raise NotDeliveredError("too many messages wait for the broker") from error
