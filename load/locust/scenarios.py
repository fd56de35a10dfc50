"""The users that locust plays: who logs in, who browses, who follows, and who attacks."""

import random
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from requests.adapters import HTTPAdapter

from load.locust.marks import ABUSED, QUIET, WARMING
from locust import HttpUser, between, constant, task

_TIMEOUT: Final = 10
_FOLLOWED_SECONDS: Final = 20
"""So long that three who share an account open no more streams than one may."""
_PAGE: Final = 100
_STRANGER: Final = "127.0.0.2"
"""Attacks come from an address of their own, as far as the machine has it: limits per address must
hit who attacks."""


class Person(HttpUser):
    """Somebody with the admin's account: auth has no other one at first.

    All share one session, so that the limit of sessions does not end that of another.
    """

    abstract = True
    session: dict[str, Any] = {}  # noqa: RUF012  (shared on purpose)

    def named(self, what: str) -> str:
        """The kind of a request and the half of the run that it belongs to."""
        return f"{what} {phase(self.environment)}"

    @property
    def auth(self) -> str:
        """Where auth is."""
        return str(self.environment.parsed_options.auth_url)

    @property
    def credentials(self) -> dict[str, str]:
        """The admin's."""
        return {"username": "admin", "password": self.environment.admin_password}

    @property
    def headers(self) -> dict[str, str]:
        """With the token that all share, made anew a minute before it expires."""
        if self.session.get("until", 0) < time.monotonic():
            self.session["until"] = time.monotonic() + _TIMEOUT  # one asks, the others go on
            pair = self.log_in(self.named("login"))
            self.session.update(token=pair["access_token"])
            self.session["until"] = time.monotonic() + pair["expires_in"] - 60
        while "token" not in self.session:
            time.sleep(0.05)
        return {"Authorization": f"Bearer {self.session['token']}"}

    def log_in(self, name: str) -> dict[str, Any]:
        """Returns a new pair of tokens."""
        answer = self.client.post(
            f"{self.auth}/auth/login", json=self.credentials, name=name, timeout=_TIMEOUT
        )
        answer.raise_for_status()
        pair: dict[str, Any] = answer.json()
        return pair

    def get(self, path: str, what: str, **query: Any) -> Any:
        """Returns the JSON that the gateway answers, None for an error (locust counts it)."""
        answer = self.client.get(
            path, params=query, headers=self.headers, name=self.named(what), timeout=_TIMEOUT
        )
        return answer.json() if answer.ok else None

    def device(self) -> str:
        """Any of the first thousand devices."""
        if not self.environment.devices:
            found = self.get("/api/v1/devices", "devices", page_size=1_000)
            self.environment.devices = [
                item["device_id"] for item in (found or {"items": []})["items"]
            ]
        chosen: str = random.choice(self.environment.devices)  # noqa: S311
        return chosen


