"""The table of processes: complete, in order, and every variable is one that somebody reads."""

from pathlib import Path

import pytest

from sensor_alerts.settings import AlertServiceSettings
from sensor_analytics.settings import AnalyticsSettings
from sensor_auth.settings import AuthSettings
from sensor_consumer.settings import ConsumerSettings
from sensor_dispatcher.settings import DispatcherProcess, require_sinks
from sensor_dispatcher.wiring import read
from sensor_gateway.settings import GatewaySettings
from sensor_local import credentials, ports
from sensor_local.checkout import EVENTING
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.process import Process
from sensor_local.system import System
from sensor_producer.settings import ProducerConfig
from sensor_shared.runtime.settings import Settings, config_file

ENDPOINTS = {
    *("gateway", "auth", "alerts_http", "alerts_grpc", "consumer", "analytics", "kafka"),
    *("clickhouse", "redis", "mqtt", "smtp", "mail", "dispatcher", "producer_metrics"),
    "clickhouse_headers",
}
SETTINGS: dict[str, type[Settings]] = {
    "consumer": ConsumerSettings,
    "analytics": AnalyticsSettings,
    "alerts": AlertServiceSettings,
    "auth": AuthSettings,
    "gateway": GatewaySettings,
    "dispatcher": DispatcherProcess,
    "producer": ProducerConfig,
}


@pytest.fixture
def system(tmp_path: Path) -> System:
    run = RunFolder(tmp_path / "run")
    run.make()
    chosen = ports.choose({"TWINUP_PORTS_GATEWAY": "18081"})
    return System(run, chosen, credentials.load_or_make(run, {}), {}, since_ms=0)


def table(system: System) -> dict[str, Process]:
    return {process.name: process for process in system.processes()}


def test_endpoints_have_exactly_the_documented_keys(system: System) -> None:
    found = system.endpoints(system.processes())
    assert found.keys() == ENDPOINTS
    assert found["gateway"] == "http://127.0.0.1:18081"
    assert found["kafka"] == "127.0.0.1:9092"
    assert found["alerts_grpc"] == "127.0.0.1:50051"
    assert found["redis"] == "redis://127.0.0.1:6379/0"
    assert found["mqtt"] == "mqtt://127.0.0.1:1883"
    assert found["smtp"] == "smtp://127.0.0.1:1025"
    assert found["clickhouse_headers"].keys() == {
        "X-ClickHouse-User",
        "X-ClickHouse-Key",
        "X-ClickHouse-Database",
    }


def test_every_port_belongs_to_one_process(system: System) -> None:
    names = system.ports(system.processes())
    assert sorted(names) == sorted(ports.DEFAULTS)


def test_everything_that_a_process_waits_for_is_in_the_table(system: System) -> None:
    processes = table(system)
    for process in processes.values():
        assert set(process.after) <= processes.keys()


def test_nothing_is_produced_before_everything_can_take_it(system: System) -> None:
    processes = table(system)
    before = {"producer"}
    while more := {name for one in before for name in processes[one].after} - before:
        before |= more
    assert before >= {"dispatcher", "consumer", "topics", "kafka", "clickhouse", "migrations"}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_environment_is_what_the_process_reads(system: System, name: str) -> None:
    environment = table(system)[name].environment
    loaded = SETTINGS[name].load(environment, config_file(environment, name))
    values = loaded.model_dump()
    port = {"alerts": "alerts_http", "producer": "producer_metrics"}.get(name, name)
    assert values["server"]["port"] == system.port[port]
    assert values["server"]["host"] == "127.0.0.1"
    own = {key for key in environment if key.split("_")[1] not in _SHARED_SECTIONS}
    sections = {name.upper() for name in values}
    assert {key for key in own if key.split("_")[1] not in sections} == set()


_SHARED_SECTIONS = {"CONFIG", "KAFKA", "CLICKHOUSE", "REDIS", "MQTT", "SMTP", "SERVER"}


def test_the_dispatcher_knows_the_address_of_every_service_in_the_wiring(system: System) -> None:
    environment = table(system)["dispatcher"].environment
    settings = DispatcherProcess.load(environment)
    require_sinks(settings.dispatcher, read(EVENTING).services)


def test_no_secret_is_in_a_command_line(system: System) -> None:
    made = system.credentials
    words = {word for process in system.processes() for word in process.command}
    for secret in (made.admin_password, made.clickhouse_password, made.service_token):
        assert not any(secret in word for word in words)


def test_some_processes_alone_wait_only_for_each_other(system: System) -> None:
    chosen = {process.name: process for process in system.processes(["redis", "auth"])}
    assert chosen["auth"].after == ("redis",)
    assert system.endpoints([chosen["redis"]]) == {"redis": "redis://127.0.0.1:6379/0"}


def test_a_name_that_is_not_in_the_table_is_refused(system: System) -> None:
    with pytest.raises(StartError, match="no such process: rabbitmq, zookeeper"):
        system.processes(["zookeeper", "redis", "rabbitmq"])
