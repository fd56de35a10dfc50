import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from sensor_shared.telemetry.metrics import observe_all


@given(st.lists(st.integers(0, 20).map(float), max_size=30))
def test_many_values_at_once_count_as_one_by_one(values: list[float]) -> None:
    texts = []
    for at_once in (True, False):
        registry = CollectorRegistry()
        histogram = Histogram("h", "h", buckets=(1, 5, 10), registry=registry)
        if at_once:
            observe_all(histogram, np.array(values))
        else:
            for value in values:
                histogram.observe(value)
        text = generate_latest(registry).decode()
        texts.append([line for line in text.splitlines() if "_created" not in line])
    assert texts[0] == texts[1]
