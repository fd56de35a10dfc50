import os
import socket

import pytest

from sensor_local import ports
from sensor_local.failure import StartError


def test_every_port_has_its_default() -> None:
    assert ports.choose({}) == ports.DEFAULTS
    assert len(set(ports.DEFAULTS.values())) == len(ports.DEFAULTS)


def test_a_variable_changes_one_port() -> None:
    chosen = ports.choose({"TWINUP_PORTS_GATEWAY": "18081"})
    assert chosen == {**ports.DEFAULTS, "gateway": 18081}


def test_auto_gives_different_free_ports_and_leaves_those_with_a_variable() -> None:
    chosen = ports.choose({"TWINUP_PORTS": "auto", "TWINUP_PORTS_MAIL": "18025"})
    assert chosen["mail"] == 18025
    assert len(set(chosen.values())) == len(ports.DEFAULTS)
    assert all(ports.is_free(number) for name, number in chosen.items() if name != "mail")


def test_all_mistakes_are_told_together() -> None:
    environ = {
        "TWINUP_PORTS_KAFKA": "ninety",
        "TWINUP_PORTS_REDIS": "65536",
        "TWINUP_PORTS_MAIL": "8081",
    }
    with pytest.raises(StartError) as failure:
        ports.choose(environ)
    message = str(failure.value)
    assert "TWINUP_PORTS_KAFKA: must be a port from 1 to 65535 (given: 'ninety')" in message
    assert "TWINUP_PORTS_REDIS" in message
    assert "TWINUP_PORTS_MAIL: 8081 is given to TWINUP_PORTS_GATEWAY too" in message


def test_taken_ports_are_named_with_holder_and_variable_all_together() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        kafka, mail = one.getsockname()[1], two.getsockname()[1]
        with pytest.raises(StartError) as failure:
            ports.refuse_taken({"kafka": kafka, "mail": mail})
    lines = str(failure.value).splitlines()
    assert f"kafka: port {kafka} is taken by process {os.getpid()} (" in lines[1]
    assert lines[1].endswith("TWINUP_PORTS_KAFKA=<another port> changes it")
    assert f"mail: port {mail} is taken" in lines[2]


def test_free_ports_are_not_refused() -> None:
    ports.refuse_taken(ports.choose({"TWINUP_PORTS": "auto"}))
