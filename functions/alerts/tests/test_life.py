"""The life of an alert against a plain model of it: any order of breaches, people and clears."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from sensor_alerts.domain import life
from sensor_alerts.domain.alert import Record
from sensor_alerts.domain.life import Outcome, Step
from sensor_shared.contracts.alert_changes import AlertSnapshot, AlertState, ChangeKind
from sensor_shared.contracts.rules import Severity

from .alert_world import NOW, alert

WINDOW_MS = 300_000
SEVERITIES = list(Severity)


def breach(seconds: float, value: float = 96.0, **changes: Any) -> AlertSnapshot:
    """Returns a breach that was measured so many seconds after NOW."""
    at = NOW + timedelta(seconds=seconds)
    return alert(alert_id=f"at {seconds:g}", timestamp=at, value=value, **changes)


def taken(
    current: Record | None, found: AlertSnapshot, *, waits: bool = False
) -> tuple[Outcome, Step]:
    outcome, step = life.take(current, found, waits=waits, window_ms=WINDOW_MS, now=NOW)
    assert step is not None
    return outcome, step


def opened() -> Record:
    return taken(None, breach(0))[1].record


def moment(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_the_first_breach_raises() -> None:
    outcome, step = taken(None, breach(0))
    assert outcome is Outcome.OPENED
    assert step.stored
    assert step.record.open
    assert step.change is not None
    assert (step.change.kind, step.change.severity_before) == (ChangeKind.RAISED, None)


def test_a_rule_that_waits_makes_what_nobody_is_told_of() -> None:
    outcome, step = taken(None, breach(0), waits=True)
    assert (outcome, step.change, step.stored) == (Outcome.PENDING, None, True)
    assert not step.record.open
    assert step.record.live
    again, same = taken(step.record, breach(1), waits=True)
    assert (again, same.stored) == (Outcome.JOINED, False)


def test_what_was_pending_is_raised_as_the_same_alert_and_what_was_dropped_never_comes_back() -> (
    None
):
    pending = taken(None, breach(0), waits=True)[1].record
    step = life.raised(pending, 101.0, moment(30), Severity.HIGH, NOW)
    assert step.record.open
    assert step.change is not None
    assert step.change.kind is ChangeKind.RAISED
    assert (step.record.alert.alert_id, step.record.alert.value) == ("at 0", 101.0)
    over = life.dropped(pending, moment(5), NOW).record
    assert taken(over, breach(4), waits=True)[0] is Outcome.REPEATED
    outcome, anew = taken(over, breach(6), waits=True)
    assert (outcome, anew.record.alert.alert_id) == (Outcome.PENDING, "at 6")


def test_a_worse_breach_changes_the_severity_at_once_and_a_milder_one_does_not() -> None:
    worse = taken(opened(), breach(1, 111.0))[1]
    assert worse.change is not None
    assert (worse.change.kind, worse.change.severity_before) == (
        ChangeKind.UPDATED,
        Severity.MEDIUM,
    )
    assert worse.record.alert.severity is Severity.CRITICAL
    milder = taken(worse.record, breach(2, 91.0))[1]
    assert (milder.change, milder.stored, milder.record.dirty) == (None, False, True)
    assert milder.record.alert.severity is Severity.CRITICAL
    assert (milder.record.alert.value, milder.record.alert.count) == (91.0, 3)


@pytest.mark.parametrize(
    ("after", "outcome"),
    [
        (-301, Outcome.LATE),
        (-300, Outcome.REPEATED),
        (30, Outcome.REPEATED),
        (60, Outcome.REPEATED),
        (60.001, Outcome.REOPENED),
        (360, Outcome.REOPENED),
        (360.001, Outcome.OPENED),
    ],
)
def test_what_a_breach_is_to_an_alert_that_was_over_a_minute_after_it_began(
    after: float, outcome: Outcome
) -> None:
    over = life.cleared(opened(), "system", moment(60), NOW).record
    found, _ = life.take(over, breach(after), waits=False, window_ms=WINDOW_MS, now=NOW)
    assert found is outcome


def test_an_alert_that_is_open_again_is_the_same_one_and_nobody_has_acknowledged_it() -> None:
    known = life.acknowledged(opened(), "ann", NOW).record
    over = life.cleared(known, "ann", moment(60), NOW).record
    record = taken(over, breach(61))[1].record
    assert record.open
    assert (record.alert.alert_id, record.alert.count) == ("at 0", 2)
    assert (record.alert.acknowledged, record.alert.cleared_at) == (False, None)


def test_what_is_done_is_not_done_again() -> None:
    known = life.acknowledged(opened(), "ann", NOW).record
    again = life.acknowledged(known, "bob", NOW)
    assert (again.change, again.record.alert.acknowledged_by) == (None, "ann")
    over = life.cleared(known, "ann", moment(9), NOW).record
    assert life.cleared(over, "bob", moment(99), NOW) == Step(over)


def test_what_came_too_late_is_recorded_as_over() -> None:
    step = life.late(breach(-9_000), NOW)
    assert step.change is not None
    assert step.change.kind is ChangeKind.RAISED
    assert (step.record.alert.state, step.record.open) == (AlertState.CLEARED, False)


class OneSubject(RuleBasedStateMachine):
    """One device and rule, its breaches in any order and any number of times."""

    breaches = Bundle("breaches")

    @initialize()
    def begin(self) -> None:
        self.current: Record | None = None
        self.changes: list[Any] = []
        self.opened: set[str] = set()

    def follow(self, step: Step | None) -> None:
        if step is None:
            return
        if step.change is not None:
            self.changes.append(step.change)
        self.current = step.record

    @rule(
        target=breaches,
        second=st.integers(0, 2_000),
        value=st.sampled_from([90.5, 96.0, 101.0, 120.0]),
    )
    def measured(self, second: int, value: float) -> AlertSnapshot:
        return breach(second, value)

    @rule(found=breaches)
    def arrives(self, found: AlertSnapshot) -> None:
        before = self.current
        outcome, step = life.take(before, found, waits=False, window_ms=WINDOW_MS, now=NOW)
        if step is not None:
            self.follow(step)
            # The same again, and anything measured earlier, changes nothing.
            again, same = life.take(self.current, found, waits=False, window_ms=WINDOW_MS, now=NOW)
            assert again in (Outcome.REPEATED, Outcome.LATE)
            assert same is None or (same.record == self.current and same.change is None)
        else:
            assert before is not None
            assert outcome is Outcome.LATE

    @rule(second=st.integers(0, 2_000))
    def a_good_reading_is_found(self, second: int) -> None:
        """The sweep looks only at readings that are newer than the last breach."""
        if self.current is not None and moment(second) > self.current.alert.last_at:
            last = self.current.alert.last_at
            self.follow(life.cleared(self.current, "system", moment(second), NOW))
            assert self.current.alert.cleared_at is None or self.current.alert.cleared_at > last

    @rule(who=st.sampled_from(["ann", "bob"]))
    def is_acknowledged(self, who: str) -> None:
        if self.current is not None:
            self.follow(life.acknowledged(self.current, who, NOW))

    @rule()
    def a_sweep_writes_what_joined(self) -> None:
        if self.current is not None and self.current.open and self.current.dirty:
            self.follow(life.updated(self.current, NOW))
            assert not self.current.dirty

    @invariant()
    def versions_rise_and_kinds_follow_each_other(self) -> None:
        state: dict[str, AlertState] = {}
        version: dict[str, int] = {}
        for change in getattr(self, "changes", []):
            id_ = change.alert.alert_id
            assert change.alert.version > version.get(id_, 0)
            version[id_] = change.alert.version
            match change.kind:
                case ChangeKind.RAISED:
                    assert id_ not in state
                    assert AlertState.OPEN not in state.values(), "one open alert at a time"
                case ChangeKind.REOPENED:
                    assert state[id_] is AlertState.CLEARED
                case ChangeKind.CLEARED | ChangeKind.UPDATED:
                    assert state[id_] is AlertState.OPEN
            state[id_] = change.alert.state
        current = getattr(self, "current", None)
        if current is not None:
            assert state[current.alert.alert_id] is current.alert.state

    @invariant()
    def moments_are_in_order(self) -> None:
        current = getattr(self, "current", None)
        if current is not None:
            one = current.alert
            assert one.first_at <= one.last_at
            assert one.cleared_at is None or one.cleared_at >= one.last_at


TestOneSubject = OneSubject.TestCase
TestOneSubject.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.permutations([(0, 96.0), (1, 101.0), (2, 111.0), (3, 97.0)]))
def test_after_the_newest_breach_the_last_value_is_its_own_whatever_came_before(
    order: list[tuple[int, float]],
) -> None:
    current: Record | None = None
    for second, value in order:
        current = taken(current, breach(second, value))[1].record
    assert current is not None
    assert (current.alert.value, current.alert.last_at) == (97.0, moment(3))
