"""The whole system as a table of processes: parts, jobs, functions, dispatcher, producer."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sensor_local import readiness
from sensor_local.checkout import CONFIGS, EVENTING, FUNCTIONS, MIGRATIONS
from sensor_local.credentials import Credentials
from sensor_local.drain import drained
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.parts import CLICKHOUSE_USER, parts
from sensor_local.parts import PORTS as PARTS_PORTS
from sensor_local.process import Process
from sensor_local.supervisor import Supervisor

DATABASE = "twinup"
_RECIPIENTS = "TWINUP_SMTP_RECIPIENTS"
_HTTP_FUNCTIONS: Mapping[str, str] = {
    "consumer": "consumer",
    "analytics": "analytics",
    "alerts": "alerts_http",
    "auth": "auth",
    "gateway": "gateway",
}
"""Port's name of each function."""

_NICE: Mapping[str, int] = {"analytics": 10}
"""A trend may wait for a core; a reading on its way to the store may not."""

_PORTS: Mapping[str, tuple[str, ...]] = {
    **PARTS_PORTS,
    **{name: (port,) for name, port in _HTTP_FUNCTIONS.items()},
    "alerts": ("alerts_http", "alerts_grpc"),
    "dispatcher": ("dispatcher",),
    "producer": ("producer_metrics",),
}


