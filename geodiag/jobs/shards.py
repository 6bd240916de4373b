"""One extraction shared out over machines: which layers of a run are whose."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from geodiag.errors import SettingsError


@dataclass(frozen=True)
class Shard:
    """One of several parts of a job that do its work side by side on one folder."""

    index: int
    """From 1."""
    count: int
    """How many there are."""

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise SettingsError(f"shard is {self.index}/{self.count}", where="--shard", fix="from 1/N to N/N")

    @property
    def name(self) -> str:
        """As part of a file's name: `2of4`."""
        return f"{self.index}of{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def parts(self, weights: Mapping[str, float], *, run: str) -> list[str]:
        """The parts of a run that are this shard's, in the order given.

        They are dealt by weight, the heaviest first, each to the shard that has the least so far. Who gets the
        first one depends on the run's name, so that what does not come out even falls to another shard in each run.
        Every shard finds the same from the run alone, whatever other runs there are.

        Args:
            weights: by part: a layer's stored bytes, or 1.
            run: the run's id.
        """
        given, mine = [0.0] * self.count, set()
        first = zlib.crc32(run.encode())
        order = [(first + n) % self.count for n in range(self.count)]
        for part in sorted(weights, key=lambda part: (-weights[part], part)):
            least = min(order, key=lambda n: given[n])
            given[least] += weights[part]
            if least == self.index - 1:
                mine.add(part)
        return [part for part in weights if part in mine]


@dataclass(frozen=True)
class _Scheduler:
    """The variables by which a job's process learns its place among the others."""

    index: str
    first: str
    """The variable with the lowest index; empty where it is 0."""
    last: str
    """The one with the highest."""
    step: str = ""
    count: str = ""
    """The one with their number, where it is there instead of `last`."""

    def shard(self, environment: Mapping[str, str]) -> Shard | None:
        values = {
            name: environment.get(name, "") for name in (self.index, self.first, self.last, self.step, self.count)
        }
        number = {name: int(value) for name, value in values.items() if re.fullmatch(r"\d+", value)}
        if self.index not in number or not {self.count, self.last} & set(number):
            return None
        first, step = number.get(self.first, 0), max(1, number.get(self.step, 1))
        count = number[self.count] if self.count in number else (number[self.last] - first) // step + 1
        return Shard((number[self.index] - first) // step + 1, count)


SCHEDULERS = {
    "a Slurm array": _Scheduler(
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        step="SLURM_ARRAY_TASK_STEP",
    ),
    "srun": _Scheduler("SLURM_PROCID", "", "", count="SLURM_STEP_NUM_TASKS"),
    "a Grid Engine array": _Scheduler("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", step="SGE_TASK_STEPSIZE"),
    "an LSF array": _Scheduler("LSB_JOBINDEX", "LSB_JOBINDEX_START", "LSB_JOBINDEX_END", step="LSB_JOBINDEX_STEP"),
    "mpirun": _Scheduler("OMPI_COMM_WORLD_RANK", "", "", count="OMPI_COMM_WORLD_SIZE"),
    "torchrun": _Scheduler("RANK", "", "", count="WORLD_SIZE"),
}
"""In the order in which they are looked for; an array of jobs that each start several tasks is both."""


def parse_shard(text: str, environment: Mapping[str, str] | None = None) -> Shard:
    """`2/4`, or `auto`: what a scheduler's variables say.

    Args:
        text: what a person wrote.
        environment: the variables; None is this process's.

    Raises:
        SettingsError: it is neither, or no variable says it.
    """
    if text.strip() == "auto":
        return _from_environment(os.environ if environment is None else environment)
    shards = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if not shards:
        raise SettingsError(f"shard is {text!r}", where="--shard", fix="write it as 2/4, or auto under a scheduler")
    return Shard(int(shards[1]), int(shards[2]))


def _from_environment(environment: Mapping[str, str]) -> Shard:
    shards = {name: shard for name, one in SCHEDULERS.items() if (shard := one.shard(environment)) is not None}
    array, tasks = shards.get("a Slurm array"), shards.get("srun")
    if array and tasks:
        return Shard((array.index - 1) * tasks.count + tasks.index, array.count * tasks.count)
    for shard in shards.values():
        return shard
    names = ", ".join(one.index for one in SCHEDULERS.values())
    raise SettingsError(
        f"shard is auto, and none of {names} is set",
        where="--shard",
        fix="say it, as in 2/4, or run it as an array job",
    )