class Visitor(Person):
    """Logs in, looks at the own account, logs out; 20 logins a minute are what an address has."""

    fixed_count = 1
    wait_time = between(3, 4)

    @task
    def visit(self) -> None:
        """One visit."""
        token = self.log_in(self.named("login"))["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        for method, path in (("GET", "profile"), ("POST", "logout")):
            self.client.request(
                method,
                f"{self.auth}/auth/{path}",
                headers=headers,
                name=self.named(path),
                timeout=_TIMEOUT,
            )


class Browser(Person):
    """Looks through the fleet and at what devices measure now."""

    weight = 5
    wait_time = between(0.2, 0.8)

    @task(1)
    def page(self) -> None:
        """Any page of the fleet."""
        number = random.randint(1, 100)  # noqa: S311
        self.get("/api/v1/devices", "devices", page=number, page_size=_PAGE)

    @task(4)
    def metrics(self) -> None:
        """Any device."""
        self.get(f"/api/v1/devices/{self.device()}/metrics", "metrics")


class Historian(Person):
    """Looks at what a device has measured in the last hours."""

    weight = 2
    wait_time = between(0.5, 1.5)

    @task
    def history(self) -> None:
        """Up to a day of any device."""
        end = datetime.now(UTC)
        start = end - timedelta(hours=random.choice((1, 6, 24)))  # noqa: S311
        span = {"from": start.isoformat(), "to": end.isoformat()}
        self.get(f"/api/v1/devices/{self.device()}/history", "history", limit=1_000, **span)


class Operator(Person):
    """Looks at the worst alerts, and says of one of them that it is known."""

    fixed_count = 1
    wait_time = between(0.5, 1.5)

    @task
    def look(self) -> None:
        """The simulated devices overheat all the time: there are some seconds after the start."""
        found = self.get("/api/v1/alerts", "alerts", sort="severity", limit=_PAGE)
        for alert in (found or {"items": []})["items"][:1]:
            self.client.post(
                f"/api/v1/alerts/{alert['alert_id']}/acknowledge",
                json={"note": "seen by a load test"},
                headers=self.headers,
                name=self.named("acknowledge"),
                timeout=_TIMEOUT,
            )


class Follower(Person):
    """Follows some devices for a while, by a ticket as a browser does."""

    fixed_count = 3
    wait_time = between(1, 2)

    @task
    def follow(self) -> None:
        """Until the first reading, and some seconds on."""
        made = self.client.post(
            "/api/v1/live/tickets",
            headers=self.headers,
            name=self.named("ticket"),
            timeout=_TIMEOUT,
        )
        if not made.ok:
            return
        query = {"ticket": made.json()["ticket"], "device_id": [self.device() for _ in range(50)]}
        name, started = self.named("live"), time.perf_counter()
        first: float | None = None
        error: Exception | None = None
        try:
            # Locust takes the head of an answer for its end; what counts is told below.
            with self.client.request(
                "GET",
                "/api/v1/live",
                params=query,
                stream=True,
                timeout=_TIMEOUT,
                name="opened",
                catch_response=True,
            ) as answer:
                answer.success()
                answer.raise_for_status()
                for line in answer.iter_lines():
                    now = time.perf_counter() - started
                    if line == b"event: reading" and first is None:
                        first = now
                        self._followed(name, now)
                    if now > _FOLLOWED_SECONDS:
                        break
                answer.close()
            if first is None:
                error = TimeoutError("no reading came")
        except Exception as failure:  # noqa: BLE001  (whatever it is, it counts as failed)
            error = failure
        if error is not None:
            self._followed(name, time.perf_counter() - started, error)

    def _followed(self, name: str, seconds: float, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type="SSE",
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            exception=error,
            context={},
        )


class Attacker(HttpUser):
    """In the second half: wrong tokens, guesses, fragments of SQL, paths that lead out."""

    fixed_count = 3
    wait_time = constant(0.05)

    def on_start(self) -> None:
        """Waits for the second half, and takes an address of its own."""
        source = _source()
        for scheme in ("http://", "https://"):
            self.client.mount(scheme, source)
        while phase(self.environment) != ABUSED:
            time.sleep(0.1)

    @task
    def attack(self) -> None:
        """One of them."""
        auth = self.environment.parsed_options.auth_url
        guess = {"username": f"user{random.randint(1, 9)}", "password": "123456"}  # noqa: S311
        attacks: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", "/api/v1/devices", {}),
            ("GET", "/api/v1/devices", {"headers": {"Authorization": "Bearer a.b.c"}}),
            ("GET", "/api/v1/devices/x' OR '1'='1/history", {}),
            ("GET", "/api/v1/live?ticket=" + "A" * 43, {}),
            ("GET", "/%2e%2e/%2e%2e/etc/passwd", {}),
            ("PUT", "/api/v1/devices", {}),
            ("POST", f"{auth}/auth/login", {"json": guess}),
            ("POST", f"{auth}/auth/login", {"data": b"[" * 10_000}),
            ("POST", f"{auth}/auth/refresh", {"json": {"refresh_token": "a.b.c"}}),
            ("GET", f"{auth}/auth/admin/roles", {}),
        ]
        method, url, more = random.choice(attacks)  # noqa: S311
        what = "guess" if more.get("json") is guess else "abuse"
        with self.client.request(
            method, url, name=f"{what} {ABUSED}", catch_response=True, timeout=_TIMEOUT, **more
        ) as answer:
            if 400 <= (answer.status_code or 0) < 500:
                answer.success()
            else:
                answer.failure(f"answered {answer.status_code}, not 4xx")


class _From(HTTPAdapter):
    def __init__(self, address: str):
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **more)


def _source() -> HTTPAdapter:
    with socket.socket() as probe:
        try:
            probe.bind((_STRANGER, 0))
        except OSError:
            return HTTPAdapter()
    return _From(_STRANGER)


def phase(environment: Any) -> str:
    """The half of the run that this moment belongs to."""
    share = (time.monotonic() - environment.began) / environment.parsed_options.run_time
    if share < 0.1:
        return WARMING
    return QUIET if share < 0.55 else ABUSED
