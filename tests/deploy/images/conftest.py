"""Both images, built once, and what containers are told about the parts."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from .container import Image, build

Environments = Callable[[str], dict[str, str]]
TOKEN = "a service token of the tests"
ADMIN_PASSWORD = "a password of the tests"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def functions_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build("functions", tmp_path_factory.mktemp("functions"))


@pytest.fixture(scope="session")
def tools_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build("tools", tmp_path_factory.mktemp("tools"))


@pytest.fixture(params=["functions", "tools"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(f"{request.param}_image")
    return found


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of secrets, as they are mounted."""
    folder = tmp_path_factory.mktemp("secrets")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "signing-key").write_bytes(pem)
    (folder / "service-token").write_text(f"{TOKEN}\n")
    (folder / "admin-password").write_text(f"{ADMIN_PASSWORD}\n")
    return folder


@pytest.fixture
def environments(request: pytest.FixtureRequest, secrets: Path) -> Environments:
    """What a container is given, by the name of its function or tool; one database for all."""
    part = request.getfixturevalue
    clickhouse_server, redis_server = part("clickhouse_server"), part("redis_server")
    mqtt_broker, smtp_sink = part("mqtt_broker"), part("smtp_sink")
    (secrets / "clickhouse-password").write_text(clickhouse_server.password)
    grpc_port = free_port()
    shared = {
        "TWINUP_KAFKA_BROKERS": part("kafka_broker"),
        "TWINUP_CLICKHOUSE_HOST": clickhouse_server.host,
        "TWINUP_CLICKHOUSE_PORT": str(clickhouse_server.port),
        "TWINUP_CLICKHOUSE_USER": clickhouse_server.user,
        "TWINUP_CLICKHOUSE_PASSWORD_FILE": str(secrets / "clickhouse-password"),
        "TWINUP_CLICKHOUSE_DATABASE": clickhouse_server.database(),
        "TWINUP_REDIS_HOST": redis_server.host,
        "TWINUP_REDIS_PORT": str(redis_server.port),
        "TWINUP_MQTT_HOST": mqtt_broker.host,
        "TWINUP_MQTT_PORT": str(mqtt_broker.port),
        "TWINUP_SMTP_HOST": smtp_sink.host,
        "TWINUP_SMTP_PORT": str(smtp_sink.port),
    }
    token = str(secrets / "service-token")
    alert_service = {
        "TWINUP_ALERTS_TARGET": f"127.0.0.1:{grpc_port}",
        "TWINUP_ALERTS_TOKEN_FILE": token,
    }
    own = {
        "consumer": alert_service,
        "gateway": alert_service,
        "alerts": {"TWINUP_GRPC_PORT": str(grpc_port), "TWINUP_GRPC_TOKEN_FILE": token},
        "auth": {
            "TWINUP_AUTH_SIGNING_KEY_FILE": str(secrets / "signing-key"),
            "TWINUP_AUTH_ADMIN_PASSWORD_FILE": str(secrets / "admin-password"),
        },
    }

    def given(name: str) -> dict[str, str]:
        port = {"TWINUP_SERVER_PORT": str(free_port()), "TWINUP_FUNCTION": name}
        return shared | port | own.get(name, {})

    return given
