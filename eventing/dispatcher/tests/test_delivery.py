"""What is retried and when, and what a dead letter says, without a network."""

import base64
from datetime import timedelta

import pytest

from sensor_dispatcher.cloudevents import CloudEvent
from sensor_dispatcher.delivery import Failure, RetryPolicy, dead_letter, kafka_source_retries
from sensor_dispatcher.manifests import Delivery
from sensor_dispatcher.ping import ping_retries

EVENT = CloudEvent({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"data")


@pytest.mark.parametrize("status", range(300, 600))
def test_kafka_source_retries_server_errors_and_four_client_errors(status: int) -> None:
    assert kafka_source_retries(status) == (status >= 500 or status in {404, 408, 409, 429})


def test_ping_source_retries_what_the_cloudevents_sdk_retries() -> None:
    retried = {status for status in range(300, 600) if ping_retries(status)}
    assert retried == {404, 413, 425, 429, 502, 503, 504}


@pytest.mark.parametrize(
    ("backoff", "delays"), [("exponential", [0.6, 1.2, 2.4]), ("linear", [0.3, 0.6, 0.9])]
)
def test_delays_are_those_measured_on_knative(backoff: str, delays: list[float]) -> None:
    """Exponential 300 ms: tries at 0, 0.6 and 1.8 s; linear by the schema's description."""
    delivery = Delivery.model_validate(
        {
            "retry": 3,
            "backoffPolicy": backoff,
            "backoffDelay": "PT0.3S",
            "timeout": "PT1M30S",
            "deadLetterSink": {
                "ref": {
                    "apiVersion": "eventing.knative.dev/v1alpha1",
                    "kind": "KafkaSink",
                    "name": "x",
                }
            },
        }
    )
    policy = RetryPolicy.of(delivery)
    assert [policy.before(n) for n in (1, 2, 3)] == pytest.approx(delays)
    assert policy.timeout == timedelta(seconds=90).total_seconds()


def test_a_dead_letter_says_where_it_failed_and_how() -> None:
    letter = dead_letter(EVENT, Failure("http://example.com", 503, b"x" * 2000))
    assert letter.data == EVENT.data
    assert letter.attributes == {
        **EVENT.attributes,
        "knativeerrordest": "http://example.com",
        "knativeerrorcode": "503",
        "knativeerrordata": base64.b64encode(b"x" * 1024).decode(),
    }


def test_without_an_answer_the_error_is_the_reason_and_no_old_code_stays() -> None:
    old = EVENT.extended({"knativeerrorcode": "400"})
    letter = dead_letter(old, Failure("http://example.com", None, b"refused"))
    assert "knativeerrorcode" not in letter.attributes
    assert base64.b64decode(letter.attributes["knativeerrordata"]) == b"refused"


def test_answer_headers_become_extensions_with_valid_names() -> None:
    headers = {"Kne-Reason": "bad", "kne-error-no": "7", "kne-_": "x", "kne-id": "evil", "x": "y"}
    letter = dead_letter(EVENT, Failure("http://example.com", 400, b"", headers))
    assert letter.attributes["reason"] == "bad"
    assert letter.attributes["errorno"] == "7"
    assert letter.attributes["id"] == "1"
    assert set(letter.attributes) - set(EVENT.attributes) == {
        *("reason", "errorno", "knativeerrordest", "knativeerrorcode", "knativeerrordata")
    }


@pytest.mark.parametrize("name", ["subject", "time", "datacontenttype", "data"])
def test_an_answer_cannot_give_an_event_attributes_of_its_own(name: str) -> None:
    letter = dead_letter(EVENT, Failure("http://example.com", 400, b"", {f"kne-{name}": "x"}))
    assert name not in letter.attributes
