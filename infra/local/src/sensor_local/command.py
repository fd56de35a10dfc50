"""How a command on Kafka or ClickHouse ends: what people are told, and its exit status."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TextIO

from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException

from sensor_dispatcher.wiring import WiringError
from sensor_local.addresses import Addresses
from sensor_local.failure import StartError
from sensor_shared.adapters.clickhouse import ClickHouseSettings


def exit_status(work: Callable[[], int], err: TextIO, *mistakes: type[Exception]) -> int:
    """Returns what `work` returns; 1 after an error that people can mend, 130 after Ctrl-C.

    Args:
        work: the command.
        err: gets the error in one line.
        mistakes: further errors whose text is for people.
    """
    known: tuple[type[Exception], ...] = (StartError, WiringError, *mistakes)
    try:
        return work()
    except known as error:
        err.write(f"{error}\n")
    except KafkaException as error:
        err.write(f"Kafka: {error.args[0].str()}\n")
    except KeyboardInterrupt:
        return 130
    return 1


def on_clickhouse(
    work: Callable[[ClickHouseSettings], Coroutine[Any, Any, int]],
    environ: Mapping[str, str],
    err: TextIO,
) -> int:
    """Returns the exit status of what works on ClickHouse alone, as `exit_status` does.

    Args:
        work: the command, given the server that the environment names, or else the one that runs
            here.
        environ: the environment.
        err: gets the error in one line.
    """

    def run() -> int:
        try:
            return asyncio.run(work(Addresses(environ).clickhouse))
        except (ClickHouseError, OSError) as error:
            raise StartError(f"ClickHouse: {error}") from error

    return exit_status(run, err)
