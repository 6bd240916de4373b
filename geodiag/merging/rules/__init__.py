"""The merging rules. A new one is a file with a subclass of `MergeRule` and an entry of `RULES`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import PydanticCustomError

from geodiag.merging.rules.gcwm import GcwmRule
from geodiag.merging.rules.opcm import OpcmRule
from geodiag.merging.rules.rule import MergeRule
from geodiag.merging.rules.task_arithmetic import TaskArithmeticRule
from geodiag.merging.rules.ties import TiesRule
from geodiag.merging.rules.wudi import WudiRule

RULES: list[type[MergeRule]] = [GcwmRule, WudiRule, TaskArithmeticRule, TiesRule, OpcmRule]
"""Every merging rule, in the order in which messages list them."""


def rule_names() -> tuple[str, ...]:
    """The names that configurations may give as `rule`."""
    return tuple(rule.model_fields["name"].default for rule in RULES)


def find_rule(value: object) -> type[MergeRule] | None:
    """The class of the rule that a configuration names; None where there is no such rule.

    Args:
        value: a rule's name, or a group of keys with it as `name`.
    """
    name = value.get("name") if isinstance(value, Mapping) else value
    return next((rule for rule in RULES if rule.model_fields["name"].default == name), None)


def read_rule(value: object) -> MergeRule:
    """A rule with its settings, from a configuration's value of `rule`.

    Args:
        value: a rule's name, a group of keys with it as `name`, or a rule.

    Raises:
        PydanticCustomError: there is no rule of that name.
        ValidationError: a setting is wrong.
    """
    if isinstance(value, MergeRule):
        return value
    rule = find_rule(value)
    if rule is None:
        raise PydanticCustomError("value", "no rule")
    return rule.model_validate({"name": value} if isinstance(value, str) else value)


__all__ = ["RULES", "MergeRule", "find_rule", "read_rule", "rule_names"]
