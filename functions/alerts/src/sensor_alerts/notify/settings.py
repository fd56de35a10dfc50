"""What notifications read from the environment and `alerts-config.yaml`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from sensor_alerts.notify.backoff import Backoff
from sensor_alerts.notify.routes import email_address
from sensor_alerts.notify.webhook.signature import key_of
from sensor_shared.adapters.mqtt import MqttSettings
from sensor_shared.runtime.settings import Section

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class NotifySettings(Section):
    """Section NOTIFY: what holds for all channels."""

    routes: Path | None = None
    """Who is told of what. Default: `alert-routes.yaml` beside the other configuration."""
    link: str = ""
    """Begin of the link to an alert, e.g. `https://sensors.example.com/alerts`; empty: no link."""
    take_up: Seconds = 10.0
    """Seconds between two looks for what another replica left behind, and for what was held back
    and may go now."""
    hold: Seconds = 86_400.0
    """Seconds after a change in which it is told of late, when nothing holds it back any more."""
    silences: Seconds = 5.0
    """Seconds after which a replica knows of a silence that another one was told of."""

    @field_validator("link")
    @classmethod
    def _is_link(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        return value.rstrip("/")


class ChannelSettings(Section):
    """What every channel has."""

    tries: Count = 20
    """Then it is a dead letter: with the defaults below more than two hours after the first one."""
    backoff: Seconds = 2.0
    """Seconds before the second try; doubles with each further one. Half of it is chance."""
    backoff_max: Seconds = 900.0
    per_minute: Count = 60
    """Messages of this channel, over all replicas; further ones wait."""
    queue: Count = 1_000
    """Notifications that wait in one process; further ones wait in ClickHouse."""
    workers: Count = 2
    """Messages under way at the same time in one process."""
    deadline: Seconds = 30.0
    """Seconds for one try altogether."""

    def waits(self) -> Backoff:
        """Returns how long to wait between tries."""
        return Backoff(self.backoff, self.backoff_max)


class SmtpSettings(ChannelSettings):
    """Section SMTP: the mail server, and who is told of everything."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, le=65_535)] = 25
    security: Literal["none", "starttls", "tls"] = "starttls"
    """The server's certificate and name are always verified."""
    ca_cert: FilePath | None = None
    """PEM file of the authority that signed the server's certificate, if it is no public one."""
    username: str | None = None
    password: SecretStr | None = None
    sender: str = "alerts@localhost"
    recipients: tuple[str, ...] = ()
    """Addresses that are told of everything, whatever the routes say; in the environment with
    commas between."""
    templates: Path | None = None
    """Folder whose templates replace those of the same name, e.g. `alert.html.j2`."""
    timeout: Seconds = 10.0
    """Seconds for each step of the conversation with the server."""
    collect: Annotated[float, Field(ge=0)] = 2.0
    """Seconds to wait for further alerts before mails go out."""
    digest_over: Count = 3
    """More alerts than this at once become one mail with a table."""

    @field_validator("recipients", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("sender", "recipients")
    @classmethod
    def _is_address(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in (value,) if isinstance(value, str) else value:
            email_address(address)
        return value

    @model_validator(mode="after")
    def _login_is_protected(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.username is not None and self.security == "none":
            raise ValueError("a login needs security starttls or tls")
        return self


class WebhookSettings(ChannelSettings):
    """Section WEBHOOK: how endpoints are spoken to; where they are stands in the routes."""

    secrets: dict[str, tuple[SecretStr, ...]] = Field(default_factory=dict, repr=False)
    """By the endpoint's name, one or, while it is exchanged, more: `{"ops": "whsec_…"}` in JSON or
    YAML. There is no default, and they belong into no file of the configuration."""
    ca_cert: FilePath | None = None
    """PEM file of the authority that signed the endpoints' certificates, if it is no public one."""
    deadline: Seconds = 10.0

    @field_validator("secrets", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                value = yaml.safe_load(value) or {}
            except yaml.YAMLError:
                value = None
        if not isinstance(value, dict):
            raise ValueError("must be a mapping of names to secrets")  # noqa: TRY004  (pydantic's)
        return {
            name: (secrets,) if isinstance(secrets, str | SecretStr) else secrets
            for name, secrets in value.items()
        }

    @field_validator("secrets")
    @classmethod
    def _are_keys(cls, value: dict[str, tuple[SecretStr, ...]]) -> dict[str, tuple[SecretStr, ...]]:
        for name, secrets in value.items():
            if not secrets:
                raise ValueError(f"endpoint {name!r} has no secret")
            for secret in secrets:
                key_of(secret.get_secret_value())
        return value


class AlertMqttSettings(MqttSettings, ChannelSettings):
    """Section MQTT: the broker, and how patiently."""

    queue: Count = 10_000
    """Messages that wait in one process; further ones wait in ClickHouse."""
    per_minute: Count = 6_000
    workers: Count = 20
    deadline: Seconds = 10.0
