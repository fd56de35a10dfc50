"""Who is told of what: routes as data, from `alert-routes.yaml`."""

from collections.abc import Iterator
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, NamedTuple, Self
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sensor_alerts.domain.notification import ChannelName, News
from sensor_alerts.domain.scope import Scope
from sensor_shared.contracts import yaml_file
from sensor_shared.contracts.alert_changes import AlertSnapshot

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class Target(NamedTuple):
    """Somebody who is told, by one channel."""

    channel: ChannelName
    address: str


class Endpoint(BaseModel):
    """Where webhooks go; its secrets are `TWINUP_WEBHOOK_SECRETS`, by its name.

    Attributes:
        plain_http: lets the URL be http, for a receiver in the same cluster or machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    url: Annotated[str, Field(max_length=2_000)]
    plain_http: bool = False

    @model_validator(mode="after")
    def _is_a_url(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in (("http", "https") if self.plain_http else ("https",)):
            raise ValueError("url must begin with https:// (plain_http allows http://)")
        if not parts.hostname or parts.username or parts.password or parts.fragment:
            raise ValueError("url must name a host, and neither user nor fragment")
        return self


class Route(BaseModel):
    """Tells its targets of the news about the alerts in its scope.

    Attributes:
        news: kinds that are told.
        email: addresses.
        webhooks: names of endpoints.
        mqtt: topics `alerts/device/{id}` and `alerts/region/{region}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    scope: Scope = Scope()
    news: Annotated[tuple[News, ...], Field(min_length=1)] = tuple(News)
    email: tuple[str, ...] = ()
    webhooks: tuple[Name, ...] = ()
    mqtt: bool = False

    @field_validator("email")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(email_address(one) for one in value)

    @model_validator(mode="after")
    def _tells_somebody(self) -> Self:
        if not (self.email or self.webhooks or self.mqtt):
            raise ValueError(f"route {self.name!r} needs email, webhooks or mqtt")
        return self

    def targets(self, alert: AlertSnapshot) -> Iterator[Target]:
        """Gives everybody whom the route tells of an alert."""
        for address in self.email:
            yield Target(ChannelName.EMAIL, address)
        for name in self.webhooks:
            yield Target(ChannelName.WEBHOOK, name)
        if self.mqtt:
            yield Target(ChannelName.MQTT, f"alerts/device/{_level(alert.device_id)}")
            if alert.region:
                yield Target(ChannelName.MQTT, f"alerts/region/{_level(alert.region)}")


class Routes(BaseModel):
    """All routes; every one that an alert is in the scope of is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoints: tuple[Endpoint, ...] = ()
    routes: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _names_are_right(self) -> Self:
        for what, names in (
            ("endpoints", [endpoint.name for endpoint in self.endpoints]),
            ("routes", [route.name for route in self.routes]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        known = {endpoint.name for endpoint in self.endpoints}
        for route in self.routes:
            if unknown := sorted(set(route.webhooks) - known):
                raise ValueError(f"route {route.name!r}: no endpoint {', '.join(unknown)}")
        return self

    def targets(self, alert: AlertSnapshot, news: News) -> dict[Target, bool]:
        """Returns everybody whom an alert concerns, each once, and whether this news does."""
        found: dict[Target, bool] = {}
        for route in self.routes:
            if route.scope.covers(alert):
                for target in route.targets(alert):
                    found[target] = found.get(target, False) or news in route.news
        return found


class RoutesError(ValueError):
    """The routes file cannot be used; the message names the file and each mistake."""


def load_routes(path: Path) -> Routes:
    """Reads and checks a routes file.

    Raises:
        RoutesError: when the file cannot be read, is no YAML, or breaks the schema.
    """
    return yaml_file.read(path, Routes, RoutesError)


def email_address(text: str) -> str:
    """Returns an address that a mail can go to.

    Raises:
        ValueError: when it is none.
    """
    try:
        domain = Address(addr_spec=text).domain
    except (ValueError, IndexError, MessageError) as error:
        raise ValueError(f"{text!r} is no e-mail address") from error
    if not domain:
        raise ValueError(f"{text!r} is no e-mail address")
    return text


def _level(name: str) -> str:
    """A name as one level of a topic: wildcards, slashes and spaces are %-encoded."""
    return quote(name, safe=":")
