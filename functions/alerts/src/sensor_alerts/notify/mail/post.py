"""The channel e-mail: a conversation with the mail server for each message."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage

import aiosmtplib

from sensor_alerts.domain.notification import Notification
from sensor_alerts.notify.channel import NotDeliveredError
from sensor_alerts.notify.mail.letter import Letters
from sensor_alerts.notify.settings import SmtpSettings


class Post:
    """Writes to one address; see `sensor_alerts.notify.channel.Channel`."""

    def __init__(
        self,
        settings: SmtpSettings,
        letters: Letters,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._settings = settings
        self._letters = letters
        self._now = now

    async def open(self) -> None:
        """Opens nothing: each message has a conversation of its own."""

    async def close(self) -> None:
        """Closes nothing."""

    async def deliver(self, target: str, told: Sequence[Notification]) -> None:  # noqa: ARG002  (the letters have it)
        """Hands a mail to the server: about one alert, or a table of many.

        Raises:
            NotDeliveredError: final when the server refuses this mail for good (5xx).
        """
        now = self._now()
        mail = self._letters.single(told[0], now) if len(told) == 1 else None
        try:
            await self._send(mail or self._letters.digest(told, now))
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotDeliveredError(_said(error), final=_is_final(error)) from error

    async def _send(self, mail: EmailMessage) -> None:
        settings = self._settings
        await aiosmtplib.send(
            mail,
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            validate_certs=True,
            cert_bundle=str(settings.ca_cert) if settings.ca_cert else None,
            timeout=settings.timeout,
        )


def _said(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return "; ".join(f"{one.code} {one.message}" for one in error.recipients)
    return str(error) or type(error).__name__


def _is_final(error: Exception) -> bool:
    """A 5xx answer to the mail says that the same one will never be taken.

    One to the login speaks of this service's settings, which are put right, not of the mail.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(one.code >= 500 for one in error.recipients)
    return (
        isinstance(error, aiosmtplib.SMTPSenderRefused | aiosmtplib.SMTPDataError)
        and error.code >= 500
    )
