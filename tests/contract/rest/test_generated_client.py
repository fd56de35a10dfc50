"""A client of each service, made by a generator from the document alone, works as it is."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sensor_gateway.alerts.models import ALERT_ID
from sensor_shared.contracts.access import Role

from .services import DEVICE, NAMES, PASSWORD, Services, person

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("rest")]


@pytest.fixture(scope="module")
def clients(services: Services, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The generated packages, which can be imported, by the services' names."""
    folder = tmp_path_factory.mktemp("clients")
    config = folder / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))
    for name in NAMES:
        document = folder / f"{name}.json"
        document.write_text(json.dumps(services.documents[name]))
        done = subprocess.run(
            [
                Path(sys.executable).with_name("openapi-python-client"),
                *("generate", "--path", document, "--output-path", folder / f"{name}_client"),
                *("--meta", "none", "--config", config, "--fail-on-warning"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    return {name: f"{name}_client" for name in NAMES}


def test_it_logs_in_and_reads_devices_metrics_and_alerts(
    services: Services, clients: dict[str, str]
) -> None:
    auth = importlib.import_module(clients["auth"])
    login = _operation(clients["auth"], "session.login")
    credentials = _model(clients["auth"], "Login")(
        username=person(Role.READONLY, 0), password=PASSWORD
    )
    with auth.Client(base_url=services.urls["auth"]) as client:
        pair = login.sync(client=client, body=credentials)
    assert isinstance(pair, _model(clients["auth"], "TokenPair"))

    gateway = importlib.import_module(clients["gateway"])
    with gateway.AuthenticatedClient(
        base_url=services.urls["gateway"], token=pair.access_token, raise_on_unexpected_status=True
    ) as client:
        page = _operation(clients["gateway"], "devices.list_devices").sync(client=client)
        assert [device.device_id for device in page.items] == [DEVICE]
        metrics = _operation(clients["gateway"], "devices.latest_metrics").sync(
            page.items[0].device_id, client=client
        )
        assert (metrics.device_id, metrics.temperature) == (DEVICE, 21.5)
        assert metrics.timestamp.tzinfo is not None
        alerts = _operation(clients["gateway"], "alerts.list_alerts").sync(client=client)
        assert [(alert.alert_id, alert.device_id) for alert in alerts.items] == [(ALERT_ID, DEVICE)]


def test_it_tells_an_error_as_the_problem_that_it_is(
    services: Services, clients: dict[str, str]
) -> None:
    gateway = importlib.import_module(clients["gateway"])
    client = gateway.AuthenticatedClient(base_url=services.urls["gateway"], token="wrong")
    with client:
        problem = _operation(clients["gateway"], "devices.list_devices").sync(client=client)
    assert isinstance(problem, _model(clients["gateway"], "Problem"))
    assert problem.status == 401


def _operation(package: str, name: str) -> Any:
    return importlib.import_module(f"{package}.api.{name}")


def _model(package: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{package}.models"), name)
