"""Alert rules as data: read, checked, and tested against a batch without any state."""

from sensor_shared.contracts.rules.detection import Breach, alert_id
from sensor_shared.contracts.rules.document import Rules, RulesError, load_rules
from sensor_shared.contracts.rules.kinds import AlertType, Metric, Severity, SeveritySteps
from sensor_shared.contracts.rules.rule import AlertRule
from sensor_shared.contracts.rules.scope import Scope
from sensor_shared.contracts.rules.silence import SilenceGroups, SilenceRule

__all__ = [
    "AlertRule",
    "AlertType",
    "Breach",
    "Metric",
    "Rules",
    "RulesError",
    "Scope",
    "Severity",
    "SeveritySteps",
    "SilenceGroups",
    "SilenceRule",
    "alert_id",
    "load_rules",
]
