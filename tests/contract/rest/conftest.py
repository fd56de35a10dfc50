"""Both services over HTTP on the real Redis and ClickHouse, once for all tests of them."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sensor_auth.app import Auth
from sensor_auth.settings import AuthSettings
from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_local.alert_service import alert_service
from sensor_shared.testing import rest

from .services import (
    CHEAP,
    PASSWORD,
    Services,
    add_alert,
    add_device,
    add_people,
    add_silence,
    wait_for,
)


@pytest.fixture(scope="session")
def services(
    redis_server: Any,
    clickhouse_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Services]:
    key, file = Ed25519PrivateKey.generate(), tmp_path_factory.mktemp("auth") / "signing-key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    # Every call comes from one address, and many of them are wrong. A refresh token that comes
    # again is never taken for one whose answer was lost.
    policy = {"max_failures": 10_000, "slow_failures": 10_000, "refresh_repeat_seconds": 0}
    sections = {
        "limits": rest.UNLIMITED,
        "redis": {"port": redis_server.port, "db": 0},  # no other test empties this one
        "clickhouse": {
            "port": clickhouse_server.port,
            "user": clickhouse_server.user,
            "password": clickhouse_server.password,
            "database": clickhouse_server.database(),
        },
    }
    asyncio.run(add_people(sections["clickhouse"]))
    asyncio.run(add_device(sections))
    asyncio.run(add_silence(sections["clickhouse"]))
    auth_settings = AuthSettings.model_validate(
        {
            **sections,
            "auth": {"signing_key_file": file, "admin_password": PASSWORD, **policy},
            "keys": {"max_per_user": 10_000},
            "passwords": CHEAP,
        }
    )
    alerts_of_their_own = {name: sections[name] for name in ("redis", "clickhouse")}
    folder = tmp_path_factory.mktemp("alerts")
    with (
        alert_service(alerts_of_their_own, folder) as alerts,
        rest.served(Auth(auth_settings, shown_on=io.StringIO())) as auth,
    ):
        asyncio.run(add_alert(alerts))
        wait_for(f"{auth}/health")
        jwks = {"url": f"{auth}/.well-known/jwks.json"}
        gateway_settings = GatewaySettings.model_validate(
            {**sections, "jwks": jwks, "alerts": alerts}
        )
        with rest.served(Gateway(gateway_settings)) as gateway:
            wait_for(f"{gateway}/api/v1/health")
            yield Services({"auth": auth, "gateway": gateway}, key)
