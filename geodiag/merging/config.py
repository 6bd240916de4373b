"""Configuration of a merge: its fields, reading it from YAML, and error lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from geodiag.common.schema import FAMILIES
from geodiag.errors import ManifestError
from geodiag.merging.rules import MergeRule, find_rule, read_rule, rule_names
from geodiag.merging.rules.gcwm import GcwmRule
from geodiag.runs.findings import Finding, known_keys, shown, unknown_key
from geodiag.runs.manifest import OVERALL_NAMES, fold_task_name
from geodiag.runs.yaml_source import Count, KeyPath, Positive, StrictSettings, YamlSource, read_yaml


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


ConfigPath = Annotated[Path, BeforeValidator(_path)]
ConfigText = Annotated[str, Field(pattern=r"\S")]


class Expert(StrictSettings):
    """One task's fine-tuned model."""

    label: Annotated[str, Field(alias="task"), BeforeValidator(_task)]
    """the name of the task it was trained on"""
    checkpoint: ConfigPath
    """its checkpoint: a Hugging Face folder, a .safetensors file, or a LoRA adapter of the base"""
    weight: Positive = 1.0
    """its weight among the active updates, above 0"""

    @property
    def task(self) -> str:
        """The task's folded name."""
        return fold_task_name(self.label)


class MergeConfig(StrictSettings):
    """One continual merge: a base, experts in task order, and a rule. All paths are absolute."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$")]
    """an id of letters, digits, . _ - (at most 200, a letter, digit or _ first)"""
    size: ConfigText
    """the label of the model size, such as "4B\""""
    base: ConfigPath
    """the checkpoint that the experts were trained from"""
    out: ConfigPath
    """the folder of the run that is made"""
    experts: Annotated[tuple[Expert, ...], Field(strict=False, min_length=1)]
    """a list with one `{task: ..., checkpoint: ...}` a step, in order"""
    rule: Annotated[MergeRule, BeforeValidator(read_rule)] = GcwmRule()
    """the name of a rule, or a group of keys with that as its name"""
    method: ConfigText | None = None
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
    layers: ConfigText | None = None
    """a regular expression that layer names must match somewhere; others stay the base's"""
    device: ConfigText = "auto"
    """one of: auto, cpu, cuda, cuda:<n>"""
    scores: ConfigPath | None = None
    """the file with the scores, which the run will name"""
    score_scale: Literal["fraction", "percent"] = "fraction"
    """one of: fraction, percent"""
    probes: ConfigPath | None = None
    """the file with the probe examples, which the run will name"""
    store: ConfigPath | None = None
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
        """The steps whose states are asked for and not written yet.

        Args:
            done: steps that an earlier merge has finished.
        """
        last = len(self.experts)
        return range(last if self.states == "last" and done < last else done + 1, last + 1)

    def active_count(self, step: int) -> int:
        """How many updates the rule merges at a step, from 1."""
        if self.rule.recursive or step == 1:
            return 1
        if self.memory == "anchor":
            return 2
        return step if self.memory == "all" else min(step, int(self.memory))

    def instead(self, **given: str | Path | None) -> MergeConfig:
        """This configuration with other values of `out`, `store` or `device`; None leaves one as it is."""
        paths = {key: Path(os.path.abspath(value)) for key, value in given.items() if value and key != "device"}
        device = {"device": given["device"]} if given.get("device") else {}
        return self.model_copy(update=paths | device)


def load_merge(path: Path) -> MergeConfig:
    """Read and check the configuration of a merge.

    Args:
        path: the YAML file; paths in it are relative to its folder.

    Raises:
        ManifestError: the first error, with its line.
    """
    return _parse(read_yaml(Path(os.path.abspath(path))))


def parse_merge(data: Mapping[str, Any]) -> MergeConfig:
    """Check the configuration of a merge given as plain data.

    Args:
        data: the keys of a configuration file; paths are relative to the current folder.

    Raises:
        ManifestError: the first error, with the line that it would have in a file.
    """
    text = yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True)
    root = yaml.compose(text)
    assert root is not None
    return _parse(YamlSource(Path.cwd() / "configuration", yaml.safe_load(text), root))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return str(value) if isinstance(value, Path) else value


