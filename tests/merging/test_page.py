"""docs/merging.md names every key, with its default."""

from pathlib import Path

import pytest

from geodiag.merging.config import MergeConfig
from geodiag.merging.rules import RULES
from geodiag.runs.yaml_source import StrictSettings

PAGE = (Path(__file__).parents[2] / "docs" / "merging.md").read_text()


def test_every_key_is_on_the_page():
    for key in MergeConfig.model_fields:
        assert f"`{key}`" in PAGE or f"{key}:" in PAGE, key


def defaults(model):
    """Every setting of a rule and of its groups."""
    for name, field in model.model_fields.items():
        if isinstance(field.default, StrictSettings):
            yield from defaults(type(field.default))
        elif name != "name":
            yield field.alias or name, field.default


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
def test_every_setting_stands_there_with_its_default(rule):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{rule.model_fields['name'].default}`")]
    shared = next(line for line in PAGE.splitlines() if line.startswith("| `wudi`"))
    for name, default in defaults(rule):
        told = [
            part for line in (row, shared) for part in line.replace("`", "").replace("}", ",").split(f"{name}: ")[1:]
        ]
        values = [part.split(",")[0].split(" ")[0] for part in told]
        assert any(same(value, default) for value in values), f"{name}: {default}"


def same(told, default):
    return told == default if isinstance(default, str) else float(told) == default