@dataclass(frozen=True)
class System:
    """The table for one run folder, with its ports and secrets."""

    run: RunFolder
    port: Mapping[str, int]
    credentials: Credentials
    environ: Mapping[str, str]
    since_ms: int
    """Begin of this run, epoch ms."""

    def processes(self, only: Sequence[str] = ()) -> list[Process]:
        """Returns the table, or the lines that are named.

        Raises:
            StartError: when a name is not in the table.
        """
        table = {
            process.name: process
            for process in (
                *parts(self.run, self.port, self.credentials),
                *self._jobs(),
                *self._functions(),
                self._dispatcher(),
                self._producer(),
            )
        }
        unknown = sorted(set(only) - table.keys())
        if unknown:
            raise StartError(
                f"no such process: {', '.join(unknown)} (there are {', '.join(table)})"
            )
        if not only:
            return list(table.values())
        return [_without_others(table[name], only) for name in only]

    def ports(self, processes: Sequence[Process]) -> list[str]:
        """Returns the names of the ports that these processes listen on."""
        return [name for process in processes for name in _PORTS.get(process.name, ())]

    def endpoints(self, processes: Sequence[Process]) -> dict[str, Any]:
        """Returns the document `endpoints.json`: the addresses of these processes."""
        served = set(self.ports(processes))
        documents: dict[str, Any] = {
            name: form.format(self.port[name])
            for name, form in _ADDRESSES.items()
            if name in served
        }
        if "clickhouse" in served:
            documents["clickhouse_headers"] = {
                "X-ClickHouse-User": CLICKHOUSE_USER,
                "X-ClickHouse-Key": self.credentials.clickhouse_password,
                "X-ClickHouse-Database": DATABASE,
            }
        return documents

    async def drain(self, supervisor: Supervisor, tell: Callable[[str], None]) -> None:
        """Stops the producer, waits until all that it sent is delivered, and accounts for it."""
        if not {"producer", "dispatcher", "clickhouse"} <= supervisor.children.keys():
            return
        tell("stopping the producer")
        await supervisor.stop("producer")
        if await drained(self.port["dispatcher"], tell):
            tell("everything is delivered")
        command = (sys.executable, "-m", "sensor_local.audit", "--ledger", str(self.run.ledger))
        lines = await supervisor.output(
            *command,
            *("--since", str(self.since_ms), "--keep", str(self.run.account_file)),
            *("--consumer", f"http://127.0.0.1:{self.port['consumer']}"),
            environment=self._shared(),
        )
        for line in lines:
            tell(line)

    def _shared(self, port: str | None = None) -> dict[str, str]:
        """Where everything is, as every process of ours reads it."""
        environment = {
            "TWINUP_CONFIG_DIR": str(CONFIGS),
            "TWINUP_KAFKA_BROKERS": f"127.0.0.1:{self.port['kafka']}",
            "TWINUP_CLICKHOUSE_HOST": "127.0.0.1",
            "TWINUP_CLICKHOUSE_PORT": str(self.port["clickhouse"]),
            "TWINUP_CLICKHOUSE_USER": CLICKHOUSE_USER,
            "TWINUP_CLICKHOUSE_PASSWORD": self.credentials.clickhouse_password,
            "TWINUP_CLICKHOUSE_DATABASE": DATABASE,
            "TWINUP_REDIS_HOST": "127.0.0.1",
            "TWINUP_REDIS_PORT": str(self.port["redis"]),
            "TWINUP_MQTT_HOST": "127.0.0.1",
            "TWINUP_MQTT_PORT": str(self.port["mqtt"]),
            "TWINUP_SMTP_HOST": "127.0.0.1",
            "TWINUP_SMTP_PORT": str(self.port["smtp"]),
        }
        if port:
            environment |= {
                "TWINUP_SERVER_HOST": "127.0.0.1",
                "TWINUP_SERVER_PORT": str(self.port[port]),
            }
        return environment

    def _jobs(self) -> list[Process]:
        python, brokers = sys.executable, f"127.0.0.1:{self.port['kafka']}"
        return [
            Process(
                "topics",
                (python, "-m", "sensor_local.topics", "--brokers", brokers),
                after=("kafka",),
                job=True,
            ),
            Process(
                "migrations",
                (python, "-m", "sensor_shared.adapters.migrations", str(MIGRATIONS)),
                self._shared(),
                after=("clickhouse",),
                job=True,
            ),
        ]

    def _functions(self) -> list[Process]:
        token = self.credentials.service_token
        alert_service = {
            "TWINUP_ALERTS_TARGET": f"127.0.0.1:{self.port['alerts_grpc']}",
            "TWINUP_ALERTS_TOKEN": token,
        }
        own: Mapping[str, dict[str, str]] = {
            "consumer": alert_service,
            "alerts": {
                "TWINUP_GRPC_HOST": "127.0.0.1",
                "TWINUP_GRPC_PORT": str(self.port["alerts_grpc"]),
                "TWINUP_GRPC_TOKEN": token,
                # The mail sink speaks plain SMTP and takes mails to everybody.
                "TWINUP_SMTP_SECURITY": "none",
                "TWINUP_SMTP_RECIPIENTS": self.environ.get(_RECIPIENTS, "operator@example.com"),
            },
            "auth": {
                "TWINUP_AUTH_SIGNING_KEY_FILE": str(self.credentials.signing_key_file),
                "TWINUP_AUTH_KEYS_DIR": str(self.credentials.signing_key_file.parent),
                "TWINUP_AUTH_ADMIN_PASSWORD": self.credentials.admin_password,
            },
            "gateway": {
                **alert_service,
                "TWINUP_JWKS_URL": f"http://127.0.0.1:{self.port['auth']}/.well-known/jwks.json",
            },
        }
        return [
            Process(
                name,
                (sys.executable, "-m", "sensor_shared.runtime", str(FUNCTIONS / name)),
                {**self._shared(port), **own.get(name, {})},
                ready=readiness.http(self.port[port], "/health/readiness"),
                after=("migrations", "redis", "mqtt", "mail"),
                port=self.port[port],
                url=f"http://127.0.0.1:{self.port[port]}",
                nice=_NICE.get(name, 0),
            )
            for name, port in _HTTP_FUNCTIONS.items()
        ]

    def _dispatcher(self) -> Process:
        sinks = ",".join(
            f"{name}=http://127.0.0.1:{self.port[port]}" for name, port in _HTTP_FUNCTIONS.items()
        )
        return Process(
            "dispatcher",
            (sys.executable, "-m", "sensor_dispatcher", str(EVENTING)),
            {**self._shared("dispatcher"), "TWINUP_DISPATCHER_SINKS": sinks},
            ready=readiness.http(self.port["dispatcher"], "/health/readiness"),
            after=("topics", "consumer", "analytics", "alerts"),
            port=self.port["dispatcher"],
            stop_seconds=30.0,
        )

    def _producer(self) -> Process:
        return Process(
            "producer",
            (sys.executable, "-m", "sensor_producer", str(CONFIGS / "producer-config.yaml")),
            {
                **self._shared("producer_metrics"),
                "TWINUP_PRODUCER_LEDGER_DIR": str(self.run.ledger),
                "TWINUP_PRODUCER_SPOOL_DIR": str(self.run.path / "spool"),
            },
            ready=readiness.http(self.port["producer_metrics"], "/health/readiness"),
            after=("dispatcher",),
            port=self.port["producer_metrics"],
        )


_ADDRESSES: Mapping[str, str] = {
    "gateway": "http://127.0.0.1:{}",
    "auth": "http://127.0.0.1:{}",
    "alerts_http": "http://127.0.0.1:{}",
    "alerts_grpc": "127.0.0.1:{}",
    "consumer": "http://127.0.0.1:{}",
    "analytics": "http://127.0.0.1:{}",
    "kafka": "127.0.0.1:{}",
    "clickhouse": "http://127.0.0.1:{}",
    "redis": "redis://127.0.0.1:{}/0",
    "mqtt": "mqtt://127.0.0.1:{}",
    "smtp": "smtp://127.0.0.1:{}",
    "mail": "http://127.0.0.1:{}",
    "dispatcher": "http://127.0.0.1:{}",
    "producer_metrics": "http://127.0.0.1:{}",
}


def _without_others(process: Process, only: Sequence[str]) -> Process:
    """The process, waiting only for those that run too."""
    return replace(process, after=tuple(name for name in process.after if name in only))
