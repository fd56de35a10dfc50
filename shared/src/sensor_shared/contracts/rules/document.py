"""The rules file as a value: read, checked, and asked which rule holds for a device."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, model_validator

from sensor_shared.contracts import yaml_file
from sensor_shared.contracts.readings import device_type
from sensor_shared.contracts.rules.detection import Breach, Detector
from sensor_shared.contracts.rules.rule import AlertRule
from sensor_shared.contracts.rules.scope import Scope
from sensor_shared.contracts.rules.silence import SilenceGroups, SilenceRule


class _Scoped(Protocol):
    """What every kind of rule has."""

    @property
    def id(self) -> str: ...

    @property
    def scope(self) -> Scope: ...


Rule = TypeVar("Rule", bound=_Scoped)


class Rules(BaseModel):
    """All rules; ids are unique, and so are the scopes of rules about the same thing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[AlertRule, ...]
    silence: tuple[SilenceRule, ...] = ()
    silence_groups: SilenceGroups = SilenceGroups()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [*(rule.id for rule in self.rules), *(rule.id for rule in self.silence)]
        twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
        if twice:
            raise ValueError(f"rule ids used twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _the_most_special_is_one(self) -> Self:
        groups: list[Sequence[_Scoped]] = [*self._by_key.values(), self.silence]
        for group in groups:
            known: dict[Scope, str] = {}
            for rule in group:
                other = known.setdefault(rule.scope, rule.id)
                if other != rule.id:
                    raise ValueError(
                        f"rules {other!r} and {rule.id!r} are about the same thing with the same "
                        "scope: change a scope, or give one of them an 'about' of its own"
                    )
        return self

    @cached_property
    def _by_key(self) -> dict[str, list[AlertRule]]:
        by_key: dict[str, list[AlertRule]] = {}
        for rule in self.rules:
            by_key.setdefault(rule.key, []).append(rule)
        return {key: _most_special_first(group) for key, group in by_key.items()}

    @cached_property
    def _by_id(self) -> dict[str, AlertRule]:
        return {rule.id: rule for rule in self.rules}

    @cached_property
    def _silence(self) -> list[SilenceRule]:
        return _most_special_first(self.silence)

    @cached_property
    def _detector(self) -> Detector:
        watched = (rule for rule in self.rules if rule.by_reading and rule.enabled)
        return Detector(watched, self.applies)

    def rule(self, rule_id: str) -> AlertRule | None:
        """Returns the rule with an id, None when there is none."""
        return self._by_id.get(rule_id)

    def applies(self, rule: AlertRule, device_id: str, region: str | None) -> bool:
        """Tells whether a rule is the one that holds for a device: the most special that fits."""
        group = self._by_key[rule.key]
        if len(group) == 1 and rule.scope.everything:
            return rule.enabled
        kind = device_type(device_id)
        for one in group:
            if one.scope.fits(device_id, kind, region):
                return one.id == rule.id and rule.enabled
        return False

    def silence_rule(self, device_id: str, region: str | None) -> SilenceRule | None:
        """Returns when a device counts as offline; None: never."""
        kind = device_type(device_id)
        for rule in self._silence:
            if rule.scope.fits(device_id, kind, region):
                return rule if rule.enabled else None
        return None

    def breaches(self, batch: pa.RecordBatch) -> list[Breach]:
        """Tests every reading of a batch (`readings.SCHEMA`) against every threshold.

        Returns:
            At most one breach per device and rule: the one with the largest excess.
        """
        return self._detector.breaches(batch)


def _most_special_first(rules: Iterable[Rule]) -> list[Rule]:
    """Rules of the same rank stay in the order of the file."""
    return sorted(rules, key=lambda rule: rule.scope.rank, reverse=True)


class RulesError(ValueError):
    """The rules file cannot be used; the message names the file and each mistake."""


def load_rules(path: Path) -> Rules:
    """Reads and checks a rules file.

    Raises:
        RulesError: when the file cannot be read, is no YAML, or breaks the schema.
    """
    return yaml_file.read(path, Rules, RulesError)
