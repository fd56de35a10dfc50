"""`python -m sensor_local.replay --from TIME`: sensor-data through the consumer once more.

Every record of the stretch is posted to the consumer as the dispatcher does it, marked as
replayed: readings that are stored stay as they are, those that are missing are added.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TextIO

from sensor_dispatcher.manifests import KafkaSource
from sensor_dispatcher.wiring import read
from sensor_local.addresses import Addresses
from sensor_local.checkout import EVENTING
from sensor_local.command import exit_status
from sensor_local.failure import StartError
from sensor_local.letters.contents import printable
from sensor_local.replay import moments
from sensor_local.replay.delivery import AT_ONCE, Progress, Replay
from sensor_local.stretches import TopicReader
from sensor_shared.contracts.events import SENSOR_DATA

_TOLD_SECONDS = 2.0
_FUNCTION = "consumer"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sensor_local.replay", description=__doc__)
    parser.add_argument("--from", dest="start", required=True, help="e.g. 2026-11-24T10:00:00Z")
    parser.add_argument("--to", dest="end", help="up to here; default: the end as it is now")
    parser.add_argument("--topic", default=SENSOR_DATA)
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="requests in flight")
    parser.add_argument("--eventing", type=Path, default=EVENTING, help="folder of the wiring")
    return parser.parse_args(arguments)


def _source(folder: Path) -> KafkaSource:
    for source in read(folder).kafka_sources:
        if source.spec.sink.ref.name == _FUNCTION:
            return source
    raise StartError(f"no KafkaSource in {folder} delivers to {_FUNCTION}")


async def _run(
    options: argparse.Namespace, environ: Mapping[str, str], out: TextIO, err: TextIO
) -> int:
    now_ms = time.time_ns() // 1_000_000
    from_ms, to_ms = moments.stretch(options.start, options.end, now_ms)
    if options.at_once < 1:
        raise ValueError("--at-once must be 1 or more")
    addresses = Addresses(environ)
    source = _source(options.eventing)
    namespace = source.metadata.namespace or addresses.settings.dispatcher.namespace
    url = addresses.service(_FUNCTION)
    with closing(TopicReader(addresses.brokers)) as reader:
        stretches = await asyncio.to_thread(reader.between, options.topic, from_ms, to_ms)
        total = sum(stretch.span for stretch in stretches)
        err.write(f"{total} records of {options.topic} to {url}\n")
        replay = Replay(source, namespace, url, at_once=options.at_once)
        telling = asyncio.create_task(_keep_telling(replay.progress, total, err))
        try:
            await replay.run(reader.batches(stretches))
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
            _summary(replay.progress, out)
    return 1 if replay.progress.refused else 0


async def _keep_telling(progress: Progress, total: int, err: TextIO) -> None:
    while True:
        await asyncio.sleep(_TOLD_SECONDS)
        err.write(
            f"{progress.events} of {total}: {progress.accepted} accepted, "
            f"{progress.refused} refused, {progress.retries} retries\n"
        )


def _summary(progress: Progress, out: TextIO) -> None:
    out.write(
        f"replayed {progress.events} events: {progress.accepted} accepted, "
        f"{progress.refused} refused\n"
    )
    out.writelines(f"  {printable(reason)}\n" for reason in progress.reasons)


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    out: TextIO = sys.stdout,
    err: TextIO = sys.stderr,
) -> int:
    """Command line entry; returns the exit status."""
    options = _options(arguments)
    return exit_status(lambda: asyncio.run(_run(options, environ, out, err)), err, ValueError)


if __name__ == "__main__":
    sys.exit(main())
