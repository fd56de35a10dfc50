"""The mailbox: bounded, kept over a restart, shown without running what a mail brings."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from sensor_local.mail import Mailbox, web

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def mail(subject: str) -> bytes:
    return f"Subject: {subject}\r\nTo: a@example.com\r\n\r\nbody of {subject}\r\n".encode()


def fill(mailbox: Mailbox, *subjects: str) -> None:
    for subject in subjects:
        mailbox.add(mail(subject), "from@example.com", ["a@example.com"], NOW)


def subjects(mailbox: Mailbox) -> list[str]:
    return [one["subject"] for one in mailbox.list()]


def test_the_oldest_mails_go_when_there_are_too_many(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, kept=2)
    fill(mailbox, "one", "two", "three")
    assert subjects(mailbox) == ["three", "two"]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".eml", ".eml", ".json", ".json"]


def test_mails_are_there_after_a_restart_and_numbers_go_on(tmp_path: Path) -> None:
    fill(Mailbox(tmp_path), "one")
    again = Mailbox(tmp_path)
    fill(again, "two")
    assert subjects(again) == ["two", "one"]
    assert [one["id"] for one in again.list()] == ["0000000002", "0000000001"]


def browser(mailbox: Mailbox) -> AsyncClient:
    transport = ASGITransport(web(mailbox))
    return AsyncClient(transport=transport, base_url="http://mail.example.com")


async def test_a_mail_is_shown_as_it_came_and_never_as_a_page(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    fill(mailbox, "<script>alert(1)</script>")
    async with browser(mailbox) as client:
        page = (await client.get("/")).text
        answer = await client.get("/messages/0000000001")
        (listed,) = (await client.get("/messages")).json()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert answer.content == mail("<script>alert(1)</script>")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert listed["received_at"] == "2026-01-02T03:04:05.000+00:00"
    assert (listed["from"], listed["to"]) == ("from@example.com", ["a@example.com"])


@pytest.mark.parametrize("name", ["0000000009", "..%2F..%2Fetc%2Fpasswd"])
async def test_an_id_that_is_not_there_is_404_whatever_it_holds(tmp_path: Path, name: str) -> None:
    async with browser(Mailbox(tmp_path)) as client:
        assert (await client.get(f"/messages/{name}")).status_code == 404
