"""Configuration of a lab run and of a sweep, read from YAML files without unknown keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from geodiag.errors import SettingsError
from geodiag.lab.domains import DOMAINS
from geodiag.runs.yaml_source import ClosedModel, Count, read_yaml

LabProgress = Callable[[str], None]
"""Called with one line at each step of the work."""

Method = Literal["seq_sft", "ewc", "forever", "aimmerging"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]


def _distinct(tasks: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({task for task in tasks if tasks.count(task) > 1})
    if twice:
        raise ValueError(f"task {twice[0]} is listed twice")
    return tasks


Tasks = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_distinct)]


class SuiteConfig(ClosedModel):
    """Source and number of the items of each task."""

    seed: int = 0
    """Generates the items."""
    train: Count = 1024
    test: Count = 128
    probes: Count = 32
    folder: Path | None = None
    """Read tasks from `<folder>/<task>/{train,test,probes}.jsonl` instead of generating them."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Training, held-out and probe items a task."""
        return self.train, self.test, self.probes


class ModelShape(ClosedModel):
    """A causal LM of the Qwen3 class with tied embeddings, randomly initialised."""

    layers: Count
    width: Count
    heads: Count = 4
    kv_heads: Count = 2
    ffn: Count

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelShape:
        if self.width % self.heads or self.heads % self.kv_heads or (self.width // self.heads) % 2:
            raise ValueError("width/heads must be a whole even number, heads a multiple of kv_heads")
        return self


class Training(ClosedModel):
    """A budget of optimiser steps with AdamW."""

    steps: Count
    batch: Count = 16
    lr: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up. Replay at the end of a task has no effect where the rate has fallen to zero."""
    warmup: Fraction = 0.1
    """Share of the steps over which the rate rises from zero."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Gradient norm at which gradients are clipped."""


class BaseTraining(Training):
    """Training of the base on a mixture of tasks before the sequence starts."""

    tasks: Tasks | None = None
    """The mixture; the run's tasks by default."""
    until: Fraction | None = None
    """Stop early once the mean held-out score reaches this."""
    check_every: Count = 100
    """Optimiser steps between two measurements of that score."""


class Lora(ClosedModel):
    """Train a low-rank adapter on every projection instead of the weights."""

    r: Count
    alpha: Annotated[float, Field(gt=0)]


class EwcOptions(ClosedModel):
    """Elastic weight consolidation."""

    strength: Annotated[float, Field(ge=0)] = 1.0
    """Multiplies the scale-free lambda_0."""
    warmup: Count = 5
    """Optimiser steps without the penalty, after which lambda_0 is measured."""
    fisher_items: Count = 128
    """Training items for the per-example Fisher."""


class ForeverOptions(ClosedModel):
    """Replay on a forgetting curve in model time."""

    memory: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Share of each past task's training items that is kept."""
    day: Count = 24
    """Optimiser steps that define a virtual day."""
    epochs: Count = 2
    """Passes over all buffers at a replay event."""
    beta: Annotated[float, Field(ge=0)] = 1e-3
    """Base strength of the pull towards the last state during replay."""
    gamma: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the speed of change in that strength."""


class AimOptions(ClosedModel):
    """Adaptive iterative merging."""

    memory: Annotated[float, Field(gt=0, le=1)] = 0.02
    interval: Count = 8
    """The first merging interval, in optimiser steps."""
    shortest: Count = 2
    longest: Count = 128


class _Common(ClosedModel):
    """Settings that a run and a sweep share."""

    tasks: Tasks = tuple(DOMAINS)
    order: Literal["listed", "by_seed"] = "listed"
    """Train the tasks as listed, or in an order drawn from the seed."""
    suite: SuiteConfig = SuiteConfig()
    ewc: EwcOptions = EwcOptions()
    forever: ForeverOptions = ForeverOptions()
    aimmerging: AimOptions = AimOptions()
    lora: Lora | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the saved checkpoints; training is in float32, and goes on from what was saved."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    """CPU threads; the same number gives the same scores."""


class LabConfig(_Common):
    """One run: a task sequence, trained with one method from one base."""

    run: Name
    size: str
    method: Method
    seed: int = 0
    model: ModelShape | None = None
    """A random start, trained on a mixture first if `base_training` is given."""
    base: Path | None = None
    """A local Hugging Face folder to start from instead."""
    base_training: BaseTraining | None = None
    training: Training
    """The budget of each step and of each expert."""

    @model_validator(mode="after")
    def _one_start(self) -> LabConfig:
        if (self.model is None) == (self.base is None):
            raise ValueError("give either model (a random start) or base (a local folder)")
        if self.base is not None and self.base_training is not None:
            raise ValueError("base_training is for a random start, not for a local base")
        return self


class SizeConfig(ClosedModel):
    """One model size of a sweep: its architecture and its budgets."""

    size: Name
    model: ModelShape
    base_training: BaseTraining
    training: Training


class SweepConfig(_Common):
    """Runs of every size, method and seed; bases are shared by a size, experts by a size and seed."""

    sizes: Annotated[tuple[SizeConfig, ...], Field(min_length=1)]
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("seq_sft", "ewc", "forever", "aimmerging")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)

    def runs(self) -> tuple[LabConfig, ...]:
        """The runs in the order size, seed, method."""
        shared = {name: getattr(self, name) for name in _Common.model_fields}
        return tuple(
            LabConfig(run=f"{one.size}-{method}-s{seed}".lower(), size=one.size, method=method, seed=seed,
                      model=one.model, base_training=one.base_training, training=one.training, **shared)
            for one in self.sizes for seed in self.seeds for method in self.methods
        )  # fmt: skip


Config = TypeVar("Config", LabConfig, SweepConfig)


CONFIGS = Path(__file__).parent / "configs"
"""The folder of the configurations that geodiag ships."""


def find_config(name: str) -> Path:
    """The file of that path, or else the shipped configuration of that name.

    Raises:
        SettingsError: there is neither.
    """
    path, packaged = Path(name), CONFIGS / f"{name}.yaml"
    for candidate in (path, packaged):
        if candidate.is_file():
            return candidate
    names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
    raise SettingsError("there is no such file", where=name, fix=f"a YAML file, or one of: {names}")


def load_config(path: Path, kind: type[Config]) -> Config:
    """Read a YAML file as a run's or a sweep's configuration; paths in it are relative to the file.

    Raises:
        ManifestError: the file cannot be read or is not YAML.
        SettingsError: the file is no mapping, or has a wrong or unknown key.
    """
    data = read_yaml(path).data
    if not isinstance(data, dict):
        raise SettingsError("not a mapping", where=path, fix="a mapping such as `run: name`")
    for holder, key in ((data, "base"), (data.get("suite") or {}, "folder")):
        if isinstance(holder, dict) and isinstance(holder.get(key), str):
            holder[key] = (path.parent / holder[key]).resolve()
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise SettingsError(_first_problem(error), where=path) from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key + ': ' if key else ''}{first['msg'].removeprefix('Value error, ')}{more}"
