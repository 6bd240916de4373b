"""The configuration of a merge, as data; `geodiag.merging.load` reads one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from geodiag.families import FAMILIES
from geodiag.merging.settings import Count, GcwmRule, Positive, Rule, Strict
from geodiag.runs.names import OVERALL_NAMES, fold_task_name


def _path(value: object, info: ValidationInfo) -> object:
    """Relative to the configuration's folder."""
    if not isinstance(value, str | Path) or not str(value).strip():
        raise PydanticCustomError("value", "no path")
    folder = (info.context or {}).get("folder", Path.cwd())
    return Path(os.path.abspath(Path(folder) / os.path.expanduser(value)))


def _task(value: object) -> object:
    if isinstance(value, str) and (not fold_task_name(value).strip("_") or fold_task_name(value) in OVERALL_NAMES):
        raise PydanticCustomError("value", "no task name")
    return value.strip() if isinstance(value, str) else value


def _named(value: object) -> object:
    """`rule: gcwm` is short for `rule: {name: gcwm}`."""
    return {"name": value} if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_path)]
Text = Annotated[str, Field(pattern=r"\S")]


class Expert(Strict):
    """One task's fine-tuned model."""

    label: Annotated[str, Field(alias="task"), BeforeValidator(_task)]
    """the name of the task it was trained on"""
    checkpoint: FilePath
    """its checkpoint: a Hugging Face folder, a .safetensors file, or a LoRA adapter of the base"""
    weight: Positive = 1.0
    """its weight among the active updates, above 0"""

    @property
    def task(self) -> str:
        """The task's folded name."""
        return fold_task_name(self.label)


class MergeConfig(Strict):
    """One continual merge: a base, experts in task order, and a rule. All paths are absolute."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$")]
    """an id of letters, digits, . _ - (at most 200, a letter, digit or _ first)"""
    size: Text
    """the label of the model size, such as "4B\""""
    base: FilePath
    """the checkpoint that the experts were trained from"""
    out: FilePath
    """the folder of the run that is made"""
    experts: Annotated[tuple[Expert, ...], Field(strict=False, min_length=1)]
    """a list with one `{task: ..., checkpoint: ...}` a step, in order"""
    rule: Annotated[Rule, Field(discriminator="name"), BeforeValidator(_named)] = GcwmRule()
    """one of: gcwm, wudi, task_arithmetic, ties, opcm; or a group of keys with that as its name"""
    method: Text | None = None
    """the label of the method; by default that of the rule"""
    seed: int | None = None
    """a whole number"""
    memory: Literal["all", "anchor"] | Count = "all"
    """one of: all, anchor, or how many of the last tasks stay active (1 or more)"""
    eta: Positive | Annotated[tuple[Positive, ...], Field(strict=False)] | None = None
    """the share of each change of the merge that a step takes, above 0; or a list with one for each step"""
    states: Literal["all", "last"] = "all"
    """one of: all (a run with a state a step), last (one merged model, which is no run)"""
    dtype: Literal["base", "bfloat16", "float16", "float32"] = "base"
    """one of: base (each tensor keeps its type), bfloat16, float16, float32"""
    families: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = FAMILIES
    """a list of projection families"""
    layers: Text | None = None
    """a regular expression that layer names must match somewhere; others stay the base's"""
    device: Text = "auto"
    """one of: auto, cpu, cuda, cuda:<n>"""
    scores: FilePath | None = None
    """the file with the scores, which the run will name"""
    score_scale: Literal["fraction", "percent"] = "fraction"
    """one of: fraction, percent"""
    probes: FilePath | None = None
    """the file with the probe examples, which the run will name"""
    store: FilePath | None = None
    """a store to extract the run into"""

    @property
    def method_label(self) -> str:
        """The method's label in tables and figures."""
        return self.method or self.rule.label

    @property
    def etas(self) -> tuple[float, ...]:
        """eta of each step."""
        eta = self.rule.default_eta if self.eta is None else self.eta
        return eta if isinstance(eta, tuple) else (eta,) * len(self.experts)

    def steps_to_write(self, done: int) -> range:
        """The steps whose states are wanted and not there yet.

        Args:
            done: steps that an earlier merge has finished.
        """
        last = len(self.experts)
        return range(last if self.states == "last" and done < last else done + 1, last + 1)

    def instead(self, **given: str | Path | None) -> MergeConfig:
        """The same with other values of `out`, `store` or `device`; None leaves one as it is."""
        paths = {key: Path(os.path.abspath(value)) for key, value in given.items() if value and key != "device"}
        device = {"device": given["device"]} if given.get("device") else {}
        return self.model_copy(update=paths | device)
