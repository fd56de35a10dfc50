"""Every function under both runtimes, on the real parts; each runtime has data of its own."""

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from redis.asyncio import Redis

from .building import ROOT, Builder
from .serving import Pair, free_port, under_framework, under_func

RUNTIMES = ("framework", "func")
TOKEN = uuid.uuid4().hex
PASSWORD = uuid.uuid4().hex
RECIPIENT = f"{uuid.uuid4().hex}@example.com"

Deploy = Callable[..., Pair]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A build and the first start of all parts are slower than one test is elsewhere."""
    for item in items:
        item.add_marker(pytest.mark.integration)
        item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    folder = tmp_path_factory.mktemp("builds")
    yield Builder(folder)
    shutil.rmtree(folder)  # 350 MB for each function


@pytest.fixture(scope="session")
def parts(
    kafka_broker: str, clickhouse_server: Any, redis_server: Any, mqtt_broker: Any, smtp_sink: Any
) -> Mapping[str, str]:
    """Where the parts are, as every function reads it."""
    topics = [sys.executable, "-m", "sensor_local.topics", "--brokers", kafka_broker]
    subprocess.run(topics, check=True, capture_output=True)
    return {
        "TWINUP_KAFKA_BROKERS": kafka_broker,
        "TWINUP_CLICKHOUSE_PORT": str(clickhouse_server.port),
        "TWINUP_CLICKHOUSE_USER": clickhouse_server.user,
        "TWINUP_CLICKHOUSE_PASSWORD": clickhouse_server.password,
        "TWINUP_REDIS_PORT": str(redis_server.port),
        "TWINUP_MQTT_PORT": str(mqtt_broker.port),
        "TWINUP_SMTP_PORT": str(smtp_sink.port),
        "TWINUP_SMTP_SECURITY": "none",
        "TWINUP_SMTP_RECIPIENTS": RECIPIENT,
        "TWINUP_SMTP_COLLECT": "120",  # a mail goes out at the end, or too late for the test
    }


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What both runtimes are trusted with; tokens of the one are as good as the other's."""
    key = tmp_path_factory.mktemp("auth") / "signing-key.pem"
    private = Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {
        "TWINUP_GRPC_TOKEN": TOKEN,
        "TWINUP_ALERTS_TOKEN": TOKEN,
        "TWINUP_AUTH_SIGNING_KEY_FILE": str(key),
        "TWINUP_AUTH_ADMIN_PASSWORD": PASSWORD,
    }


@pytest.fixture(scope="session")
def environments(
    parts: Mapping[str, str], secrets: Mapping[str, str], clickhouse_server: Any, redis_server: Any
) -> Mapping[str, Mapping[str, str]]:
    """What the processes of each runtime are told."""
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TWINUP_", "COV_", "PYTHON"))
    }
    configs = {
        "TWINUP_CONFIG_DIR": str(ROOT / "configs"),
        "TWINUP_BREACHES_RULES": str(ROOT / "configs" / "alert-rules.yaml"),
    }
    told = {}
    for number, runtime in enumerate(RUNTIMES, start=13):
        asyncio.run(_emptied(redis_server, number))
        grpc_port = str(free_port())
        own = {
            "TWINUP_CLICKHOUSE_DATABASE": clickhouse_server.database(),
            "TWINUP_REDIS_DB": str(number),
            "TWINUP_GRPC_PORT": grpc_port,
            "TWINUP_ALERTS_TARGET": f"127.0.0.1:{grpc_port}",
        }
        told[runtime] = {**bare, **configs, **parts, **secrets, **own}
    return told


async def _emptied(server: Any, number: int) -> None:
    async with Redis(host=server.host, port=server.port, db=number) as redis:
        await redis.flushdb()


@pytest.fixture(scope="session")
def deploy(
    builder: Builder,
    environments: Mapping[str, Mapping[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deploy]:
    """Starts a function under both runtimes, without waiting; they end with the session."""
    with ExitStack() as running:

        def deployed(name: str, **changes: str) -> Pair:
            logs = tmp_path_factory.mktemp(name)
            told = {runtime: {**environments[runtime], **changes} for runtime in RUNTIMES}
            built = builder.build(name)
            framework = under_framework(name, told["framework"], logs / "framework.log")
            func = under_func(built, told["func"], logs / "func.log")
            return Pair(running.enter_context(framework), running.enter_context(func), told)

        yield deployed


def ready(pair: Pair) -> Pair:
    """Returns the pair as soon as both can do their work."""
    for one in pair.both():
        assert one.wait_until("/health/readiness", 200).text == "OK"
    return pair


@pytest.fixture(scope="session")
def consumer(deploy: Deploy) -> Pair:
    return ready(deploy("consumer"))


@pytest.fixture(scope="session")
def analytics(deploy: Deploy) -> Pair:
    return ready(deploy("analytics"))


@pytest.fixture(scope="session")
def alerts(deploy: Deploy) -> Pair:
    return ready(deploy("alerts"))


@pytest.fixture(scope="session")
def auth(deploy: Deploy) -> Pair:
    return ready(deploy("auth"))


@pytest.fixture(scope="session")
def gateway(deploy: Deploy, auth: Pair, alerts: Pair) -> Pair:
    # It asks alerts too. Both auths sign with the same key: the keys of the one are the other's.
    keys = auth.func.client.base_url.join("/.well-known/jwks.json")
    return ready(deploy("gateway", TWINUP_JWKS_URL=str(keys)))


@pytest.fixture(params=["consumer", "analytics", "alerts", "auth", "gateway"])
def function(request: pytest.FixtureRequest) -> Pair:
    pair: Pair = request.getfixturevalue(request.param)
    return pair
