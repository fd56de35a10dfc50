"""The ports of the local system: names, defaults, what overrides them, who holds one."""

import errno
import random
import socket
from collections.abc import Mapping

import psutil

from sensor_local.failure import StartError

DEFAULTS: Mapping[str, int] = {
    "gateway": 8081,
    "auth": 8082,
    "alerts_http": 8083,
    "consumer": 8084,
    "analytics": 8085,
    "alerts_grpc": 50051,
    "kafka": 9092,
    "kafka_controller": 9093,
    "clickhouse": 8123,
    "redis": 6379,
    "mqtt": 1883,
    "mqtt5": 1884,
    "smtp": 1025,
    "mail": 8025,
    "dispatcher": 8090,
    "producer_metrics": 8080,
}
VARIABLE = "TWINUP_PORTS"
_AUTO = "auto"
# Below the ports that the kernel gives to outgoing connections: what is free stays free.
_AUTO_RANGE = range(20_000, 32_000)


def variable(name: str) -> str:
    """Returns the variable that sets a port, e.g. TWINUP_PORTS_GATEWAY."""
    return f"{VARIABLE}_{name.upper()}"


def choose(environ: Mapping[str, str]) -> dict[str, int]:
    """Returns each name's port: its variable, else the default, or a free one.

    `TWINUP_PORTS=auto` gives free ports to all that have no variable of their own.

    Raises:
        StartError: naming every value that is no port, and every port given twice.
    """
    auto = environ.get(VARIABLE) == _AUTO
    ports: dict[str, int] = {}
    mistakes = []
    for name, default in DEFAULTS.items():
        given = environ.get(variable(name))
        if given is None:
            ports[name] = 0 if auto else default
        elif given.isdigit() and 0 < int(given) < 65_536:
            ports[name] = int(given)
        else:
            mistakes.append(f"{variable(name)}: must be a port from 1 to 65535 (given: {given!r})")
    for name, number in ports.items():
        twins = [variable(other) for other in ports if ports[other] == number and other != name]
        if number and twins:
            mistakes.append(f"{variable(name)}: {number} is given to {', '.join(twins)} too")
    if mistakes:
        raise StartError("ports:\n" + "\n".join(f"  {line}" for line in mistakes))
    return _fill(ports)


def _fill(ports: dict[str, int]) -> dict[str, int]:
    used = {number for number in ports.values() if number}
    for name in (name for name, number in ports.items() if not number):
        number = random.choice(_AUTO_RANGE)  # noqa: S311 - not a secret
        while number in used or not is_free(number):
            number = random.choice(_AUTO_RANGE)  # noqa: S311
        used.add(number)
        ports[name] = number
    return ports


def is_free(number: int) -> bool:
    """Tells whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Checks that all ports are free.

    Raises:
        StartError: naming every port that is not, who holds it when that can be seen, and
            the variable that changes it.
    """
    lines = [
        f"  {name}: port {number} is taken{_holder(number)}; "
        f"{variable(name)}=<another port> changes it"
        for name, number in ports.items()
        if not is_free(number)
    ]
    if lines:
        raise StartError("\n".join(["these ports are needed and not free:", *lines]))


def _holder(number: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and getattr(connection.laddr, "port", 0) == number and connection.pid:
                process = psutil.Process(connection.pid)
                command = " ".join(process.cmdline())[:80] or process.name()
                return f" by process {connection.pid} ({command})"
    except psutil.Error:
        pass  # other users' processes are not for us to see everywhere
    return ""
