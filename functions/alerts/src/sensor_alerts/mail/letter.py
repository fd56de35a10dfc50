"""What a mail says: one about a single alert, or one with a table of many."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.rules import UNITS

_MAX_ROWS: Final = 200


class Letters:
    """Makes mails from the templates of this package.

    Args:
        sender: the address in From.
        recipients: the addresses in To.
    """

    def __init__(self, sender: str, recipients: Sequence[str]):
        self._sender = sender
        self._recipients = recipients
        self._templates = Environment(
            loader=PackageLoader("sensor_alerts", "mail/templates"),
            # Whatever a device or a stranger calls itself stays text in the HTML part.
            autoescape=select_autoescape(("html.j2",)),
            # … and no control character reaches a mail program.
            finalize=lambda value: one_line(value) if isinstance(value, str) else value,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"moment": rfc3339, "quantity": _quantity, "words": _words}

    def single(self, alert: AlertSnapshot, now: datetime) -> EmailMessage:
        """Returns the mail about one alert."""
        subject = f"[{alert.severity}] {alert.device_id}: {_words(alert.alert_type)}"
        return self._mail("alert", subject, now, alert=alert)

    def digest(self, alerts: Sequence[AlertSnapshot], now: datetime) -> EmailMessage:
        """Returns one mail about many alerts, the worst first."""
        ordered = sorted(alerts, key=lambda alert: (-alert.severity.rank, alert.first_at))
        devices = len({alert.device_id for alert in alerts})
        subject = (
            f"[{ordered[0].severity}] {len(alerts)} alerts on {devices} "
            f"device{'s' if devices > 1 else ''}, "
            f"worst: {ordered[0].device_id}"
        )
        shown = ordered[:_MAX_ROWS]
        return self._mail("digest", subject, now, alerts=shown, more=len(ordered) - len(shown))

    def _mail(self, template: str, subject: str, now: datetime, **content: object) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = one_line(subject)
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._recipients)
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        content["subject"] = mail["Subject"]
        mail.set_content(self._templates.get_template(f"{template}.txt.j2").render(content))
        page = self._templates.get_template(f"{template}.html.j2").render(content)
        mail.add_alternative(page, subtype="html")
        return mail


def one_line(text: str) -> str:
    """Returns a text without control characters and line breaks: they could end a header."""
    visible = (" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return " ".join("".join(visible).split())


def _words(name: str) -> str:
    return name.replace("_", " ").lower()


def _quantity(value: float | None, metric: str) -> str:
    if value is None:
        return "-"
    unit = {str(name): unit for name, unit in UNITS.items()}.get(metric, "")
    return f"{value:g} {unit}".rstrip()
