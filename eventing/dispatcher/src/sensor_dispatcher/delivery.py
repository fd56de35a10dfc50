"""Delivery of one event by HTTP: what is retried, when, and what a failure was."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sensor_dispatcher.client import KEPT_BYTES, Client
from sensor_dispatcher.cloudevents import CloudEvent, to_name
from sensor_dispatcher.manifests import Delivery

_ERROR = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")
_NOT_ADDED = ("", "data", "subject", "time", "datacontenttype")
"""Names that an answer cannot give to an event that has none of them."""

Sleep = Callable[[float], Awaitable[None]]


def kafka_source_retries(status: int) -> bool:
    """Tells whether a KafkaSource tries again after this status."""
    return status >= 500 or status in (404, 408, 409, 429)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again. Times in seconds; there is no jitter, as in Knative."""

    retries: int
    backoff: Literal["exponential", "linear"]
    delay: float
    timeout: float
    """Of each try."""
    retries_status: Callable[[int], bool] = kafka_source_retries

    @classmethod
    def of(cls, delivery: Delivery) -> "RetryPolicy":
        """Returns the policy of a KafkaSource."""
        return cls(
            delivery.retry,
            delivery.backoff_policy,
            delivery.backoff_delay.total_seconds(),
            delivery.timeout.total_seconds(),
        )

    def before(self, retry: int) -> float:
        """Returns the pause before the n-th retry, n from 1."""
        factor: int = 2**retry if self.backoff == "exponential" else retry
        return self.delay * factor


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event could not be delivered: the last answer, or the error instead of one."""

    destination: str
    status: int | None
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def dead_letter(event: CloudEvent, failure: Failure) -> CloudEvent:
    """Returns the event with the attributes that say why it failed.

    Knative adds the code and the data of an answer. When there was no answer, the data is the
    error's text, so that a dead letter never comes without a reason. Answer headers `kne-x`
    become extensions `x` that never replace what the event had; a name that would be no
    extension's loses the characters that are wrong with it (Knative blocks the record for good
    over one).
    """
    found: dict[str, str] = {}
    for header, value in failure.headers.items():
        if header.lower().startswith("kne-") and (name := to_name(header[4:])) not in _NOT_ADDED:
            found[name] = value
    found |= {name: value for name, value in event.attributes.items() if name not in _ERROR}
    found["knativeerrordest"] = failure.destination
    if failure.status is not None:
        found["knativeerrorcode"] = str(failure.status)
    found["knativeerrordata"] = base64.b64encode(failure.data[:KEPT_BYTES]).decode()
    return CloudEvent(found, event.data)


class Sender:
    """Sends events to one destination."""

    def __init__(self, destination: str, policy: RetryPolicy, sleep: Sleep = asyncio.sleep):
        self.destination = destination
        self._client = Client(destination)
        self._policy = policy
        self._sleep = sleep

    async def send(
        self,
        headers: Mapping[str, str],
        body: bytes | None,
        on_retry: Callable[[Failure], None],
    ) -> Failure | None:
        """Tries until it is delivered or given up; returns the last failure, None for success."""
        retry = 0
        while True:
            failure = await self._try(headers, body)
            if failure is None or not self._again(failure, retry):
                return failure
            retry += 1
            on_retry(failure)
            await self._sleep(self._policy.before(retry))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _again(self, failure: Failure, retries: int) -> bool:
        worth_it = failure.status is None or self._policy.retries_status(failure.status)
        return worth_it and retries < self._policy.retries

    async def _try(self, headers: Mapping[str, str], body: bytes | None) -> Failure | None:
        # No redirect is followed. Knative follows a 303 by GET and takes its answer for success,
        # which loses the event; here every 3xx is a failure.
        try:
            answer = await self._client.post(headers, body, self._policy.timeout)
        except TimeoutError:
            text = f"no answer within {self._policy.timeout:g} s"
            return Failure(self.destination, None, text.encode())
        except OSError as error:
            text = f"{type(error).__name__}: {error}"
            return Failure(self.destination, None, text.encode())
        if 200 <= answer.status < 300:
            return None
        return Failure(self.destination, answer.status, answer.body, answer.headers)
