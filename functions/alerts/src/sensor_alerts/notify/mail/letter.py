"""What a mail says: one about a single alert, or one with a table of many."""

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    select_autoescape,
)

from sensor_alerts.domain.notification import News, Notification, rank
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings import UNITS

MAX_ROWS: Final = 200
"""Of a digest."""
NAMES: Final = ("alert.txt.j2", "alert.html.j2", "digest.txt.j2", "digest.html.j2")
"""The templates; those of the same name in a folder of one's own come first."""
IDS: Final = "X-Twinup-Notifications"
"""Header with the ids of what a mail tells, so that a repetition is recognised in any bundle."""

_SUFFIX: Final = {
    News.RAISED: "",
    News.ESCALATED: " (got worse)",
    News.REOPENED: " (again)",
    News.ACKNOWLEDGED: " (acknowledged)",
    News.CLEARED: " (cleared)",
}


class Letters:
    """Makes mails from templates.

    Args:
        sender: the address in From.
        link: begin of the link to an alert; empty: there is none.
        folder: whose templates come before those of this package.

    Raises:
        jinja2.TemplateError: for a template that cannot be used.
    """

    def __init__(self, sender: str, link: str = "", folder: Path | None = None):
        self._sender = sender
        self._domain = sender.rpartition("@")[2]
        own: BaseLoader = PackageLoader("sensor_alerts", "notify/mail/templates")
        self._templates = Environment(
            loader=ChoiceLoader([FileSystemLoader(folder), own] if folder else [own]),
            # Whatever a device or a stranger calls itself stays text in the HTML part.
            autoescape=select_autoescape(("html.j2",)),
            # … and no control character reaches a mail program.
            finalize=lambda value: one_line(value) if isinstance(value, str) else value,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"moment": rfc3339, "quantity": _quantity, "words": _words}
        self._templates.globals["link"] = lambda alert_id: (
            f"{link}/{quote(alert_id, safe='')}" if link else ""
        )
        for name in NAMES:  # mistakes show now, not when somebody is to be told
            self._templates.get_template(name)

    def single(self, one: Notification, now: datetime) -> EmailMessage:
        """Returns the mail about one alert; what follows on it is an answer to the first."""
        alert = one.alert
        subject = (
            f"[{alert.severity}] {alert.device_id}: {_words(alert.alert_type)}{_SUFFIX[one.news]}"
        )
        mail = self._mail("alert", subject, [one], now, one=one, alert=alert, change=one.change)
        mail["References"] = self._id(f"alert\0{alert.alert_id}")
        return mail

    def digest(self, told: Sequence[Notification], now: datetime) -> EmailMessage:
        """Returns one mail about many alerts, each as it is now, the worst first."""
        newest = {
            one.alert.alert_id: one for one in sorted(told, key=lambda one: one.alert.version)
        }
        ordered = sorted(
            newest.values(),
            key=lambda one: (not one.news.opens, -rank(one.alert.severity), one.change.at),
        )
        opened = [one for one in ordered if one.news.opens]
        follow = [one for one in ordered if not one.news.opens]
        parts = [_alerts(opened)] if opened else []
        parts += [f"{len(follow)} cleared or acknowledged"] if follow else []
        worst = ordered[0].alert
        subject = f"[{worst.severity}] {', '.join(parts)}, worst: {worst.device_id}"
        return self._mail("digest", subject, told, now, rows=ordered)

    def _mail(
        self,
        template: str,
        subject: str,
        told: Sequence[Notification],
        now: datetime,
        **content: object,
    ) -> EmailMessage:
        ids = sorted(one.notification_id for one in told)
        mail = EmailMessage()
        # An encoded word (RFC 2047) would be decoded here, line breaks and all, and end the header.
        mail["Subject"] = one_line(subject).replace("=?", "= ?")
        mail["From"] = self._sender
        mail["To"] = told[0].target
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = self._id("\0".join(ids))
        mail["Auto-Submitted"] = "auto-generated"
        mail[IDS] = " ".join(ids)
        content["subject"] = mail["Subject"]
        mail.set_content(self._templates.get_template(f"{template}.txt.j2").render(content))
        page = self._templates.get_template(f"{template}.html.j2").render(content)
        mail.add_alternative(page, subtype="html")
        return mail

    def _id(self, about: str) -> str:
        digest = hashlib.blake2b(about.encode(), digest_size=16).hexdigest()
        return f"<{digest}@{self._domain}>"


def one_line(text: str) -> str:
    """Returns a text without control characters and line breaks: they could end a header."""
    visible = (" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return " ".join("".join(visible).split())


def _alerts(told: Sequence[Notification]) -> str:
    devices = len({one.alert.device_id for one in told})
    return (
        f"{len(told)} alert{'s' if len(told) > 1 else ''} "
        f"on {devices} device{'s' if devices > 1 else ''}"
    )


def _words(name: str) -> str:
    return name.replace("_", " ").lower()


def _quantity(value: float | None, metric: str) -> str:
    if value is None:
        return "-"
    return f"{value:g} {UNITS.get(metric, '')}".rstrip()
