"""What mails say, and that nothing in an alert can make them say something else."""

from datetime import timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from sensor_alerts.domain.notification import Notification
from sensor_alerts.notify.mail.letter import IDS, Letters
from sensor_shared.contracts.alert_changes import ChangeKind
from sensor_shared.contracts.rules import Severity

from .notify_world import AT, change, notification, read

LINK = "https://sensors.example.com/alerts"
LETTERS = Letters("alerts@example.com", LINK)
HEADERS = {
    *("Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "References", IDS),
    *("MIME-Version", "Content-Type"),
}
EVIL = "x</td><script>alert(1)</script>\r\nBcc: everyone@example.com\r\n\r\nother body\x1b[2J"


def received(mail: EmailMessage) -> EmailMessage:
    """Returns it as a mail program gets it, after a way over the wire."""
    return read(mail.as_bytes(policy=policy.SMTP))


def parts(mail: EmailMessage) -> tuple[str, str]:
    """Returns text and HTML."""
    text, html = received(mail).get_body(("plain",)), received(mail).get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def told(kind: ChangeKind = ChangeKind.RAISED, **fields: Any) -> Notification:
    return notification(change(kind, **fields))


def test_a_mail_says_how_bad_what_and_where_with_a_link() -> None:
    mail = LETTERS.single(told(severity=Severity.CRITICAL, value=111.5), AT)
    assert mail["Subject"] == "[CRITICAL] industrial_sensor_000007: temperature high"
    assert mail["To"] == "one@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    for content in parts(mail):
        for said in ("CRITICAL", "industrial_sensor_000007", "111.5 °C", "90 °C", "west"):
            assert said in content
        assert "2026-11-23T12:00:00.000Z" in content
        assert f"{LINK}/first" in content


def test_without_a_base_there_is_no_link() -> None:
    for content in parts(Letters("alerts@example.com").single(told(), AT)):
        assert "http" not in content


def test_an_alert_without_a_value_has_a_mail_too() -> None:
    text, _ = parts(LETTERS.single(told(value=None, threshold=None, metric=""), AT))
    assert "Measured:   -" in text


@pytest.mark.parametrize(
    ("one", "subject", "said"),
    [
        (
            told(ChangeKind.CLEARED, cleared_by="system"),
            "(cleared)",
            "2026-11-23T12:00:00.000Z by system",
        ),
        (
            told(ChangeKind.ACKNOWLEDGED, acknowledged_by="ayse", note="on my way"),
            "(acknowledged)",
            "on my way",
        ),
        (told(ChangeKind.UPDATED, before=Severity.LOW), "(got worse)", "LOW"),
        (told(ChangeKind.REOPENED), "(again)", "96 °C"),
        (told(members=1_200), "temperature high", "1200"),
    ],
)
def test_what_follows_is_told_with_who_and_when(one: Notification, subject: str, said: str) -> None:
    mail = LETTERS.single(one, AT)
    assert mail["Subject"].startswith("[MEDIUM] industrial_sensor_000007: temperature high")
    assert subject in mail["Subject"]
    for content in parts(mail):
        assert said in content


def test_the_same_notification_is_the_same_message_and_an_alert_is_one_conversation() -> None:
    raised, cleared = told(), told(ChangeKind.CLEARED, version=2)
    first, again = LETTERS.single(raised, AT), LETTERS.single(raised, AT + timedelta(hours=1))
    answer = LETTERS.single(cleared, AT)
    assert first["Message-ID"] == again["Message-ID"] != answer["Message-ID"]
    assert first["References"] == answer["References"] is not None
    assert first[IDS] == raised.notification_id


@pytest.mark.parametrize(
    "field", ["message", "device_id", "region", "alert_id", "cleared_by", "rule_id", "metric"]
)
@pytest.mark.parametrize("many", [False, True], ids=["single", "digest"])
@pytest.mark.parametrize("kind", [ChangeKind.RAISED, ChangeKind.CLEARED])
def test_nothing_in_an_alert_can_add_a_header_or_markup(
    field: str, many: bool, kind: ChangeKind
) -> None:
    """Also what validation keeps out before: a mail must not depend on it."""
    fields: dict[str, Any] = {field: EVIL}
    evil = notification(change(kind, note=EVIL, **fields), target="one@example.com")
    mail = LETTERS.digest([evil, told(alert_id="two")], AT) if many else LETTERS.single(evil, AT)
    got = received(mail)
    assert got["Bcc"] is None
    assert got["To"] == "one@example.com"
    assert "\n" not in got["Subject"]
    text, html = parts(mail)
    assert "<script>" not in html
    assert "\x1b" not in html + text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300))
@example("=?utf-8?q?x=0D=0ABcc:_everyone@example.com?=")
@example("=?utf-8?b?eA0KQmNjOiBldmVyeW9uZUBleGFtcGxlLmNvbQ==?=")
@example("x\x85Bcc: everyone@example.com\u2028Bcc: everyone@example.com")
def test_whatever_a_device_is_called_the_headers_are_those_of_a_mail(text: str) -> None:
    one = notification(change(device_id=text, message=text, region=text, alert_id=text))
    for mail in (LETTERS.single(one, AT), LETTERS.digest([one, told(alert_id="two")], AT)):
        lines = mail.as_bytes(policy=policy.SMTP).partition(b"\r\n\r\n")[0]
        names = [line.partition(b":")[0] for line in lines.split(b"\r\n") if line[:1] != b" "]
        assert {name.decode() for name in names} <= HEADERS
        assert len(set(names)) == len(names)
        assert received(mail)["To"] == "one@example.com"


def test_a_digest_has_each_alert_once_as_it_is_now_and_the_worst_first() -> None:
    many = [told(alert_id=f"a{n}", device_id=f"d{n:03d}") for n in range(50)]
    many.append(
        told(
            ChangeKind.UPDATED,
            alert_id="a23",
            device_id="d023",
            version=2,
            severity=Severity.CRITICAL,
        )
    )
    many.append(told(ChangeKind.CLEARED, alert_id="a24", device_id="d024", version=2))
    mail = LETTERS.digest(many, AT)
    assert mail["Subject"] == (
        "[CRITICAL] 49 alerts on 49 devices, 1 cleared or acknowledged, worst: d023"
    )
    _, html = parts(mail)
    assert html.count("<tr>") == 50
    assert html.index("d023") < html.index("d000")
    assert f'href="{LINK}/a23"' in html
    assert set(received(mail)[IDS].split()) == {one.notification_id for one in many}


def test_a_template_of_ones_own_comes_before_the_one_here(tmp_path: Path) -> None:
    (tmp_path / "alert.txt.j2").write_text("ALARM {{ alert.device_id }}", encoding="utf-8")
    text, html = parts(Letters("alerts@example.com", LINK, tmp_path).single(told(), AT))
    assert text.strip() == "ALARM industrial_sensor_000007"
    assert "<table" in html, "the other one is still the one here"


def test_a_template_that_cannot_be_used_shows_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "digest.html.j2").write_text("{% for %}", encoding="utf-8")
    with pytest.raises(TemplateError):
        Letters("alerts@example.com", LINK, tmp_path)


def test_a_link_holds_whatever_an_alert_is_called() -> None:
    one = notification(change(alert_id="a/b?c d"))
    text, _ = parts(LETTERS.single(one, AT))
    assert f"{LINK}/a%2Fb%3Fc%20d" in text
    assert msgspec.json.encode(one.change)
