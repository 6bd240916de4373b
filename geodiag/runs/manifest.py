"""The manifest of a run: fields of run.yaml, and matching of task names."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from geodiag.common.remote import RemotePath, as_path

OVERALL_TASK = "overall"
"""The task name under which a run's overall score is kept."""

OVERALL_NAMES = frozenset({OVERALL_TASK, "overall_accuracy", "average", "avg"})
"""Folded names that mean the overall score, as a column of a wide file or as a task of a long one."""


def fold_task_name(name: str) -> str:
    """The form in which task names are compared: lower-case, with runs of spaces, `-` and `_` as one `_`.

    Args:
        name: the name as a person wrote it.

    Returns:
        The folded name; empty only when nothing but spaces was given.

    Example:
        >>> fold_task_name(" High School - Math")
        'high_school_math'
    """
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFC", name).strip().lower())


def _checked_text(value: str) -> str:
    # Pydantic's own stripping leaves the separators \x1c to \x1f, which are no text either.
    if not value.strip():
        raise PydanticCustomError("value", "no text")
    return value.strip()


def _checked_task(value: str) -> str:
    if fold_task_name(value).strip("_") == "" or fold_task_name(value) in OVERALL_NAMES:
        raise PydanticCustomError("value", "no task name")
    return value.strip()


def _checked_memory(value: object) -> object:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not (number or (isinstance(value, str) and value in ("all", "anchor"))):
        raise PydanticCustomError("value", "no memory")
    return value


def _absolute(value: object, info: ValidationInfo) -> object:
    """The absolute path of one relative to the manifest's folder; links are not resolved."""
    if not isinstance(value, str | Path) or not str(value).strip():
        raise PydanticCustomError("value", "no path")
    path = as_path(value)
    if isinstance(path, RemotePath):
        return path
    folder = (info.context or {}).get("folder", Path.cwd())
    return Path(os.path.abspath(Path(folder) / os.path.expanduser(path)))


def _local(value: object, info: ValidationInfo) -> object:
    """As `_absolute`, for files that are read whole and so have to be on a local disk."""
    path = _absolute(value, info)
    if isinstance(path, RemotePath):
        raise PydanticCustomError("value", "not local")
    return path


# The id becomes a folder of the store (`run=<id>`) and of its staging area.
RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$")]
Text = Annotated[str, AfterValidator(_checked_text)]
CheckpointPath = Annotated[Path, BeforeValidator(_absolute)]
FilePath = Annotated[Path, BeforeValidator(_local)]


class _Strict(BaseModel):
    # Field descriptions are what an error message offers as "what would be right".
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class Step(_Strict):
    """One step of a run: the task that was trained, and the checkpoints written after it."""

    label: Annotated[str, AfterValidator(_checked_task)] = Field(
        alias="task",
        description=f"the name of the task trained at this step (not {', '.join(sorted(OVERALL_NAMES))}: "
        "those mean the overall score)",
    )
    state: CheckpointPath = Field(description="the checkpoint after this step")
    expert: CheckpointPath | None = Field(None, description="the checkpoint of this task's expert")

    @property
    def task(self) -> str:
        """The task's folded name, which keys tables and matches scores."""
        return fold_task_name(self.label)


class ProbeEncoding(_Strict):
    """How probes become the tokens that a model reads; the keys of `probes` beside `file`."""

    chat: Literal["auto"] | bool = Field(
        "auto", description="auto (with the base's chat template, where it has one), true or false"
    )
    end: Literal["auto"] | bool = Field(
        "auto", description="auto (the turn's end behind the target where the chat template is used), true or false"
    )
    tokenizer: FilePath | None = Field(
        None, description="the local folder of the tokenizer, where the base has none or another"
    )


class Manifest(_Strict):
    """A run on disk, as its `run.yaml` describes it. All paths are absolute.

    Build one with `load_manifest`, which also checks that everything named exists.
    """

    run: RunId = Field(description="an id of letters, digits, . _ - (at most 200, a letter, digit or _ first)")
    size: Text = Field(description='the label of the model size, such as "4B"')
    method: Text = Field(description="the label of the training method, such as EWC")
    base: CheckpointPath = Field(description="the checkpoint that the run started from")
    updates: Literal["experts", "increments"] = Field(description="one of: experts, increments")
    steps: Annotated[tuple[Step, ...], Field(strict=False, min_length=1)] = Field(
        description="a list with one `{task: ..., state: ...}` a step, in order"
    )
    seed: int | None = Field(None, description="a whole number")
    memory: Annotated[Literal["all", "anchor"] | int, BeforeValidator(_checked_memory)] = Field(
        "all", description="one of: all, anchor, or how many of the last tasks stay active (1 or more)"
    )
    scores: FilePath | None = Field(None, description="the local file or folder with the scores")
    score_scale: Literal["fraction", "percent"] = Field("fraction", description="one of: fraction, percent")
    score_metric: Text | None = Field(None, description="the name of the metric to take from the scores")
    probes: FilePath | None = Field(None, description="the local file with the probe examples")
    probe_encoding: ProbeEncoding = Field(ProbeEncoding(), description="the other keys of `probes: {file: ...}`")
    path: Path = Field(description="the run.yaml itself")

    @model_validator(mode="before")
    @classmethod
    def _take_probes_apart(cls, data: Any) -> Any:
        """`probes: {file: ..., chat: ...}` as the file and its encoding."""
        if isinstance(data, dict) and isinstance(data.get("probes"), dict) and "file" in data["probes"]:
            encoding = {key: value for key, value in data["probes"].items() if key != "file"}
            return {**data, "probes": data["probes"]["file"], "probe_encoding": encoding}
        return data

    @property
    def tasks(self) -> tuple[str, ...]:
        """The folded names of the trained tasks, in training order."""
        return tuple(step.task for step in self.steps)
