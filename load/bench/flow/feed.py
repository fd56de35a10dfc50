"""The load: the simulated fleet's readings at any rate, as cheaply as they can be made.

`python -m load.bench.flow.feed --form arrow --rate 100000` measures, encodes and sends as the
producer does, but in larger steps, without ledger, late or repeated deliveries, and single readings
in company, so that it leaves the machine to what is measured. Every second of the fleet is `rate`
devices.

Each line that it writes, one after every step, is a JSON object that says how many readings Kafka
has acknowledged. Readings that would be rejected are not sent: each that was acknowledged must
become one row.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sensor_producer.devices import make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import Fault
from sensor_producer.fleet import Fleet, Readings
from sensor_producer.publish import connect, count_partitions
from sensor_producer.records import RecordMaker
from sensor_producer.settings import Form, ProducerConfig
from sensor_shared.contracts.events import SENSOR_DATA, new_id

_STEP_SECONDS = 0.05
_MOST_AT_ONCE = 20_000
_LINGER_SECONDS = 0.005
_QUEUE = 10_000
_METADATA_SECONDS = 10.0
_FLUSH_SECONDS = 30.0


class Feed:
    """Sends what is due, and counts what is acknowledged.

    Args:
        fleet: what measures.
        maker: of records.
        client: to Kafka.
        topic: that gets the records.
    """

    def __init__(self, fleet: Fleet, maker: RecordMaker, client: Producer, topic: str):
        self._topic = topic
        self._fleet = fleet
        self._maker = maker
        self._client = client
        self.acknowledged = 0
        self.records = 0

    def live(self, stop: threading.Event) -> None:
        """Sends readings as they are measured, until it is stopped."""
        number = self._fleet.moments(_now_us())
        while not stop.is_set():
            due = self._fleet.moments(_now_us())
            last = min(due, number + _MOST_AT_ONCE)
            if last > number and len(self._client) < _QUEUE:
                self._send(self._fleet.measure(number, last))
                number = last
            behind = max(0.0, (_now_us() - self._fleet.moment_us(number)) / 1_000_000)
            self._poll(_STEP_SECONDS if behind < _STEP_SECONDS else 0)
            self.report(behind)
        self.finish()

    def past(self, stop: threading.Event, seconds: float, rate: float) -> None:
        """Sends what was measured in the last `seconds`, `rate` readings per second of them."""
        now_us = _now_us()
        number = self._fleet.moments(now_us - round(seconds * 1_000_000))
        last = self._fleet.moments(now_us)
        began = time.monotonic()
        while number < last and not stop.is_set():
            step = min(number + _MOST_AT_ONCE, last)
            if len(self._client) < _QUEUE:
                self._send(self._fleet.measure(number, step))
                number = step
            ahead = self.acknowledged / rate - (time.monotonic() - began)
            self._poll(max(0.01, min(ahead, 1.0)))
            self.report(0.0)
        self.finish()

    def finish(self) -> None:
        """Waits for the last acknowledgements and writes the last line.

        Raises:
            KafkaException: when they do not come.
        """
        if self._client.flush(_FLUSH_SECONDS):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        self.report(0.0, last=True)

    def report(self, behind: float, *, last: bool = False) -> None:
        """Writes one line."""
        line = {
            "at": time.monotonic(),
            "acknowledged": self.acknowledged,
            "records": self.records,
            "pending": len(self._client),
            "behind_s": round(behind, 3),
            "last": last,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def _send(self, readings: Readings) -> None:
        for record in self._maker.make(readings[~readings.suffering(Fault.FAILED)]):
            self._client.produce(
                self._topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                headers=record.headers,
                on_delivery=partial(self._settle, len(record.readings)),
            )

    def _settle(self, readings: int, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        self.acknowledged += readings
        self.records += 1

    def _poll(self, seconds: float) -> None:
        """Serves acknowledgements until the time is over; one call of the client serves some."""
        deadline = time.monotonic() + seconds
        self._client.poll(0)
        while (left := deadline - time.monotonic()) > 0:
            self._client.poll(left)


def _now_us() -> int:
    return time.time_ns() // 1000


def _make(brokers: str, topic: str, form: Form, devices_count: int) -> Feed:
    settings = ProducerConfig().producer
    # One step may be as many records as it has readings. Those of one reading are sent together, as
    # Kafka's own clients do unless they are told otherwise; batches are what was sent together.
    linger = _LINGER_SECONDS if form is Form.SINGLE else 0
    client = connect(brokers, linger=linger, queue_records=_QUEUE + _MOST_AT_ONCE)
    partitions = count_partitions(client, topic, _METADATA_SECONDS)
    devices = make_devices(devices_count, settings.seed)
    fleet = Fleet(devices, Dice(settings.seed, devices_count), 1.0, ProducerConfig().faults)
    maker = RecordMaker(
        devices,
        form=form,
        partitions=partitions,
        source=f"urn:twinup:bench:{new_id()}",
        batch_size=settings.batch_size,
        clock=partial(datetime.now, UTC),
    )
    return Feed(fleet, maker, client, topic)


def read(lines: Iterator[str]) -> Iterator[dict[str, float]]:
    """Yields what a feed has written, line by line."""
    return map(json.loads, lines)


def main() -> None:
    """Command line entry; sends until SIGTERM, or until the past is sent."""
    parser = argparse.ArgumentParser(prog="feed", description=__doc__)
    parser.add_argument("--form", type=Form, default=Form.ARROW)
    parser.add_argument("--rate", type=float, required=True, help="readings per second")
    parser.add_argument("--past", type=float, help="send so many seconds of the past, then end")
    parser.add_argument("--devices", type=int, help="of the past; default: as many as the rate")
    parser.add_argument("--topic", default=SENSOR_DATA)
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    brokers = os.environ["TWINUP_KAFKA_BROKERS"]
    feed = _make(brokers, options.topic, options.form, options.devices or round(options.rate))
    if options.past is None:
        feed.live(stop)
    else:
        feed.past(stop, options.past, options.rate)


if __name__ == "__main__":
    main()
