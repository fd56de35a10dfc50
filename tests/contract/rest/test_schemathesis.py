"""Requests that schemathesis makes of the documents: one by one, and in sequences.

All of its checks but those that `excluded` names with their reasons, with requests that keep to the
document and requests that do not; the same ones in every run.
"""

import contextlib
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import GenerationMode
from schemathesis.core.errors import NoLinksFound
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
    use_after_free,
)

from sensor_shared.contracts.access import Role

from .services import NAMES, Services, bearer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("rest")]
STREAM = "text/event-stream"
SHORT = settings(
    max_examples=15,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ENDS_SESSIONS = ("logout", "password", "sessions", "users")
"""Words in the path of what may end its caller's session: each call has a session of its own."""
BEYOND_SCHEMAS = {
    **dict.fromkeys(("from", "to"), "one comes before the other, and not too long before"),
    **dict.fromkeys(("after", "cursor"), "what a place is made of"),
    "expires_at": "when a key may end",
    **dict.fromkeys(("starts_at", "ends_at"), "which of them comes first, and what is over"),
    "recurrence": "which times of a calendar and which zones there are",
    **dict.fromkeys(("password", "new_password"), "what a good password is"),
    **dict.fromkeys(
        ("/api/v1/silences reason", "/api/v1/alerts/{alert_id}/silence reason"),
        "that a silence ends once: after some minutes or at a moment",
    ),
    **dict.fromkeys(
        ("/api/v1/silences/{silence_id} scope", "/api/v1/silences/{silence_id} reason"),
        "that one of them is more than null",
    ),
    "/api/v1/latest device_id": "that ids and filters exclude each other",
}
"""What a request has that no schema can tell right from wrong, and what it would have to say.
Such a request may be refused although it keeps to the document."""
ANY_WORD = {
    "region": "in a query a number and a truth are words as well, and any word may be a region"
}
"""What a query has that may be taken although it does not keep to the document."""


def load(services: Services, name: str) -> Any:
    schema = schemathesis.openapi.from_dict(services.documents[name])
    schema.config.update(base_url=services.urls[name])
    # Parameters that the document does not name are ignored, as everywhere on the web.
    schema.config.generation.update(allow_extra_parameters=False)
    # What does not keep to the document may be too large as well.
    rejected = schema.config.checks.negative_data_rejection
    rejected.expected_statuses = [*rejected.expected_statuses, "413", "414"]
    # A stream does not end, and its client waits for the end: tests of its own read it.
    return schema.exclude(func=lambda context: STREAM in str(context.operation.definition.raw))


def excluded(case: Any) -> list[Any]:
    names, path, found = sent(case.query) | sent(case.body), case.operation.path, []
    if BEYOND_SCHEMAS.keys() & {*names, *(f"{path} {name}" for name in names)}:
        found.append(positive_data_acceptance)
    if ANY_WORD.keys() & sent(case.query):
        found.append(negative_data_rejection)
    # Whose sessions were ended still has a list of them, which is empty.
    return [*found, use_after_free] if path.endswith("/sessions") else found


def sent(part: Any) -> set[str]:
    return set(part) if isinstance(part, dict) else set()


def credentials(services: Services, operation: Any, session: dict[str, str]) -> dict[str, str]:
    ends = any(word in operation.path for word in ENDS_SESSIONS)
    return bearer(services.log_in(Role.ADMIN).access) if ends else session


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_is_asked_the_answer_is_one_that_the_document_tells(
    services: Services, name: str, mode: GenerationMode
) -> None:
    session = bearer(services.log_in(Role.ADMIN).access)
    for result in load(services, name).get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
            continue

        @SHORT
        @given(operation.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            headers = credentials(services, case.operation, session)
            case.call_and_validate(headers=headers, excluded_checks=excluded(case))

        call()


@pytest.mark.parametrize("name", NAMES)
def test_sequences_of_requests_are_answered_as_the_document_tells(
    services: Services, name: str
) -> None:
    """What one operation answers is what others are called with."""
    machine = load(services, name).as_state_machine()

    class Caller(machine):  # type: ignore[misc, valid-type]
        def setup(self) -> None:
            self.session = bearer(services.log_in(Role.ADMIN).access)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": credentials(services, case.operation, self.session)}

        def validate_response(self, response: Any, case: Any, *_more: Any, **kwargs: Any) -> None:
            case.validate_response(
                response,
                excluded_checks=excluded(case),
                transport_kwargs=kwargs,
                recorder=getattr(self, "recorder", None),
            )

    try:
        _run(Caller)
    except NoLinksFound:
        # Nothing that one operation answers names what another one is called with.
        assert "{" not in "".join(services.documents[name]["paths"])


def _run(machine: Any) -> None:
    """Runs a machine to its end.

    Hypothesis gives up where a sequence that it tries again goes on otherwise than before. A
    service keeps what the first try has left and may answer so; then all begins again, five times
    at most.
    """
    for _ in range(5):
        with contextlib.suppress(FlakyStrategyDefinition):
            machine.run(settings=SHORT)
            return
    machine.run(settings=SHORT)


def _can_be_wrong(operation: Any) -> bool:
    return bool(operation.query or operation.path_parameters or operation.body)
