"""Another signing key for auth, as docs/operations tells it: how long the old one still counts."""

import asyncio
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from urllib3.util import Retry

from sensor_auth.app import Auth
from sensor_auth.settings import AuthSettings
from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.testing import rest

from .login import log_in

pytestmark = pytest.mark.integration
PASSWORD = "of the first admin"


class Restarted:
    """Auth, and from `restart` on the one with the new key, at the same address."""

    def __init__(self, old: Auth, new: Auth):
        self.name, self.server, self.logger = old.name, old.server, old.logger
        self.ready, self.alive = old.ready, old.alive
        self._both = (old, new)
        self._now = old

    def restart(self) -> None:
        self._now = self._both[1]

    async def start(self) -> None:
        for one in self._both:
            await one.start()

    async def stop(self) -> None:
        for one in self._both:
            await one.stop()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._now.handle(scope, receive, send)


@dataclass(frozen=True)
class Services:
    auth: str
    gateway: str
    restart: Any

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
        "redis": {"port": redis_server.port, "db": number},
        "clickhouse": {
            "port": clickhouse_server.port,
            "user": clickhouse_server.user,
            "password": clickhouse_server.password,
            "database": clickhouse_server.database(),
        },
    }

    def auth(name: str) -> Auth:
        file = tmp_path / name
        key = Ed25519PrivateKey.generate()
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        settings = AuthSettings.model_validate(
            {
                **sections,
                "auth": {"signing_key_file": file, "admin_password": PASSWORD},
                "passwords": {"time_cost": 1, "memory_kib": 64, "parallelism": 1},
            }
        )
        return Auth(settings, shown_on=io.StringIO())

    both = Restarted(auth("old.pem"), auth("new.pem"))
    with rest.served(both) as at:
        jwks = {"url": f"{at}/.well-known/jwks.json", "unknown_key_seconds": 0.01}
        gateway = Gateway(GatewaySettings.model_validate({**sections, "jwks": jwks}))
        with rest.served(gateway) as gateway_at:
            rest_ready(f"{at}/health")
            rest_ready(f"{gateway_at}/api/v1/health")
            yield Services(at, gateway_at, both.restart)


def rest_ready(url: str) -> None:
    retry = Retry(status=60, status_forcelist=[503], backoff_factor=0.05)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        session.get(url, timeout=10).raise_for_status()


def test_a_new_signing_key_costs_a_new_login_and_old_tokens_that_were_seen_run_out(
    services: Services,
) -> None:
    seen, unseen = services.log_in(), services.log_in()
    assert services.opens(seen) == 200
    services.restart()
    fresh = services.log_in()
    # The gateway meets an unknown key, fetches the keys anew, and has only the new one.
    assert services.opens(fresh) == 200
    assert services.opens(unseen) == 401
    # Checked before, it is remembered until it expires, 15 minutes at most: restart the gateway.
    assert services.opens(seen) == 200
    body = {"refresh_token": seen["refresh_token"]}
    refreshed = requests.post(f"{services.auth}/auth/refresh", json=body, timeout=10)
    assert refreshed.status_code == 401
