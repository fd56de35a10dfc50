"""Which topic a dead letter came from.

Neither Knative nor the dispatcher writes it down, so it is concluded, the surest sign first.
Only topics that the wiring delivers from are ever named: what strangers write into an event
leads to no other one.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

from sensor_dispatcher.wiring import Wiring
from sensor_local.letters.letter import DESTINATION, Letter
from sensor_shared.contracts.events import (
    ALERT_REQUESTED_V1,
    PLAIN_KAFKA_RECORD,
    READINGS_V1,
    SENSOR_ALERTS,
    SENSOR_DATA,
)

_TOPICS: Mapping[str, str] = {READINGS_V1: SENSOR_DATA, ALERT_REQUESTED_V1: SENSOR_ALERTS}
_KAFKA_SOURCE = re.compile(r"/apis/v1/namespaces/[^/#]+/kafkasources/[^/#]+#(.+)")


class Origins:
    """Tells the topic of letters.

    Args:
        wiring: the KafkaSources.
        services: URL of each Service as the deliverer knows it; a cluster's own names need none.
    """

    def __init__(self, wiring: Wiring, services: Mapping[str, str]):
        topics: defaultdict[str, set[str]] = defaultdict(set)
        for source in wiring.kafka_sources:
            topics[source.spec.sink.ref.name].update(source.spec.topics)
        self._by_service = {name: next(iter(t)) for name, t in topics.items() if len(t) == 1}
        self._known = frozenset().union(*topics.values())
        self._services = {url.rstrip("/"): name for name, url in services.items()}

    def topic(self, letter: Letter) -> str | None:
        """Returns the topic, None when it cannot be told.

        A plain record's source ends in its topic. Else the Service that refused it tells, by
        its name (`http://consumer.twinup.svc…`); else the event's type, which has one topic;
        last an address, because another run may have given it to another function.
        """
        destination = letter.attribute(DESTINATION)
        signs = (
            _of_plain_record(letter),
            self._by_service.get(_host(destination).partition(".")[0]),
            _TOPICS.get(letter.attribute("type")),
            self._by_service.get(self._services.get(destination.rstrip("/"), "")),
        )
        return next((topic for topic in signs if topic in self._known), None)


def _of_plain_record(letter: Letter) -> str | None:
    if letter.attribute("type") != PLAIN_KAFKA_RECORD:
        return None
    found = _KAFKA_SOURCE.fullmatch(letter.attribute("source"))
    return found[1] if found else None


def _host(url: str) -> str:
    """Returns the host of a URL, empty when it has none or is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
