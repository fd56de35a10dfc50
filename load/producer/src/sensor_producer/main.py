"""The producer's process: settings in, signals, exit status out."""

import argparse
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException

from sensor_producer.books import Books
from sensor_producer.delivery import Delivery
from sensor_producer.devices import make_devices
from sensor_producer.dice import Dice
from sensor_producer.endpoint import serve
from sensor_producer.fleet import Fleet
from sensor_producer.ledger import Ledger
from sensor_producer.publish import Publisher, connect, count_partitions
from sensor_producer.records import RecordMaker
from sensor_producer.settings import ProducerConfig, ProducerSettings
from sensor_producer.simulator import Simulator
from sensor_producer.spool import Spool
from sensor_shared.contracts.events import new_id
from sensor_shared.runtime import garbage
from sensor_shared.runtime.settings import SettingsError
from sensor_shared.telemetry.logs import configure, logger

_METADATA_S = 2.0
_METADATA_PAUSE_S = 0.5


def main() -> int:
    """Command line entry; returns 1 when readings were left unacknowledged."""
    parser = argparse.ArgumentParser(prog="sensor_producer", description=__doc__)
    parser.add_argument("config", type=Path, nargs="?", help="e.g. configs/producer-config.yaml")
    try:
        config = ProducerConfig.load(os.environ, parser.parse_args().config)
    except SettingsError as error:
        sys.exit(str(error))
    configure(config.logger, service="producer")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        return produce(config, stop)
    except OSError as error:
        sys.exit(f"producer: {error}")


def produce(config: ProducerConfig, stop: threading.Event) -> int:
    """Runs one fleet until it is told to stop or its limits are reached.

    Returns:
        0, or 1 when readings were left unacknowledged.

    Raises:
        OSError: when the port is taken, or the ledger's or the spool's folder cannot be written.
    """
    settings, log = config.producer, logger()
    simulator: Simulator | None = None  # until Kafka has the topic

    def alive() -> bool:
        return simulator is None or simulator.alive()

    def ready() -> bool:
        return simulator is not None and simulator.ready()

    def detail() -> str:
        return "" if simulator is None else simulator.detail()

    with serve(config.server, alive, ready, detail) as port:
        partitions = _wait_for_topic(config, stop)
        if not partitions:
            log.info("stopped before the topic was there", topic=config.kafka.topic)
            return 0
        run = new_id()
        simulator = _make_simulator(config, run, partitions)
        log.info(
            "producing",
            run=run,
            devices=settings.device_count,
            first_device=settings.first_device,
            interval=settings.produce_interval,
            form=settings.format.value,
            topic=config.kafka.topic,
            partitions=partitions,
            metrics_port=port,
        )
        garbage.settle()
        simulator.run(stop, duration=settings.duration, max_readings=settings.max_readings)
        left = simulator.finish(settings.stop_timeout)
    if left:
        log.error("Kafka has not acknowledged everything that was sent", readings=left)
    return 1 if left else 0


def _wait_for_topic(config: ProducerConfig, stop: threading.Event) -> int:
    """The topic's number of partitions, as soon as Kafka knows it; 0 when stopped before."""
    client = connect(config.kafka.brokers, linger=0, queue_records=1)
    log = logger(brokers=config.kafka.brokers, topic=config.kafka.topic)
    while not stop.is_set():
        try:
            partitions = count_partitions(client, config.kafka.topic, _METADATA_S)
        except KafkaException as error:
            log.warning("waiting for Kafka", error=str(error))
        else:
            if partitions:
                return partitions
            log.warning("waiting for the topic")
        stop.wait(_METADATA_PAUSE_S)
    return 0


def _make_simulator(config: ProducerConfig, run: str, partitions: int) -> Simulator:
    settings = config.producer
    dice = Dice(settings.seed, settings.device_count, settings.first_device)
    devices = make_devices(settings.device_count, settings.seed, settings.first_device)
    return Simulator(
        Fleet(devices, dice, settings.produce_interval, config.faults),
        Delivery(dice, config.faults),
        RecordMaker(
            devices,
            form=settings.format,
            partitions=partitions,
            source=f"urn:twinup:producer:{run}",
            batch_size=settings.batch_size,
            clock=partial(datetime.now, UTC),
        ),
        Publisher(
            config.kafka.topic,
            partial(
                connect,
                config.kafka.brokers,
                linger=settings.linger,
                queue_records=settings.queue_records,
            ),
            spool=_open_spool(settings, run),
            spool_after=settings.spool_after,
            drain_rate=settings.spool_drain_rate,
        ),
        _open_books(config, run, devices.ids),
        collect=settings.collect,
    )


def _open_spool(settings: ProducerSettings, run: str) -> Spool | None:
    if settings.spool_dir is None:
        return None
    return Spool(settings.spool_dir, run, limit=settings.spool_max_bytes)


def _open_books(config: ProducerConfig, run: str, device_ids: tuple[str, ...]) -> Books:
    settings = config.producer
    folder = settings.ledger_dir
    if folder is None:
        return Books(None, lambda _run: None)
    hours = settings.ledger_hours

    def clock_ms() -> int:
        return time.time_ns() // 1_000_000

    about = {"seed": settings.seed, "interval_s": settings.produce_interval}
    return Books(
        Ledger(folder, run, device_ids, hours=hours, clock_ms=clock_ms, about=about),
        partial(Ledger.resume, folder, hours=hours, clock_ms=clock_ms),
    )
