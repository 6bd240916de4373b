"""One run into a store: what is there already, what is missing, and the commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from geodiag.checkpoints import Layer
from geodiag.common import __version__
from geodiag.common.text import counted
from geodiag.errors import StoreError
from geodiag.extraction.measurements.geometry.alignment import Basis
from geodiag.extraction.measurements.geometry.run import GeometryRun
from geodiag.extraction.measurements.geometry.settings import GEOMETRY_TABLES
from geodiag.extraction.plan import active_rows
from geodiag.jobs.events import Outcome, Progress
from geodiag.jobs.lock import Busy, run_lock
from geodiag.jobs.restart import (
    KeptBases,
    Staging,
    StoredSteps,
    kept_measurements,
    no_bases,
    rows_frame,
    stored_before,
    sweep,
)
from geodiag.jobs.shards import Shard
from geodiag.jobs.stored_config import SELECTION_KEYS, changed_inputs, changed_settings, run_config, staging_key
from geodiag.runs import Manifest, read_scores
from geodiag.store import StoreReader, add_table, create_store, recover, write_run


def store_run(
    geometry: GeometryRun, store: Path, *, overwrite: bool, progress: Progress, shard: Shard | None = None
) -> Outcome:
    """Extracts one run and brings it into the store whole.

    Args:
        geometry: a run that has passed its checks.
        store: the store's folder; made when it is not there.
        overwrite: replace a run that was extracted with other settings or from other checkpoints. A shard leaves
            one alone that was made by this version of the same settings and checkpoints: another shard made it.
        progress: told of every layer.
        shard: compute its layers only; whoever finds all layers finished brings the run into the store.

    Returns:
        What was done: `extracted 21 layers`, `scores refreshed`, `unchanged`.

    Raises:
        StoreError: the store holds the run with other settings or inputs and `overwrite` is not set, or another
            process is at work on it.
        CheckpointError: a weight cannot be read or is not finite.
        ScoresError: the scores are wrong.
    """
    manifest = geometry.run.plan.manifest
    scores = read_scores(manifest)
    for note in (*geometry.notes, *scores.notes):
        progress.note(note)
    create_store(store)
    recover(store)
    config = run_config(geometry)
    before = None if overwrite else stored_before(store, manifest.run, config)
    task = _Task(geometry, store, config, scores.frame, overwrite, shard, progress, before)
    return task.whole() if shard is None else task.part(shard)


@dataclass(frozen=True)
class _Task:
    """One run to bring into one store, as a whole or as one shard of it."""

    geometry: GeometryRun
    store: Path
    config: Mapping[str, Any]
    scores: pl.DataFrame
    overwrite: bool
    shard: Shard | None
    progress: Progress
    before: StoredSteps | None
    """What the store holds of it, where the run has gained steps since; only those are computed."""

    @property
    def run(self) -> str:
        return self.geometry.run.plan.manifest.run

    @cached_property
    def names(self) -> list[str]:
        return self.geometry.parts

    @cached_property
    def staging(self) -> Staging:
        # Parts of added steps alone must not be taken for whole ones, should the stored steps be removed meanwhile.
        added = {} if self.before is None else {"stored_steps": self.before.steps}
        return Staging(
            self.store,
            self.run,
            staging_key({**self.config, **added}),
            tables=[table.name for table in GEOMETRY_TABLES],
        )

    @cached_property
    def bases(self) -> KeptBases:
        return KeptBases(self.store, self.run, staging_key(self.config))

    def whole(self) -> Outcome:
        """All of it, alone; asked again under the lock, since another process may have stored it meanwhile."""
        if (settled := self._settled()) is not None:
            return settled
        with run_lock(self.store, self.run, say=self.progress.note):
            if (settled := self._settled()) is not None:
                return settled
            self._compute(self.names)
            return self._commit()

    def part(self, shard: Shard) -> Outcome:
        """A shard's layers beside other shards; the commit where they turn out to be the last."""
        mine = shard.parts({layer.name: layer.stored_bytes for layer in self.geometry.run.layers}, run=self.run)
        missing = self._missing()  # looked at first: once a run is stored, its finished layers are swept
        if (settled := self._settled()) is not None:
            return settled
        if missing & set(mine):
            with run_lock(self.store, self.run, shard=shard.name, say=self.progress.note):
                self._compute(mine)
        settled = self._settled()
        if (missing := self._missing()) and settled is None:
            done = f"{len(self.names) - len(missing)} of {len(self.names)} with the others'"
            return Outcome("partial", f"shard {shard}: its {len(mine)} layers are finished, {done}")
        return settled or self._commit_last(shard)

    def _commit_last(self, shard: Shard) -> Outcome:
        """Brings a run into the store whose layers are all finished, unless another shard is about to."""
        try:
            with run_lock(self.store, self.run, beside_shards=True, say=self.progress.note):
                return self._settled() or self._commit()
        except Busy as busy:
            return Outcome(
                "partial", f"shard {shard}: all layers are finished; {busy.holder} brings the run into the store"
            )

    def _missing(self) -> set[str]:
        return set(self.names) - self.staging.done(self.names)

    def _settled(self) -> Outcome | None:
        """What was left to do to a run that the store holds as it should be; None where it is to be computed."""
        stored = _stored_config(self.store, self.run, damaged_too=self.overwrite)
        if stored is None:
            return None
        changes = [*changed_settings(stored, self.config), *changed_inputs(stored, self.config)]
        current = not changes and stored["tasks"] == self.config["tasks"]
        if self.overwrite:
            return (
                Outcome("unchanged", "unchanged") if self.shard is not None and current and self._made_by_us() else None
            )
        _check_same(stored, self.config, self.geometry.run.plan.manifest, self.store)
        return _refresh_scores(self.store, self.run, self.scores) if current else None

    def _made_by_us(self) -> bool:
        made_by = StoreReader(self.store).only([self.run]).runs()["geodiag_version"].item()
        return bool(made_by == __version__)

    def _compute(self, layers: Sequence[str]) -> None:
        """Every layer of `layers` that is not finished yet, into the staging area, its bases first."""
        done = self.staging.done(layers)
        self.progress.run_started(self.run, parts=len(layers), done=len(done), what="layers")
        left = self.geometry
        stored_bases: Callable[[Layer], Mapping[str, Basis]] = no_bases
        if self.before is not None:
            left, stored_bases = left.after(self.before.steps), self.before.bases(self.store, self.run).of
        for part in left.layer_results(done=done | (set(self.names) - set(layers)), known=stored_bases):
            self.bases.put(part.layer, {**stored_bases(part.layer), **part.bases})
            self.staging.put(part.layer.name, part.rows)
            self.progress.part_done(self.run, part.layer.name)

    def _commit(self) -> Outcome:
        """All layers' rows, and what is known of the run itself, into the store in one step."""
        tables = self.staging.collect(self.names)
        config, what = self.config, f"extracted {counted(len(self.names), 'layer')}"
        if self.before is not None:
            tables, config = self.before.joined(self.store, self.run, tables, config)
            what += f" of {counted(len(config['tasks']) - self.before.steps, 'step')} added to {self.before.steps}"
        elif self.overwrite:
            kept, settings = self._kept()
            tables, config = tables | kept, {**config, **settings}
        tables |= {"active": rows_frame("active", active_rows(self.geometry.run.plan)), "scores": self.scores}
        tables["runs"] = rows_frame("runs", [_run_row(self.geometry, config)])
        write_run(self.store, self.run, tables, overwrite=self.run in StoreReader(self.store).run_ids())
        sweep(self.store, self.run)
        self.bases.sweep_others()
        return Outcome("done", what)

    def _kept(self) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
        """Tables of later measurements that a new geometry of the same checkpoints, layers and active sets leaves."""
        stored = _stored_config(self.store, self.run, damaged_too=True)
        if not stored:
            return {}, {}
        try:
            tables, settings = kept_measurements(StoreReader(self.store).only([self.run]), stored)
        except (StoreError, OSError, pl.exceptions.PolarsError):
            self.progress.note(f"run {self.run}: what else was measured cannot be read and goes")
            return {}, {}
        shared = {key: stored.get(key) for key in SELECTION_KEYS} == {key: self.config[key] for key in SELECTION_KEYS}
        if tables and (not shared or changed_inputs(stored, self.config)):
            names = ", ".join(sorted(settings))
            self.progress.note(f"run {self.run}: its {names} were measured on other layers or checkpoints and go")
            return {}, {}
        return tables, settings


