"""The dispatcher's composition root: builds every part from settings and wiring, and runs them."""

import asyncio
import contextlib
import signal

import structlog
from aiohttp import web

from sensor_dispatcher.delivery import RetryPolicy, Sender
from sensor_dispatcher.lag import LagReader
from sensor_dispatcher.ping import POLICY, Ping
from sensor_dispatcher.settings import DispatcherProcess
from sensor_dispatcher.sink import DeadLetters
from sensor_dispatcher.source import Route, Source
from sensor_dispatcher.status import Board
from sensor_dispatcher.wiring import Wiring
from sensor_shared.runtime import garbage

_WATCH_SECONDS = 1.0


class ConsumerDiedError(RuntimeError):
    """A source's thread ended by an error; the process ends too, so that it is started again."""


async def run(settings: DispatcherProcess, wiring: Wiring) -> None:
    """Runs until SIGTERM or SIGINT; then finishes what is in flight, commits, returns.

    Raises:
        ConsumerDiedError: see there.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    letters = {
        sink.metadata.name: DeadLetters(settings.kafka.brokers, sink) for sink in wiring.kafka_sinks
    }
    sources = _sources(settings, wiring, letters)
    pings = _pings(settings, wiring)
    groups = {source.spec.consumer_group for source in sources}
    board = Board(sources, pings, LagReader(settings.kafka.brokers, groups))
    runner = web.AppRunner(board.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.server.host, settings.server.port).start()
    for source in sources:
        source.start()
    for ping in pings:
        ping.start()
    garbage.settle()
    lag = asyncio.create_task(board.keep_lag())
    log = structlog.get_logger()
    log.info("dispatching", sources=len(sources), pings=len(pings), address=runner.addresses)
    try:
        await _until(stop, board)
    finally:
        await asyncio.gather(*(ping.stop() for ping in pings))
        grace = settings.dispatcher.grace_seconds
        await asyncio.gather(*(source.stop(grace) for source in sources))
        await asyncio.gather(*(sink.close() for sink in letters.values()))
        lag.cancel()
        await runner.cleanup()
    log.info("stopped")


async def _until(stop: asyncio.Event, board: Board) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _WATCH_SECONDS)
        if not board.alive():
            raise ConsumerDiedError("a source's consumer ended by itself; the log says why")


def _sources(
    settings: DispatcherProcess,
    wiring: Wiring,
    letters: dict[str, DeadLetters],
) -> list[Source]:
    found = []
    for source in wiring.kafka_sources:
        destination = settings.dispatcher.sinks[source.spec.sink.ref.name]
        policy = RetryPolicy.of(source.spec.delivery)
        route = Route(
            Sender(destination, policy),
            letters[source.spec.delivery.dead_letter_sink.ref.name],
            source.metadata.namespace or settings.dispatcher.namespace,
        )
        found.append(Source(source, settings.kafka.brokers, route))
    return found


def _pings(settings: DispatcherProcess, wiring: Wiring) -> list[Ping]:
    return [
        Ping(
            source,
            Sender(settings.dispatcher.sinks[source.spec.sink.ref.name], POLICY),
            source.metadata.namespace or settings.dispatcher.namespace,
        )
        for source in wiring.ping_sources
    ]
