"""Rules that no single reading can break, looked for among the newest readings of all devices."""

from datetime import datetime

from sensor_alerts.domain.alert import from_ms
from sensor_alerts.intake import Intake
from sensor_alerts.sweep.fleet import Fleet
from sensor_alerts.sweep.readings import Found, StoredReadings
from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.contracts.readings import UNITS, device_type
from sensor_shared.contracts.rules import AlertRule, Rules, alert_id


class Scan:
    """Raises alerts of rules with `rising`, `falling` and `missing`.

    Args:
        readings: the facts.
        fleet: knows the devices' regions.
        intake: takes what is found.
    """

    def __init__(self, readings: StoredReadings, fleet: Fleet, intake: Intake):
        self._readings = readings
        self._fleet = fleet
        self._intake = intake

    async def __call__(self, rules: Rules, now_ms: int) -> None:
        """Looks once; the cost is that of the readings in the longest window."""
        for rule in rules.rules:
            if rule.by_reading or not rule.enabled:
                continue
            look = self._readings.changing if rule.missing is None else self._readings.without
            found = await look(rule, now_ms)
            if found:
                await self._fleet.know([one.device_id for one in found])
            for one in found:
                region = self._fleet.region(one.device_id)
                if rules.applies(rule, one.device_id, region or None):
                    await self._intake.admit(_breach(rule, one, region), "sweep")


def _breach(rule: AlertRule, found: Found, region: str) -> AlertSnapshot:
    at: datetime = from_ms(found.at_ms)
    unit = UNITS[rule.metric]
    if rule.missing is None:
        value: float | None = found.value
        verb = "rises" if rule.rising is not None else "falls"
        said = (
            f"{rule.metric} {verb} by {found.value:.3g} {unit} a minute, "
            f"the limit is {rule.threshold:g} {unit}"
        )
    else:
        value = None
        said = f"no {rule.metric} for {rule.threshold:g} s, though it sends readings"
    return AlertSnapshot(
        alert_id=alert_id(found.device_id, rule.id, found.at_ms),
        device_id=found.device_id,
        rule_id=rule.id,
        alert_type=rule.alert_type,
        severity=rule.severity_of(found.value),
        message=f"{found.device_id}: {said}",
        metric=rule.metric,
        value=value,
        threshold=rule.threshold,
        region=region,
        device_type=device_type(found.device_id),
        first_at=at,
        last_at=at,
    )
