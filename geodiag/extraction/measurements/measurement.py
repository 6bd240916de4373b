"""The interface of a measurement: its tables, what it needs, its options, its cost and its rows.

A measurement is one folder here and one entry of `MEASUREMENTS`. Its `__init__` declares it and stays light, since
reading a store and `geodiag extract --help` import it; tensors and models are imported when a run is planned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from geodiag.common.schema import Table

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]
"""One row: column name to value; undefined values are None."""
Rows = Mapping[str, Sequence[Row]]
"""Rows by table."""
Standing = Literal["current", "grown", "other"]
"""Of stored rows: as this plan would make them; valid, but of fewer steps or tasks; made with other options."""


@dataclass(frozen=True)
class Cost:
    """Cost of a measurement of one run."""

    read: int = 0
    """Bytes of weights."""
    flops: float = 0.0
    """Of products with whole updates; everything else is small beside them."""
    memory: int = 0
    """Bytes of weights and updates at once, on the device."""
    rows: int = 0
    """Rows that enter the store."""

    def __add__(self, other: Cost) -> Cost:
        """Cost of two runs in sequence: reads, products and rows add, memory is the larger."""
        return Cost(
            self.read + other.read,
            self.flops + other.flops,
            max(self.memory, other.memory),
            self.rows + other.rows,
        )


@dataclass(frozen=True)
class StoredRun:
    """What the store holds of a run, for measurements that build on others."""

    config: Mapping[str, Any]
    """Its configuration, with that of every measurement under the measurement's name."""
    tables: Mapping[str, pl.DataFrame]
    """The tables that the measurement reads, without the run column; empty ones where there are no rows."""


class MeasurementPlan(ABC):
    """A measurement planned for one run. Made from headers and small files; no weight has been read."""

    unit: ClassVar[str] = "layers"
    """What a part is, in the plural."""
    nothing: ClassVar[str] = "the run has no part to measure"
    """Why there may be no part."""

    @property
    @abstractmethod
    def parts(self) -> Sequence[str]:
        """The units of restart, in the order in which they are computed."""

    @property
    @abstractmethod
    def config(self) -> Mapping[str, Any]:
        """Everything that decides the rows, as JSON; stored with the run under the measurement's name."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know before it is computed, one sentence each."""
        return ()

    @abstractmethod
    def lines(self) -> Sequence[str]:
        """The dry run's lines."""

    @abstractmethod
    def cost(self) -> Cost:
        """What it takes, from headers."""

    @abstractmethod
    def rows(self, parts: Sequence[str], *, say: Callable[[str], None]) -> Iterator[tuple[str, Rows]]:
        """Computes `parts` one after the other and yields each with its rows, without the run column."""

    def with_stored(self, stored: StoredRun) -> MeasurementPlan:  # noqa: ARG002  (of measurements that read others)
        """The plan with what others have measured of the run; called before parts are asked for.

        Raises:
            StoreError: what it builds on has not been measured.
        """
        return self

    def resume(self, finished: Mapping[str, pl.DataFrame]) -> None:  # noqa: B027  (most parts follow from no others)
        """Takes the rows of parts that were finished before a restart, where other parts follow from them."""

    def weight(self, part: str) -> float:  # noqa: ARG002  (parts are equal unless a plan knows better)
        """Relative cost of a part, by which shards divide the work."""
        return 1.0

    def standing(self, stored: Mapping[str, Any]) -> Standing:
        """What rows stored under the configuration `stored` are to this plan."""
        return "current" if dict(stored) == dict(self.config) else "other"

    def stored_parts(self, tables: Mapping[str, pl.DataFrame]) -> set[str]:  # noqa: ARG002
        """Parts that need not be computed again where the run has grown, from their stored rows."""
        return set()

    def outcome(self, computed: int) -> str:
        """What was done, as a clause: `gradients at 2 steps`."""
        return f"{computed} {self.unit}"


class Measurement(ABC):
    """One kind of measurement that extraction can make."""

    name: ClassVar[str]
    """As `--measure` takes it."""
    summary: ClassVar[str]
    """What it measures, in half a line."""
    tables: ClassVar[tuple[Table, ...]]
    """The tables that it fills."""
    options: ClassVar[type]
    """A frozen dataclass; its fields with their docstrings are options of the command and of the API."""
    founds_run: ClassVar[bool] = False
    """Whether it makes a run's own rows, so that it comes first and others add to it."""
    divided: ClassVar[Literal["parts", "runs"]] = "parts"
    """What shards divide: the parts of every run, or whole runs."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Tables of the run, stored before, that it builds on."""
    needs_probes: ClassVar[bool] = False
    """Whether the manifest must name probes."""

    @property
    def added_by(self) -> str:
        """The option that adds it to the geometry."""
        return f"--measure geometry,{self.name}"

    @property
    def alone_by(self) -> str:
        """The option that makes it alone, of stored runs."""
        return f"--measure {self.name}"

    def make_options(self, preset: str | None, given: Mapping[str, Any]) -> Any:  # noqa: ARG002  (of geometry alone)
        """The options with what was given.

        Args:
            preset: the name of a preset of settings, where the measurement has any.
            given: values by field.

        Raises:
            SettingsError: a value is out of its range.
        """
        return self.options(**given)

    @abstractmethod
    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:
        """Plans it for one run.

        Args:
            run: a `geodiag.extraction.run.PreparedRun`.
            options: an instance of `self.options`.
            selection: the geometry settings, whose families and pattern select the layers of every measurement.
            strict: whether what would be left out with a note is an error.
        """
