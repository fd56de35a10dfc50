"""Many observations at once, and what the endpoint answers."""

import http.client
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from sensor_producer.endpoint import serve
from sensor_shared.runtime.settings import ServerSettings
from sensor_shared.telemetry.metrics import observe_all


@given(st.lists(st.floats(-10, 1_000) | st.sampled_from([1.0, 5.0, 10.0])))
def test_observing_all_equals_observing_each(values: list[float]) -> None:
    expositions = []
    for at_once in (True, False):
        registry = CollectorRegistry()
        histogram = Histogram("h", "h", buckets=(1, 5, 10), registry=registry)
        if at_once:
            observe_all(histogram, np.array(values))
        else:
            for value in values:
                histogram.observe(value)
        text = generate_latest(registry).decode()
        expositions.append(
            [line for line in text.splitlines() if line.startswith(("h_bucket", "h_count"))]
        )
        assert registry.get_sample_value("h_sum") == pytest.approx(sum(values), abs=1e-6)
    assert expositions[0] == expositions[1]


def answer(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    result = response.status, response.read().decode()
    connection.close()
    return result


def fixed(value: bool) -> Callable[[], bool]:
    return lambda: value


@pytest.mark.parametrize("ready", [True, False])
def test_the_endpoint_answers_metrics_and_health(ready: bool) -> None:
    with serve(ServerSettings(port=0), alive=fixed(True), ready=fixed(ready)) as port:
        assert answer(port, "/health/liveness") == (200, "ok\n")
        assert answer(port, "/health/readiness")[0] == (200 if ready else 503)
        status, text = answer(port, "/metrics")
        assert status == 200
        assert "sensor_producer_messages_produced_total" in text
        assert "sensor_producer_latency_ms_bucket" in text
        assert answer(port, "/else")[0] == 404
    with pytest.raises(ConnectionRefusedError):
        answer(port, "/metrics")


def test_a_taken_port_is_reported_with_the_variable_that_changes_it() -> None:
    with serve(ServerSettings(port=0), alive=fixed(True), ready=fixed(True)) as port:
        again = serve(ServerSettings(port=port), alive=fixed(True), ready=fixed(True))
        with pytest.raises(OSError, match=rf"127.0.0.1:{port} \(TWINUP_SERVER_PORT\)"):
            again.__enter__()
