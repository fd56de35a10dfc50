"""What the stored readings of a device say about its open or pending alert. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sensor_shared.contracts.rules import AlertRule, Severity

CALM_MS: Final = 60_000
"""An alert becomes less severe when no reading of this time, by event time, was as bad."""

Reading = tuple[int, float]
"""When it was measured, epoch milliseconds, and the value of the rule's metric."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done.

    Attributes:
        kind: raise or drop what is pending, clear or ease what is open; keep: nothing.
        at_ms: when the reading that decides was measured.
        value: of that reading.
        severity: that holds from now on.
    """

    kind: Literal["raise", "drop", "clear", "ease", "keep"]
    at_ms: int = 0
    value: float = 0.0
    severity: Severity = Severity.LOW


KEEP: Final = Verdict("keep")


def of_pending(rule: AlertRule, readings: Sequence[Reading]) -> Verdict:
    """Looks for a run of breaches that is long enough in time and in number.

    Args:
        rule: with a threshold on single values.
        readings: those with a value since the first breach, in the order of their time.
    """
    started = count = 0
    held: Verdict | None = None
    worst = Severity.LOW
    for at_ms, value in readings:
        if rule.excess(value) <= 0:
            if held is not None:
                break  # long enough already; whether it goes on is the next sweep's matter
            count = 0
            continue
        if count == 0:
            started, worst = at_ms, Severity.LOW
        count += 1
        worst = max(worst, rule.severity_of(value), key=lambda one: one.rank)
        if count >= rule.times and at_ms - started >= rule.for_ * 1000:
            held = Verdict("raise", at_ms, value, worst)
    if held is not None:
        return held
    if readings and count == 0:
        at_ms, value = readings[-1]
        return Verdict("drop", at_ms, value)
    return KEEP


def of_open(
    rule: AlertRule, readings: Sequence[Reading], last_ms: int, severity: Severity
) -> Verdict:
    """Tells whether an open alert is over, or less severe.

    Args:
        rule: with a threshold on single values.
        readings: those with a value, in the order of their time.
        last_ms: when the last breach that is known was measured: nothing earlier clears it.
        severity: of the alert.
    """
    newest = [reading for reading in readings if reading[0] > last_ms]
    good = 0
    for _, value in reversed(newest):
        if not rule.cleared_by(value):
            break
        good += 1
    if good >= rule.clear_times:
        at_ms, value = newest[-1]
        if at_ms - newest[-good][0] >= rule.clear_for * 1000:
            return Verdict("clear", at_ms, value)
    if not readings:
        return KEEP
    at_ms, value = readings[-1]
    if at_ms - readings[0][0] < CALM_MS:
        return KEEP
    worst = max(
        (rule.severity_of(value) for moment, value in readings if moment > at_ms - CALM_MS),
        key=lambda one: one.rank,
    )
    return Verdict("ease", at_ms, value, worst) if worst.rank < severity.rank else KEEP


def of_rate(rule: AlertRule, readings: Sequence[Reading], last_ms: int) -> Verdict:
    """Tells whether a metric has stopped to rise, or to fall, too fast."""
    if not readings or readings[-1][0] <= last_ms:
        return KEEP
    at_ms, value = readings[-1]
    first_ms, first = next(
        reading for reading in readings if reading[0] >= at_ms - rule.window * 1000
    )
    if first_ms == at_ms:
        return KEEP
    rate = rate_per_minute(first_ms, first, at_ms, value)
    speed = rate if rule.rising is not None else -rate
    return Verdict("clear", at_ms, value) if rule.cleared_by(speed) else KEEP


def of_missing(readings: Sequence[Reading], last_ms: int) -> Verdict:
    """Tells whether the metric has values again."""
    if not readings or readings[-1][0] <= last_ms:
        return KEEP
    return Verdict("clear", *readings[-1])


def rate_per_minute(first_ms: int, first: float, last_ms: int, last: float) -> float:
    """Returns the change per minute between two readings."""
    return (last - first) / (last_ms - first_ms) * 60_000
