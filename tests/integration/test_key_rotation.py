"""Another signing key for auth, as docs/operations tells it: nobody has to log in again."""

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from urllib3.util import Retry

from sensor_auth.app import Auth
from sensor_auth.rotation import Rotation
from sensor_auth.settings import AuthSettings
from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.testing import rest

from .login import log_in

pytestmark = pytest.mark.integration
PASSWORD = "of the first admin"


@dataclass(frozen=True)
class Services:
    auth: str
    gateway: str
    rotation: Rotation

    def log_in(self) -> dict[str, str]:
        return log_in(self.auth, PASSWORD)

    def opens(self, tokens: dict[str, str]) -> int:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        url = f"{self.gateway}/api/v1/devices"
        return requests.get(url, headers=headers, timeout=10).status_code


@pytest.fixture
def services(
    redis_server: Any, clickhouse_server: Any, worker_id: str, tmp_path: Path
) -> Iterator[Services]:
    number = asyncio.run(rest.empty_database(redis_server.host, redis_server.port, worker_id))
    sections = {
        # A session that began while Redis did not answer is known to its auth alone.
        "redis": {"port": redis_server.port, "db": number, "timeout": 10},
        "clickhouse": {
            "port": clickhouse_server.port,
            "user": clickhouse_server.user,
            "password": clickhouse_server.password,
            "database": clickhouse_server.database(),
        },
    }

    key = Ed25519PrivateKey.generate()
    file = tmp_path / "signing-key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    policy = {"signing_key_file": file, "keys_dir": tmp_path, "keys_seconds": 0.05}
    settings = AuthSettings.model_validate(
        {
            **sections,
            "auth": {**policy, "admin_password": PASSWORD},
            "passwords": {"time_cost": 1, "memory_kib": 64, "parallelism": 1},
        }
    )
    with rest.served(Auth(settings, shown_on=io.StringIO())) as at:
        jwks = {"url": f"{at}/.well-known/jwks.json", "unknown_key_seconds": 0.01}
        gateway = Gateway(GatewaySettings.model_validate({**sections, "jwks": jwks}))
        with rest.served(gateway) as gateway_at:
            rest_ready(f"{at}/health")
            rest_ready(f"{gateway_at}/api/v1/health")
            yield Services(at, gateway_at, Rotation(settings.auth))


def rest_ready(url: str) -> None:
    retry = Retry(status=60, status_forcelist=[503], backoff_factor=0.05)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        session.get(url, timeout=10).raise_for_status()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def published(services: Services) -> list[str]:
    document = requests.get(f"{services.auth}/.well-known/jwks.json", timeout=10).json()
    return [key["kid"] for key in document["keys"]]


def refreshed(services: Services, tokens: dict[str, str]) -> requests.Response:
    body = {"refresh_token": tokens["refresh_token"]}
    return requests.post(f"{services.auth}/auth/refresh", json=body, timeout=10)


def test_a_new_key_comes_and_the_old_one_goes_without_a_restart_or_a_new_login(
    services: Services,
) -> None:
    seen, unseen, carried = (services.log_in() for _ in range(3))
    [old] = published(services)
    assert services.opens(seen) == 200
    new = services.rotation.add()
    until(lambda: published(services) == [old, new])
    services.rotation.sign(at_once=True)
    until(lambda: published(services) == [new, old])
    fresh = services.log_in()
    assert jwt.get_unverified_header(fresh["access_token"])["kid"] == new
    # The gateway meets an unknown key and fetches the keys anew; the old one is still among them.
    assert [services.opens(one) for one in (fresh, seen, unseen)] == [200, 200, 200]
    answer = refreshed(services, carried)
    assert answer.status_code == 200
    assert jwt.get_unverified_header(answer.json()["access_token"])["kid"] == new


def test_a_key_that_leaked_is_retired_at_once_and_its_tokens_with_it(services: Services) -> None:
    seen, unseen = services.log_in(), services.log_in()
    assert services.opens(seen) == 200
    new = services.rotation.add()
    services.rotation.sign(at_once=True)
    services.rotation.retire(at_once=True)
    until(lambda: published(services) == [new])
    fresh = services.log_in()
    assert services.opens(fresh) == 200
    assert services.opens(unseen) == 401
    assert refreshed(services, seen).status_code == 401
    # Checked before, it is remembered until it expires, 15 minutes at most: restart the gateway.
    assert services.opens(seen) == 200
