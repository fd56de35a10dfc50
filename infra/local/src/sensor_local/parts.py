"""The parts that the functions stand on, as processes: Kafka, ClickHouse, Redis, MQTT, mail."""

import sys
from collections.abc import Mapping

from sensor_local import mqtt, readiness, redis
from sensor_local.credentials import Credentials
from sensor_local.folder import RunFolder
from sensor_local.process import Process

PORTS: Mapping[str, tuple[str, ...]] = {
    "kafka": ("kafka", "kafka_controller"),
    "clickhouse": ("clickhouse",),
    "redis": ("redis",),
    "mqtt": ("mqtt", "mqtt5"),
    "mail": ("smtp", "mail"),
}
"""Ports that each part listens on."""

CLICKHOUSE_USER = "twinup"


def parts(run: RunFolder, ports: Mapping[str, int], credentials: Credentials) -> list[Process]:
    """Returns the table of parts."""
    python = sys.executable
    mqtt_config = run.path / "data" / "mqtt" / "rumqttd.toml"

    def write_mqtt_config() -> None:
        text = mqtt.configuration(ports["mqtt"], ports["mqtt5"])
        run.data("mqtt")
        mqtt_config.write_text(text, encoding="utf-8")

    return [
        Process(
            "kafka",
            (
                *(python, "-m", "sensor_local.kafka", "--data", str(run.path / "data" / "kafka")),
                *("--port", str(ports["kafka"])),
                *("--controller-port", str(ports["kafka_controller"])),
            ),
            ready=readiness.port(ports["kafka"]),
            port=ports["kafka"],
            # Seven seconds alone, nearly a minute beside other work: most of it is the JVM's.
            start_seconds=180.0,
        ),
        Process(
            "clickhouse",
            (
                *(python, "-m", "sensor_local.clickhouse"),
                *("--data", str(run.path / "data" / "clickhouse")),
                *("--backups", str(run.backups)),
                *("--host", "127.0.0.1", "--port", str(ports["clickhouse"])),
                *("--user", CLICKHOUSE_USER),
                *("--password-file", str(credentials.clickhouse_password_file)),
            ),
            ready=readiness.http(ports["clickhouse"], "/ping"),
            port=ports["clickhouse"],
        ),
        Process(
            "redis",
            redis.command(run.path / "data" / "redis", ports["redis"]),
            ready=readiness.port(ports["redis"], send=b"PING\r\n", expect=b"+PONG"),
            port=ports["redis"],
            prepare=lambda: run.data("redis"),
        ),
        Process(
            "mqtt",
            mqtt.command(mqtt_config),
            ready=readiness.port(ports["mqtt5"]),
            port=ports["mqtt"],
            prepare=write_mqtt_config,
        ),
        Process(
            "mail",
            (
                *(python, "-m", "sensor_local.mail", "--data", str(run.path / "data" / "mail")),
                *("--smtp-port", str(ports["smtp"]), "--http-port", str(ports["mail"])),
            ),
            ready=readiness.http(ports["mail"], "/"),
            port=ports["smtp"],
            url=f"http://127.0.0.1:{ports['mail']}",
        ),
    ]
