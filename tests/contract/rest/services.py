"""Auth and gateway over HTTP as the tests of their documents see them, and people of each role."""

import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from sensor_alerts.domain.scope import Scope
from sensor_alerts.domain.silence import Silence
from sensor_alerts.silences.store import SilenceStore
from sensor_auth.passwords import Passwords
from sensor_auth.settings import PasswordSettings
from sensor_gateway.alerts.models import ALERT_ID
from sensor_gateway.silences.routes import SILENCE_ID
from sensor_shared.adapters import redis
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.grpc import AlertClient, AlertTargetSettings
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.contracts.access import Role
from sensor_shared.contracts.readings import SCHEMA, device_type
from sensor_shared.testing import rest
from sensor_shared.testing.rest import Operation
from twinup.alert.v1 import alert_pb2

NAMES = ("auth", "gateway")
CHEAP = PasswordSettings(time_cost=1, memory_kib=64, parallelism=1)
DEVICE = "weather_station_001534"
"""The one that there is: the example of the gateway's document."""
PASSWORD = uuid.uuid4().hex
_PEOPLE = 3_000
"""Of each role: a call may end its caller's sessions, or the account, so each has its own."""


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str


class Services:
    """The two services, the key that signs, and as many people as are wanted.

    Args:
        urls: by the services' names.
        key: auth's signing key.
    """

    def __init__(self, urls: Mapping[str, str], key: Ed25519PrivateKey):
        self.urls = urls
        self.key = key
        self.session = requests.Session()
        self.documents = {
            name: self.session.get(f"{url}/openapi.json", timeout=10).json()
            for name, url in urls.items()
        }
        self._numbers = {role: itertools.count() for role in Role}
        self._attacker: Tokens | None = None

    def operations(self, name: str) -> list[Operation]:
        return rest.operations(self.documents[name])

    def guarded(self) -> Iterator[tuple[str, Operation]]:
        """Every operation of both that is not open, with its service."""
        for name in self.urls:
            for operation in self.operations(name):
                if operation.schemes:
                    yield name, operation

    def log_in(self, role: Role) -> Tokens:
        """The tokens of somebody of that role who has never called before."""
        body = {"username": person(role, next(self._numbers[role])), "password": PASSWORD}
        answer = self.session.post(f"{self.urls['auth']}/auth/login", json=body, timeout=10)
        assert answer.status_code == 200, answer.text
        pair = answer.json()
        return Tokens(pair["access_token"], pair["refresh_token"])

    def attacker(self) -> Tokens:
        """The tokens of one admin for many calls, anew when a call has ended the session."""
        verify = f"{self.urls['auth']}/auth/verify"
        if self._attacker is not None:
            answer = self.session.post(verify, headers=bearer(self._attacker.access), timeout=10)
            if answer.status_code == 200:
                return self._attacker
        self._attacker = self.log_in(Role.ADMIN)
        return self._attacker

    def call(
        self,
        name: str,
        operation: Operation,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> requests.Response:
        """The answer, whole unless it is a stream; its status is one that the document tells."""
        answer = self.session.request(
            operation.method,
            self.urls[name] + operation.path,
            params={**operation.query, **query},
            json=operation.body,
            headers=dict(headers or {}),
            timeout=10,
            stream=True,
            allow_redirects=False,
        )
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            assert answer.content is not None
        answer.close()
        assert answer.status_code in operation.statuses, (operation, answer.status_code)
        return answer


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def person(role: Role, number: int) -> str:
    return f"{role}-{number}"


async def add_people(section: Mapping[str, Any]) -> None:
    """Adds them to ClickHouse, all with one password; its hash is made once."""
    passwords = Passwords(CHEAP)
    hashed = await passwords.hash(PASSWORD)
    passwords.close()
    columns = ["username", "password_hash", "role", "email", "disabled", "version"]
    rows = [
        [person(role, number), hashed, str(role), f"{role}@example.com", False, 1]
        for role in Role
        for number in range(_PEOPLE)
    ]
    client = await connect(ClickHouseSettings.model_validate(section))
    await client.insert("users", rows, column_names=columns)
    await client.close()


async def add_device(sections: Mapping[str, Any]) -> None:
    """Adds the device to ClickHouse, and its latest reading to Redis, as the consumer does."""
    now = datetime.now(UTC)
    client = await connect(ClickHouseSettings.model_validate(sections["clickhouse"]))
    columns = ["device_id", "device_type", "region", "latitude", "longitude", "updated_at"]
    row = [DEVICE, device_type(DEVICE), "north", 40.5, 27.25, now]
    await client.insert("devices", [row], column_names=columns)
    await client.close()
    reading = {
        "device_id": DEVICE,
        "timestamp": now,
        "temperature": 21.5,
        "humidity": 48.25,
        "pressure": None,
        "status": "active",
        "latitude": 40.5,
        "longitude": 27.25,
        "region": "north",
    }
    async with redis.connect(RedisSettings.model_validate(sections["redis"])) as cache:
        await LatestReadings(cache).update(pa.RecordBatch.from_pylist([reading], SCHEMA))


async def add_alert(section: Mapping[str, Any]) -> None:
    """Reports the breach whose alert is the example of the gateway's document."""
    request = alert_pb2.AlertRequest(
        alert_id=ALERT_ID,
        device_id=DEVICE,
        alert_type=alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH,
        temperature=96.0,
        threshold=90.0,
        metadata={"rule": "temperature-high", "metric": "temperature"},
    )
    client = AlertClient(AlertTargetSettings.model_validate({**section, "timeout": 10}))
    assert (await client.send(request)).success
    await client.close()


async def add_silence(section: Mapping[str, Any]) -> None:
    """Adds the silence that is the example of the gateway's document, as the service keeps it."""
    now = datetime.now(UTC)
    silence = Silence(
        silence_id=SILENCE_ID,
        scope=Scope(regions=("nowhere",)),
        starts_at=now,
        ends_at=now + timedelta(days=1),
        author="admin",
        reason="repair",
        created_at=now,
        updated_at=now,
    )
    database = Database(ClickHouseSettings.model_validate(section))
    await SilenceStore(database).write(silence)
    await database.close()


def wait_for(url: str) -> None:
    retry = Retry(status=60, status_forcelist=[503], backoff_factor=0.05)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.get(url, timeout=10).raise_for_status()
