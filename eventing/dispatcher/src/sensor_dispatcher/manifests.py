"""The fields of Knative's objects that the dispatcher understands; every other one is refused."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    model_validator,
)
from pydantic.alias_generators import to_camel

from sensor_dispatcher.cloudevents import REQUIRED, is_name

_DNS_LABEL = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
_CRON_FIELD = re.compile(r"[\dA-Za-z*/,?-]+")
_CRON_EXTENSIONS = re.compile(r"(^|[,\d])(L|W)|#", re.IGNORECASE)


def _iso_duration(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("P"):
        raise ValueError("must be an ISO 8601 duration, e.g. PT0.3S")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def _cron(schedule: str) -> str:
    """Knative's dialect: five fields, or six with seconds first; no L, W, # and no @every."""
    fields = schedule.split()
    if len(fields) not in (5, 6) or not all(map(_CRON_FIELD.fullmatch, fields)):
        raise ValueError("must be five or six cron fields")
    if any(_CRON_EXTENSIONS.search(field) for field in (fields[-3], fields[-1])):
        raise ValueError("L, W and # are not known to Knative")
    try:
        cron(schedule)
    except CronSimError as error:
        raise ValueError(str(error)) from error
    return schedule


def cron(schedule: str) -> str:
    """Returns the schedule as cronsim reads it (`?` is `*`).

    Raises:
        CronSimError: when it is none.
    """
    expression = schedule.replace("?", "*")
    CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    return expression


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("no such time zone") from error
    return name


def _extension_names(extensions: dict[str, str]) -> dict[str, str]:
    for name in extensions:
        if not is_name(name) or name in REQUIRED:
            raise ValueError(f"{name!r} is no name of an extension attribute")
    return extensions


Duration = Annotated[timedelta, BeforeValidator(_iso_duration), AfterValidator(_positive)]
Name = Annotated[str, Field(pattern=_DNS_LABEL)]
Text = Annotated[str, Field(min_length=1)]


class Manifest(BaseModel):
    """Base: camelCase names as in the files, immutable, unknown fields are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Metadata(Manifest):
    """The object's name; labels and annotations speak to Kubernetes and KEDA alone."""

    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ServiceReference(Manifest):
    """A Knative Service."""

    api_version: Literal["serving.knative.dev/v1"]
    kind: Literal["Service"]
    name: Name


class KafkaSinkReference(Manifest):
    """A KafkaSink of the same folder."""

    api_version: Literal["eventing.knative.dev/v1alpha1"]
    kind: Literal["KafkaSink"]
    name: Name


class Sink(Manifest):
    """Where events go; its address comes from the dispatcher's settings."""

    ref: ServiceReference


class DeadLetterSink(Manifest):
    """Where events go that failed for good."""

    ref: KafkaSinkReference


class Delivery(Manifest):
    """How a KafkaSource retries; nothing has a default, as in Knative once it is there.

    `retryAfterMax` is missing on purpose: the schema has it, Knative's Kafka data plane does not
    (no such field in its contract), so a Retry-After is never waited for.
    """

    retry: Annotated[StrictInt, Field(ge=0)]
    backoff_policy: Literal["exponential", "linear"]
    backoff_delay: Duration
    timeout: Duration
    dead_letter_sink: DeadLetterSink


class CeOverrides(Manifest):
    """Extension attributes for every event."""

    extensions: Annotated[dict[str, str], AfterValidator(_extension_names)] = {}


class KafkaSourceSpec(Manifest):
    """KafkaSource; `bootstrapServers` is the cluster's, the dispatcher has its own setting."""

    bootstrap_servers: Annotated[list[Text], Field(min_length=1)]
    topics: Annotated[list[Text], Field(min_length=1)]
    consumer_group: Text
    consumers: Annotated[StrictInt, Field(ge=1)] = 1
    initial_offset: Literal["earliest", "latest"] = "latest"
    ordering: Literal["unordered"]
    delivery: Delivery
    sink: Sink
    ce_overrides: CeOverrides = CeOverrides()


class KafkaSource(Manifest):
    """Delivers the records of topics to a sink."""

    api_version: Literal["sources.knative.dev/v1"]
    kind: Literal["KafkaSource"]
    metadata: Metadata
    spec: KafkaSourceSpec


class PingSourceSpec(Manifest):
    """PingSource; Knative gives it no `delivery`."""

    schedule: Annotated[str, AfterValidator(_cron)] = "* * * * *"
    timezone: Annotated[str, AfterValidator(_zone)] | None = None
    content_type: Text | None = None
    data: str | None = None
    data_base64: str | None = Field(default=None, alias="dataBase64")
    sink: Sink
    ce_overrides: CeOverrides = CeOverrides()

    @model_validator(mode="after")
    def _one_data(self) -> Self:
        if self.data and self.data_base64:
            raise ValueError("data and dataBase64 exclude each other")
        return self


class PingSource(Manifest):
    """Sends a fixed event by a schedule."""

    api_version: Literal["sources.knative.dev/v1"]
    kind: Literal["PingSource"]
    metadata: Metadata
    spec: PingSourceSpec


class KafkaSinkSpec(Manifest):
    """KafkaSink; the topic must exist."""

    bootstrap_servers: Annotated[list[Text], Field(min_length=1)]
    topic: Text
    content_mode: Literal["binary", "structured"] = "binary"


class KafkaSink(Manifest):
    """Writes events into a topic."""

    api_version: Literal["eventing.knative.dev/v1alpha1"]
    kind: Literal["KafkaSink"]
    metadata: Metadata
    spec: KafkaSinkSpec


KINDS: dict[str, type[KafkaSource] | type[PingSource] | type[KafkaSink]] = {
    "KafkaSource": KafkaSource,
    "PingSource": PingSource,
    "KafkaSink": KafkaSink,
}
