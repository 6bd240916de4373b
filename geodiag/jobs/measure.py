"""A measurement added to a run that is in the store, part by part, going on after a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from geodiag.errors import StoreError
from geodiag.extraction.measurements.measurement import Measurement, MeasurementPlan, StoredRun
from geodiag.jobs.events import Outcome, Progress
from geodiag.jobs.lock import Busy, run_lock
from geodiag.jobs.restart import Staging, staged_name, sweep
from geodiag.jobs.shards import Shard
from geodiag.jobs.stored_config import staging_key
from geodiag.store import StoreReader, add_tables, recover


def store_measurement(
    measurement: Measurement,
    plan: MeasurementPlan,
    store: Path,
    *,
    run: str,
    config: Mapping[str, Any],
    overwrite: bool,
    progress: Progress,
    shard: Shard | None = None,
) -> Outcome:
    """Measures a run and adds the tables to it in the store.

    Args:
        measurement: which one.
        plan: of the run.
        store: the store's folder.
        run: the run's id; it must be stored, or be about to be by other shards.
        config: the configuration of the run itself (`run_config`).
        overwrite: replace what was measured with other options.
        progress: told of every part.
        shard: compute its parts only; whoever finds all of them finished adds the tables.

    Returns:
        What was done: `gradients at 13 steps`, `gradients unchanged`.

    Raises:
        StoreError: the run is not in the store, or was measured with other options.
    """
    recover(store)
    if measurement.reads and run in StoreReader(store).run_ids():
        plan = plan.with_stored(_stored_run(store, run, measurement.reads))
    for note in plan.notes:
        progress.note(note)
    task = _Task(measurement, plan, store, run, config, overwrite, progress)
    return task.whole() if shard is None or measurement.divided == "runs" else task.part(shard)


def _stored_run(store: Path, run: str, tables: Sequence[str]) -> StoredRun:
    reader = StoreReader(store).only([run])
    return StoredRun(reader.config(run), {name: reader.scan(name).drop("run").collect() for name in tables})


@dataclass(frozen=True)
class _Task:
    """One measurement of one run, to bring into one store."""

    measurement: Measurement
    plan: MeasurementPlan
    store: Path
    run: str
    config: Mapping[str, Any]
    overwrite: bool
    progress: Progress

    @property
    def name(self) -> str:
        return self.measurement.name

    @property
    def tables(self) -> list[str]:
        return [table.name for table in self.measurement.tables]

    @cached_property
    def staging(self) -> Staging:
        key = staging_key({**self.config, self.name: self.plan.config})
        return Staging(self.store, staged_name(self.run, self.name), key, tables=self.tables)

    def whole(self) -> Outcome:
        """All parts that are not stored, alone."""
        stored = self._stored_config()
        if (settled := self._settled(stored)) is not None:
            return settled
        if not self.plan.parts:
            return Outcome("unchanged", f"no {self.name}: {self.plan.nothing}")
        with run_lock(self.store, self.run, say=self.progress.note):
            kept = self._kept(stored)
            parts = self._left(kept)
            self._compute(parts)
            return self._commit(parts, kept)

    def part(self, shard: Shard) -> Outcome:
        """A shard's parts beside other shards; the commit where they turn out to be the last."""
        stored = self._stored_config(others=True)
        if stored is not None and (settled := self._settled(stored or None)) is not None:
            return settled
        kept = self._kept(stored or None)
        parts = self._left(kept)
        mine = shard.parts({part: self.plan.weight(part) for part in parts}, run=self.run)
        if set(mine) - self.staging.done(mine):
            with run_lock(self.store, self.run, shard=shard.name, say=self.progress.note):
                self._compute(mine)
        done = self.staging.done(parts)
        finished = f"shard {shard}: its {len(mine)} {self.plan.unit} of {self.name} are finished"
        if len(done) < len(parts) or not self._is_stored():
            return Outcome("partial", f"{finished}, {len(done)} of {len(parts)} with the others'")
        try:
            with run_lock(self.store, self.run, beside_shards=True, say=self.progress.note):
                return self._settled(self._stored_config()) or self._commit(parts, kept)
        except Busy as busy:
            return Outcome("partial", f"{finished}; {busy.holder} adds them to the run")

    def _is_stored(self) -> bool:
        return self.run in StoreReader(self.store).run_ids()

    def _stored_config(self, *, others: bool = False) -> dict[str, Any] | None:
        """The configuration that the run's rows were measured with, None where it has none.

        Args:
            others: whether other shards may still bring the run into the store.
        """
        reader = StoreReader(self.store)
        if self.run not in reader.run_ids():
            if others:
                return None
            fix = f"extract it without {self.measurement.alone_by}"
            raise StoreError("the run is not in the store", where=self.store, run=self.run, fix=fix)
        stored: dict[str, Any] | None = reader.config(self.run).get(self.name)
        return stored

    def _settled(self, stored: Mapping[str, Any] | None) -> Outcome | None:
        """The outcome of what is stored as it should be; None where something is to be computed."""
        standing = None if stored is None else self.plan.standing(stored)
        if standing == "current":
            return Outcome("unchanged", f"{self.name} unchanged")
        if standing == "other" and not self.overwrite:
            fix, message = "pass --overwrite to replace them", f"it has {self.name} of other probes or options"
            raise StoreError(message, where=self.store, run=self.run, fix=fix)
        return None

    def _kept(self, stored: Mapping[str, Any] | None) -> dict[str, pl.DataFrame] | None:
        """The stored rows of a run that has grown; None where all are made anew."""
        if stored is None or self.overwrite or self.plan.standing(stored) != "grown":
            return None
        reader = StoreReader(self.store).only([self.run])
        return {name: reader.scan(name).drop("run").collect() for name in self.tables if reader.has(name)}

    def _left(self, kept: Mapping[str, pl.DataFrame] | None) -> list[str]:
        stored = set() if not kept else self.plan.stored_parts(kept)
        return [part for part in self.plan.parts if part not in stored]

    def _compute(self, parts: Sequence[str]) -> None:
        done = self.staging.done(parts)
        self.progress.run_started(self.run, parts=len(parts), done=len(done), what=self.plan.unit)
        left = [part for part in parts if part not in done]
        if done and left:
            self.plan.resume(self.staging.collect([part for part in parts if part in done]))
        for part, rows in self.plan.rows(left, say=self.progress.note):
            self.staging.put(part, rows)
            self.progress.part_done(self.run, part)

    def _commit(self, parts: Sequence[str], kept: Mapping[str, pl.DataFrame] | None) -> Outcome:
        """All parts' rows below those that are kept, into the store in one step."""
        frames = self.staging.collect(parts)
        for name, rows in (kept or {}).items():
            frames[name] = pl.concat([rows.select(frames[name].columns), frames[name]])
        add_tables(self.store, self.run, frames, settings={self.name: self.plan.config}, overwrite=True)
        sweep(self.store, staged_name(self.run, self.name))
        return Outcome("done", self.plan.outcome(len(parts)))