def _stored_config(store: Path, run: str, *, damaged_too: bool) -> dict[str, Any] | None:
    """What the store says of a run; None where it does not hold it, nothing where that cannot be read."""
    reader = StoreReader(store)
    if run not in reader.run_ids():
        return None
    try:
        return reader.config(run)
    except (StoreError, OSError, pl.exceptions.PolarsError) as cause:
        if run not in reader.run_ids():  # another process replaces it at this moment
            return None
        if damaged_too:
            return {}
        fix = "pass --overwrite to replace it"
        raise StoreError("what the store holds of it cannot be read", where=store, run=run, fix=fix) from cause


def _check_same(stored: Mapping[str, Any], config: Mapping[str, Any], manifest: Manifest, store: Path) -> None:
    for kind, changes in (
        ("settings", changed_settings(stored, config)),
        ("inputs", changed_inputs(stored, config)),
    ):
        if changes:
            raise StoreError(
                f"it was extracted with other {kind} ({'; '.join(changes[:3])})",
                where=store,
                run=manifest.run,
                fix="pass --overwrite to replace it, or name another store",
            )


def _refresh_scores(store: Path, run: str, scores: pl.DataFrame) -> Outcome:
    """Benchmarks are often rerun; new scores need no new geometry."""
    reader = StoreReader(store).only([run])
    kept = reader.scan("scores").drop("run").collect() if reader.has("scores") else scores.clear()
    order = ["step", "task"]
    if scores.is_empty() or kept.sort(order).equals(scores.select(kept.columns).sort(order)):
        return Outcome("unchanged", "unchanged")
    add_table(store, run, "scores", scores, overwrite=True)
    return Outcome("done", "scores refreshed")


def _run_row(geometry: GeometryRun, config: Mapping[str, Any]) -> dict[str, Any]:
    manifest = geometry.run.plan.manifest
    return {
        "size": manifest.size,
        "method": manifest.method,
        "seed": manifest.seed,
        "n_steps": len(manifest.steps),
        "n_layers": len(geometry.run.layers),
        "base": str(manifest.base),
        "config": json.dumps(config, sort_keys=True),
        "geodiag_version": __version__,
        "created": datetime.now(UTC),
    }
