"""The channel webhook: a signed POST of the change to a configured endpoint."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import aiohttp

from sensor_alerts.domain.notification import Notification
from sensor_alerts.notify.channel import NotDeliveredError
from sensor_alerts.notify.message import encode
from sensor_alerts.notify.routes import Endpoint, RoutesError
from sensor_alerts.notify.settings import WebhookSettings
from sensor_alerts.notify.webhook import signature

_MAX_ANSWER_BYTES: Final = 1_024
_MAX_HEADER_BYTES: Final = 8_192
_USER_AGENT: Final = "twinup-alerts/1"
_LATER: Final = frozenset({408, 425, 429})
"""Client errors that say nothing against the request itself."""


class Webhook:
    """Posts to endpoints; see `sensor_alerts.notify.channel.Channel`.

    No redirect is followed: what is signed for one address goes to no other. Only the beginning of
    an answer is read. 2xx is taken; 410 and other 4xx are final, but for those that ask for
    patience; all else is tried again.

    Args:
        settings: secrets, time limits.
        endpoints: where to.
        clock: epoch seconds.

    Raises:
        RoutesError: when an endpoint has no secret.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        endpoints: Sequence[Endpoint],
        *,
        clock: Callable[[], float] = time.time,
    ):
        if bare := sorted({one.name for one in endpoints} - settings.secrets.keys()):
            raise RoutesError(f"endpoints without a secret (TWINUP_WEBHOOK_SECRETS): {bare}")
        self._settings = settings
        self._endpoints = {one.name: one for one in endpoints}
        self._keys: Mapping[str, list[bytes]] = {
            name: [signature.key_of(secret.get_secret_value()) for secret in secrets]
            for name, secrets in settings.secrets.items()
        }
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Opens the pool of connections."""
        context = await asyncio.to_thread(
            ssl.create_default_context,
            cafile=str(self._settings.ca_cert) if self._settings.ca_cert else None,
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=self._settings.workers),
            timeout=aiohttp.ClientTimeout(total=self._settings.deadline),
            headers={"User-Agent": _USER_AGENT, "Content-Type": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def deliver(self, target: str, told: Sequence[Notification]) -> None:
        """Posts one notification.

        Raises:
            NotDeliveredError: with what the endpoint answered.
        """
        if self._session is None:
            raise RuntimeError("not open")
        endpoint = self._endpoints.get(target)
        if endpoint is None:
            raise NotDeliveredError("no such endpoint any more", final=True)
        (one,) = told
        payload = encode(one)
        signed = signature.headers(
            self._keys[target], one.notification_id, int(self._clock()), payload
        )
        try:
            async with self._session.post(
                endpoint.url, data=payload, headers=signed, allow_redirects=False
            ) as answer:
                said = await answer.content.read(_MAX_ANSWER_BYTES)
                if not 200 <= answer.status < 300:
                    raise _refused(answer, said)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotDeliveredError(str(error) or type(error).__name__) from error


def _refused(answer: aiohttp.ClientResponse, said: bytes) -> NotDeliveredError:
    status = answer.status
    after = answer.headers.get("Retry-After", "")
    return NotDeliveredError(
        f"{status}: {said[:200].decode('utf-8', 'replace')}".rstrip(": "),
        final=400 <= status < 500 and status not in _LATER,
        after=float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0,
    )