def _parse(source: YamlSource) -> MergeConfig:
    if not isinstance(source.data, dict):
        message = f"the file is {shown(source.data)} where keys belong"
        raise ManifestError(message, where=source.where(), fix="start with `run: an-id`")
    try:
        config = MergeConfig.model_validate(source.data, context={"folder": source.path.parent})
    except ValidationError as error:
        # A misspelt key is also a missing one, and the spelling is what has to be mended.
        first = min(error.errors(include_url=False), key=lambda complaint: complaint["type"] != "extra_forbidden")
        raise _finding(first, source).error(source) from error
    for finding in _findings(config):
        raise finding.error(source)
    return config


def _finding(complaint: Mapping[str, Any], source: YamlSource) -> Finding:
    place, model = _locate(complaint["loc"], source)
    key, value = str(place[-1]), complaint["input"]
    if complaint["type"] == "extra_forbidden":
        return unknown_key(place, known_keys(model))
    if isinstance(place[-1], int):
        return Finding(place, f"an expert is {shown(value)}", "write `{task: ..., checkpoint: ...}`")
    if place == ("rule",):
        named = value.get("name", value) if isinstance(value, dict) else value
        names = ", ".join(rule_names())
        return Finding(
            place, f"'rule' is {shown(named)}", f"give one of: {names}; or a group of keys with that as its name"
        )
    remedy = f"give {_description(model, key)}"
    if complaint["type"] == "missing":
        return Finding(place[:-1], f"key {key!r} is missing", remedy)
    written = source.written(place)
    if written and complaint["type"] == "string_type":
        return Finding(place, f"{key!r} is {shown(value)}, not text", f'put it in quotes: {key}: "{written}"')
    return Finding(place, f"{key!r} is {shown(value)}", remedy)


def _locate(loc: tuple[str | int, ...], source: YamlSource) -> tuple[KeyPath, type[BaseModel]]:
    """The place of a complaint in the file, without the types that pydantic adds to it, and the model of its key."""
    if loc[0] == "experts":
        return (loc[:3], Expert) if len(loc) > 2 else (loc, MergeConfig)
    assert isinstance(source.data, dict)
    rule = find_rule(source.data.get("rule"))
    if loc[0] != "rule" or len(loc) < 2 or rule is None:
        return loc[:1], MergeConfig
    field = rule.model_fields.get(str(loc[1]))
    if len(loc) > 2 and field is not None and isinstance(group := field.annotation, type):
        return loc[:3], group
    return loc[:2], rule


def _description(model: type[BaseModel], key: str) -> str:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return fields[key].description or ""


def _findings(config: MergeConfig) -> Iterator[Finding]:
    """Contradictions between the values of a well-formed configuration, and files that do not exist."""
    if isinstance(config.eta, tuple) and len(config.eta) != len(config.experts):
        message = f"'eta' has {len(config.eta)} numbers for {len(config.experts)} experts"
        yield Finding(("eta",), message, "give one number, or one for each expert")
    if config.rule.scaled and config.eta is not None:
        name = config.rule.name
        yield Finding(("eta",), f"{name} has no eta", f"leave it out: {name} scales the merge by its own norm")
    for family in config.families:
        if family not in FAMILIES:
            yield Finding(("families",), f"unknown family {family!r}", f"known families: {', '.join(FAMILIES)}")
    yield from _repeated(config)
    named = [(("base",), config.base), (("scores",), config.scores), (("probes",), config.probes)]
    named += [(("experts", n, "checkpoint"), e.checkpoint) for n, e in enumerate(config.experts)]  # type: ignore[misc]
    for place, path in named:
        if path is not None and not path.exists():
            yield Finding(place, f"{place[-1]!r}: no such file or folder: {path}", "check the path")


def _repeated(config: MergeConfig) -> Iterator[Finding]:
    tasks: dict[str, int] = {}
    checkpoints: dict[Path, int] = {}
    for n, expert in enumerate(config.experts):
        if expert.task in tasks:
            message = f"task {expert.label!r} is already the task of step {tasks[expert.task] + 1}"
            yield Finding(("experts", n, "task"), message, "give each step its own task")
        if expert.checkpoint in checkpoints:
            message = f"the same checkpoint as at step {checkpoints[expert.checkpoint] + 1} ({expert.checkpoint})"
            yield Finding(("experts", n, "checkpoint"), message, "each step has its own expert")
        tasks.setdefault(expert.task, n)
        checkpoints.setdefault(expert.checkpoint, n)
