"""Auth and gateway together, over HTTP: tokens of the one at the other, and OpenAPI complete."""

import asyncio
import io
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from urllib3.util import Retry

from sensor_auth.app import Auth
from sensor_auth.settings import AuthSettings
from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.testing import rest
from sensor_shared.testing.openapi import gaps

from .login import log_in

pytestmark = pytest.mark.integration
PASSWORD = uuid.uuid4().hex


@dataclass(frozen=True)
class Services:
    auth: str
    gateway: str

    def log_in(self) -> dict[str, str]:
        return log_in(self.auth, PASSWORD)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.log_in()['access_token']}"}


@pytest.fixture(scope="module")
def services(
    redis_server: Any,
    clickhouse_server: Any,
    worker_id: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Services]:
    key = tmp_path_factory.mktemp("auth") / "signing-key.pem"
    private = Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    database = asyncio.run(rest.empty_database(redis_server.host, redis_server.port, worker_id))
    sections = {
        "redis": {"port": redis_server.port, "db": database},
        "clickhouse": {
            "port": clickhouse_server.port,
            "user": clickhouse_server.user,
            "password": clickhouse_server.password,
            "database": clickhouse_server.database(),
        },
    }
    # Every call comes from one address, and many of them are wrong.
    limits = {"max_sessions": 1_000, "max_failures": 10_000, "slow_failures": 10_000}
    policy = {"signing_key_file": key, "admin_password": PASSWORD, **limits}
    auth_settings = AuthSettings.model_validate(
        {
            **sections,
            "auth": policy,
            "limits": rest.UNLIMITED,
            "keys": {"max_per_user": 1_000},
            "passwords": {"time_cost": 1, "memory_kib": 64, "parallelism": 1},
        }
    )
    with rest.served(Auth(auth_settings, shown_on=io.StringIO())) as auth:
        _wait(f"{auth}/health")
        jwks = {"url": f"{auth}/.well-known/jwks.json", "unknown_key_seconds": 0.01}
        gateway_settings = GatewaySettings.model_validate(
            {**sections, "jwks": jwks, "limits": rest.UNLIMITED}
        )
        with rest.served(Gateway(gateway_settings)) as gateway:
            _wait(f"{gateway}/api/v1/health")
            yield Services(auth, gateway)


def _wait(url: str) -> None:
    retry = Retry(status=60, status_forcelist=[503], backoff_factor=0.05)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        session.get(url, timeout=10).raise_for_status()


def test_a_token_of_auth_opens_the_gateway_until_its_session_ends(services: Services) -> None:
    url = f"{services.gateway}/api/v1/devices"
    assert requests.get(url, timeout=10).status_code == 401
    headers = services.headers()
    assert requests.get(url, headers=headers, timeout=10).status_code == 200
    logout = requests.post(f"{services.auth}/auth/logout", headers=headers, timeout=10)
    assert logout.status_code == 204
    refused = requests.get(url, headers=headers, timeout=10)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_a_refresh_token_opens_nothing_at_the_gateway(services: Services) -> None:
    headers = {"Authorization": f"Bearer {services.log_in()['refresh_token']}"}
    url = f"{services.gateway}/api/v1/devices"
    assert requests.get(url, headers=headers, timeout=10).status_code == 401


@pytest.mark.parametrize("name", ["auth", "gateway"])
def test_the_openapi_document_is_valid_and_complete(services: Services, name: str) -> None:
    document = requests.get(f"{getattr(services, name)}/openapi.json", timeout=10).json()
    schemathesis.openapi.from_dict(document).validate()
    assert gaps(document) == []


@pytest.mark.parametrize("name", ["auth", "gateway"])
def test_the_page_to_read_it_loads_nothing_from_elsewhere(services: Services, name: str) -> None:
    url = getattr(services, name)
    page = requests.get(f"{url}/", timeout=10)
    assert page.url == f"{url}/docs"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    parts = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert sorted(parts) == ["/docs/docs.css", "/docs/docs.js", "/openapi.json"]
    for part in parts:
        answer = requests.get(f"{url}{part}", timeout=10)
        assert answer.status_code == 200
        assert "http://" not in answer.text
        assert "https://" not in answer.text
