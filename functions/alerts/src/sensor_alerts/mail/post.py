"""Delivery of a mail to the mail server."""

import asyncio
from email.message import EmailMessage

import aiosmtplib

from sensor_alerts.settings import SmtpSettings
from sensor_shared.telemetry.logs import logger


class Post:
    """Hands mails to the mail server, each in a conversation of its own."""

    def __init__(self, settings: SmtpSettings):
        self._settings = settings
        self._log = logger(part="mail")

    async def deliver(self, mail: EmailMessage) -> bool:
        """Tries until the server takes the mail, the tries are used up, or it refuses for good.

        Returns:
            True when the server took it for at least one recipient.
        """
        settings = self._settings
        for attempt in range(1, settings.tries + 1):
            try:
                refused, _ = await self._send(mail)
            except (aiosmtplib.SMTPException, OSError) as error:
                final = _is_final(error) or attempt == settings.tries
                self._log.warning("mail not taken", attempt=attempt, final=final, error=str(error))
                if final:
                    return False
                await asyncio.sleep(settings.backoff * 2 ** (attempt - 1))
            else:
                if refused:
                    self._log.error("recipients refused", recipients=sorted(refused))
                return True
        return False

    async def _send(
        self, mail: EmailMessage
    ) -> tuple[dict[str, aiosmtplib.response.SMTPResponse], str]:
        settings = self._settings
        return await aiosmtplib.send(
            mail,
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            timeout=settings.timeout,
        )


def _is_final(error: Exception) -> bool:
    """A 5xx answer says that the same mail will never be taken."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(one.code >= 500 for one in error.recipients)
    return isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 500
