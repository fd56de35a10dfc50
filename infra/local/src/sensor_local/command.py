"""How a command that works on Kafka ends: what people are told, and its exit status."""

from collections.abc import Callable
from typing import TextIO

from confluent_kafka import KafkaException

from sensor_dispatcher.wiring import WiringError
from sensor_local.failure import StartError


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
