"""A new rule is one class and one entry of the list: configurations, plans and merges take it from there."""

from typing import ClassVar, Literal

import pytest
import torch

from geodiag.errors import ManifestError
from geodiag.merging import load_merge, parse_merge, plan_merge, rules
from geodiag.merging.rules import RULES, MergeRule
from geodiag.merging.rules.rule import RuleStats
from geodiag.runs import load_manifest
from geodiag.runs.yaml_source import Positive
from tests.merging.runs import config_of, merge, states, updates, write_config, write_experts


class MeanRule(MergeRule):
    """A multiple of the mean of the updates."""

    label: ClassVar[str] = "Mean"
    reference: ClassVar[str] = "none: a test"
    default_eta: ClassVar[float] = 0.5
    name: Literal["mean"] = "mean"
    factor: Positive = 1.0
    """multiplies the mean, above 0"""

    def merge(self, active, before):
        """factor / m * sum_i D_i."""
        return self.factor * sum(update.D for update in active) / len(active), RuleStats(conflict=0.25)

    def flops(self, shape, active, *, experts):
        """A terrible way to take a mean."""
        return 1e12, 3e12

    def held_numbers(self, shape, active, *, experts):
        """A gigabyte in float32."""
        return 250_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_experts(tmp_path_factory.mktemp("rule") / "given")


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    monkeypatch.setattr(rules, "RULES", [*RULES, MeanRule])


def test_a_configuration_takes_it_by_name_or_with_its_settings(folder):
    assert parse_merge(config_of(folder, rule="mean")).rule == MeanRule()
    config = load_merge(write_config(folder, rule={"name": "mean", "factor": "1e-1"}))
    assert (config.rule.factor, config.method_label, config.etas) == (0.1, "Mean", (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({"name": "mean", "factr": 2}, "unknown key 'factr'; did you mean 'factor'?"),
        ({"name": "mean", "factor": 0}, "'factor' is the number 0; give multiplies the mean, above 0"),
        ("median", "'rule' is 'median'; give one of: gcwm, wudi, task_arithmetic, ties, opcm, mean; or a group"),
    ],
)
def test_messages_name_it_and_its_settings(folder, rule, line):
    with pytest.raises(ManifestError) as raised:
        load_merge(write_config(folder, rule=rule))
    assert line in str(raised.value)


def test_a_dry_run_counts_its_cost(folder):
    line = next(plan_merge(parse_merge(config_of(folder, out="planned", rule="mean"))))
    assert line.startswith("run merged: Mean, 3 states, 7 layers; reads ")
    assert "holds up to 1 GB, 7 to 21 TFLOP of products" in line


def test_it_merges_into_a_run(folder):
    out = merge(folder, out="meaned", rule={"name": "mean", "factor": 2.0}, eta=1.0)
    base, D = updates(folder)
    name = "model.layers.0.mlp.up_proj.weight"
    for t, state in enumerate(states(out), start=1):
        assert torch.allclose(state[name], base[name] + 2 * sum(d[name] for d in D[:t]) / t, atol=1e-6)
    assert load_manifest(out).method == "Mean"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
def test_every_rule_names_its_publication(rule):
    assert rule.reference.strip()
    assert rule.model_fields["name"].default == rule.__module__.rsplit(".", 1)[1]
