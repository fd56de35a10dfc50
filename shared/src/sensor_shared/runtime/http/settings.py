"""What both REST services are told: sections SERVER, LIMITS and CORS."""

from typing import Annotated

from pydantic import Field, field_validator

from sensor_shared.adapters.bucket import Policy
from sensor_shared.runtime.settings import Section, ServerSettings

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]


class RestServerSettings(ServerSettings):
    """Section SERVER of a REST service."""

    max_body_bytes: Positive = 16 * 1024
    body_seconds: Rate = 10.0
    hsts_seconds: Annotated[int, Field(ge=0)] = 0
    """max-age of Strict-Transport-Security; 0: not sent. For a service reached by TLS alone."""


class LimitSettings(Section):
    """Section LIMITS: buckets of tokens. `burst` is what a full one holds, the other its gain."""

    user_burst: Positive = 500
    user_per_second: Rate = 100.0
    """Of one user, or of one API key."""
    export_burst: Positive = 10
    export_per_minute: Rate = 10.0
    """Exports and live streams of one user or key."""
    address_burst: Positive = 2_000
    address_per_second: Rate = 400.0
    """Of one client address, whoever comes from it, and with which token."""
    login_burst: Positive = 20
    login_per_minute: Rate = 20.0
    """Logins from one address."""
    refresh_burst: Positive = 60
    refresh_per_minute: Rate = 60.0
    """Refreshes from one address."""
    ahead: Annotated[int, Field(ge=1)] = 50
    """Tokens that a replica may take in advance for a user, key or address that keeps asking."""

    def policies(self) -> dict[str, Policy]:
        """Returns the kinds of buckets by their names."""
        found = (
            Policy("user", self.user_burst, self.user_per_second, self.ahead),
            Policy("export", self.export_burst, self.export_per_minute / 60),
            Policy("address", self.address_burst, self.address_per_second, self.ahead),
            Policy("login", self.login_burst, self.login_per_minute / 60),
            Policy("refresh", self.refresh_burst, self.refresh_per_minute / 60),
        )
        return {policy.name: policy for policy in found}


class CorsSettings(Section):
    """Section CORS: whose pages may call the service from a browser. Nobody's by default."""

    origins: str = ""
    """Origins by commas, e.g. `https://dashboard.example.com`; `*`: everybody's."""
    max_age: Annotated[int, Field(ge=0)] = 600
    """Seconds that a browser keeps the answer to a preflight."""

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in cls.model_construct(origins=value).listed():
            scheme, _, host = origin.partition("://")
            if origin != "*" and (scheme not in {"http", "https"} or not host or "/" in host):
                raise ValueError(f"{origin!r} is no origin: scheme://host, without a path")
        return value

    def listed(self) -> list[str]:
        """Returns the origins."""
        return [origin.strip() for origin in self.origins.split(",") if origin.strip()]
