"""The entry command of each image does its work with nothing but what the image holds."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from sensor_local import topics

from .conftest import ADMIN_PASSWORD, Environments
from .container import Container, Image

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

DEVICES = 2_000
READINGS = 5_000


def test_python_sees_the_image_alone(image: Image) -> None:
    """Neither this checkout's environment nor the packages of the base are on the path."""
    python = image.environment({})["PATH"].split(":")[0] + "/python"
    code = "import json, sys, sensor_shared; print(json.dumps([sensor_shared.__file__, *sys.path]))"
    done = subprocess.run(
        [python, "-P", "-c", code],
        env=image.environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    places = [Path(place) for place in json.loads(done.stdout)]
    outside = [place for place in places if not place.is_relative_to(image.root)]
    assert places[0].is_relative_to(image.root)
    assert [place for place in outside if place.name in ("site-packages", "src")] == []
    assert not (image.root / "opt/venv/bin/pip").exists(), "no installer inside"


@contextmanager
def kept_as_it_was(image: Image) -> Iterator[None]:
    """The root file system is read-only: nothing in it changes, comes or goes."""
    before = image.files()
    yield
    assert image.files() == before


def check(container: Container) -> None:
    """What is true of every server, whatever it serves."""
    assert container.health() == 0
    assert container.program().endswith("python"), "signals reach it, not a shell"
    metrics = httpx.get(f"{container.url}/metrics")
    assert metrics.status_code == 200
    assert "sensor_" in metrics.text


@pytest.mark.parametrize("function", ["consumer", "analytics", "alerts"])
def test_a_function_for_events_serves_is_healthy_and_stops_when_told(
    function: str, functions_image: Image, environments: Environments, tmp_path: Path
) -> None:
    given = environments(function)
    with kept_as_it_was(functions_image):
        with functions_image.running(environment=given, log=tmp_path / "log") as container:
            check(container)
            refused = httpx.post(container.url, content=b"no event")
        assert refused.status_code == 400
        assert container.health() != 0, "a health check that cannot fail is none"


def test_who_logs_in_at_auth_is_answered_by_the_gateway(
    functions_image: Image, environments: Environments, tmp_path: Path
) -> None:
    auth, gateway = environments("auth"), environments("gateway")
    auth_url = f"http://127.0.0.1:{auth['TWINUP_SERVER_PORT']}"
    gateway["TWINUP_JWKS_URL"] = f"{auth_url}/.well-known/jwks.json"
    with kept_as_it_was(functions_image), ExitStack() as stack:
        for given in (auth, gateway):
            log = tmp_path / given["TWINUP_FUNCTION"]
            running = functions_image.running(environment=given, log=log)
            container = stack.enter_context(running)
            check(container)
        login = httpx.post(
            f"{auth_url}/auth/login", json={"username": "admin", "password": ADMIN_PASSWORD}
        )
        assert login.status_code == 200, login.text
        url = f"{container.url}/api/v1/devices"
        assert httpx.get(url).status_code == 401
        token = {"authorization": f"Bearer {login.json()['access_token']}"}
        assert httpx.get(url, headers=token).status_code == 200


def test_a_function_that_lacks_a_secret_does_not_start(
    functions_image: Image, environments: Environments
) -> None:
    given = environments("auth")
    del given["TWINUP_AUTH_SIGNING_KEY_FILE"]
    done = functions_image.run(environment=given, status=1)
    assert "TWINUP_AUTH_SIGNING_KEY_FILE: Field required" in done.stderr


def settled(image: Image, environment: dict[str, str], ledger: str) -> dict[str, int]:
    """The audit's account, when nothing is on its way any more."""
    deadline = time.monotonic() + 30.0
    while True:
        done = image.run(
            "sensor_local.audit", "--ledger", ledger, "--json", environment=environment
        )
        account: dict[str, int] = json.loads(done.stdout)
        if account["in_flight"] == 0 or time.monotonic() > deadline:
            return account
        time.sleep(0.5)


def test_tools_make_topics_and_tables_and_their_readings_all_arrive(
    functions_image: Image, tools_image: Image, environments: Environments, tmp_path: Path
) -> None:
    """The whole flow: topics, migrations, functions, dispatcher, producer, and the audit of it."""
    state = {
        "TWINUP_PRODUCER_LEDGER_DIR": str(tmp_path / "ledger"),
        "TWINUP_PRODUCER_SPOOL_DIR": str(tmp_path / "spool"),
        "TWINUP_PRODUCER_DEVICE_COUNT": str(DEVICES),
        "TWINUP_PRODUCER_MAX_READINGS": str(READINGS),
    }
    given = {name: environments(name) for name in ("consumer", "analytics", "alerts")}
    fresh = {"TWINUP_CLICKHOUSE_DATABASE": f"{given['consumer']['TWINUP_CLICKHOUSE_DATABASE']}_new"}
    given = {name: environment | fresh for name, environment in given.items()}
    tool = environments("tools") | fresh
    sinks = ",".join(
        f"{name}=http://127.0.0.1:{environment['TWINUP_SERVER_PORT']}"
        for name, environment in given.items()
    )
    with kept_as_it_was(tools_image), kept_as_it_was(functions_image), ExitStack() as stack:
        brokers = tool["TWINUP_KAFKA_BROKERS"]
        made = tools_image.run("sensor_local.topics", "--brokers", brokers, environment=tool)
        assert made.stdout.splitlines() == [
            f"created {topic.name} with {topic.partitions} partitions"
            for topic in topics.declared({})
        ]
        migrations = ("sensor_shared.adapters.migrations", "infra/clickhouse/migrations")
        assert "applied: readings" in tools_image.run(*migrations, environment=tool).stdout
        assert "nothing to apply" in tools_image.run(*migrations, environment=tool).stdout
        for name, environment in given.items():
            stack.enter_context(
                functions_image.running(environment=environment, log=tmp_path / name)
            )
        dispatcher = tool | {"TWINUP_DISPATCHER_SINKS": sinks}
        running = tools_image.running(environment=dispatcher, log=tmp_path / "dispatcher")
        check(stack.enter_context(running))
        producing = ("sensor_producer", "configs/producer-config.yaml")
        tools_image.run(*producing, environment=tool | environments("producer") | fresh | state)
        account = settled(tools_image, dispatcher, state["TWINUP_PRODUCER_LEDGER_DIR"])
        letters = tools_image.run("sensor_local.letters", "list", environment=dispatcher)
    assert account["received"] >= READINGS * 0.9, account
    assert (account["in_flight"], account["lost"], account["duplicated"]) == (0, 0, 0), account
    assert account["stored"] > READINGS / 2, account
    assert "no dead letters" in letters.stdout
