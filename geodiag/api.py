"""What a notebook uses: a store with its signals, and the jobs of the command line as functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

import polars as pl

from geodiag.common.text import counted
from geodiag.errors import SettingsError
from geodiag.options import ExtractOptions
from geodiag.store import StoreReader

if TYPE_CHECKING:
    from geodiag.comparison import Comparison
    from geodiag.explain import Explanation
    from geodiag.jobs import BatchReport, Progress
    from geodiag.merging import MergedRun


class Store(StoreReader):
    """A store of extracted runs, with every signal and outcome one call away.

    All frames are polars; `.to_pandas()` turns one into pandas. Undefined values are null.

    Example:
        >>> import geodiag
        >>> store = geodiag.load_example("lab")
        >>> store.steps().select("run", "step", "task", "state_gap", "forgetting").shape
        (560, 5)
        >>> few = store.only(["2m-ewc-s0", "2m-ewc-s1"])
        >>> few.run_ids()
        ['2m-ewc-s0', '2m-ewc-s1']
    """

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}: {', '.join(_counts(self))})"

    def _repr_html_(self) -> str:
        from html import escape

        runs = self.scan("runs").collect()
        summary = f"<p><b>Store</b> <code>{escape(str(self.path))}</code>: {', '.join(_counts(self))}</p>"
        return summary + (_by_method(runs) if runs.height else "")

    def steps(self) -> pl.DataFrame:
        """One row a (run, step): every step signal beside every outcome (`geodiag.signals.step_signals`)."""
        from geodiag.signals import step_signals

        return step_signals(self)

    def pairs(self) -> pl.DataFrame:
        """One row a (run, step, new_task, old_task): pair signals beside drop and forgetting.

        Example:
            >>> import geodiag
            >>> pairs = geodiag.load_example("lab").only(["2m-seq_sft-s0"]).pairs()
            >>> pairs.sort("drop").select("new_task", "old_task", "drop").row(0)
            ('modulo', 'sort', -0.8)
        """
        from geodiag.signals import pair_signals

        return pair_signals(self)

    def families(self) -> pl.DataFrame:
        """One row a (run, step, family): the step signals over one projection family's layers."""
        from geodiag.signals import family_signals

        return family_signals(self)

    def layers(self) -> pl.DataFrame:
        """One row a (run, step, layer): the step signals of one layer."""
        from geodiag.signals import layer_signals

        return layer_signals(self)

    def explain(self, run: str, step: int) -> Explanation:
        """Why this step forgot, in order of evidence (`geodiag.explain.explain_step`).

        Args:
            run: the run's id.
            step: the step, from 1.

        Example:
            >>> import geodiag
            >>> found = geodiag.load_example("lab").explain("5m-ewc-s0", step=13)
            >>> found.verdict.outcome, found.verdict.cause, found.verdict.confidence
            ('lost', 'unexplained', 'none')
            >>> found.advice[0].action
            'Replay examples of maximum, subtract and reverse while training modulo'
        """
        from geodiag.explain import explain_step

        return explain_step(self, run, step)

    def outcomes(self) -> pl.DataFrame:
        """One row a run: final scores, forgetting, OP, BWT and FWT (`geodiag.signals.run_outcomes`).

        Example:
            >>> import geodiag
            >>> last = geodiag.load_example("lab").only(["2m-ewc-s0"]).outcomes()
            >>> [round(last[name].item(), 3) for name in ("OP", "BWT", "FWT")]
            [0.672, -0.314, -0.196]
        """
        from geodiag.signals import run_outcomes

        return run_outcomes(self)


def open_store(path: str | Path) -> Store:
    """Opens a store for reading.

    Args:
        path: the store's folder.

    Raises:
        StoreError: it is not there, is no store, or was written by a newer version.

    Example:
        >>> import geodiag
        >>> geodiag.open_store("nowhere")
        Traceback (most recent call last):
        ...
        geodiag.errors.StoreError: nowhere: there is no such folder; name a store that `geodiag extract` wrote
    """
    return Store(path)


def _counts(store: Store) -> list[str]:
    """What a store holds, in words."""
    runs = store.scan("runs").select("run", "n_steps").collect()
    steps = int(runs["n_steps"].sum())
    tables = {"scores": "scores", "gradients": "gradients"}
    held = [f"{'with' if store.has(table) else 'no'} {name}" for table, name in tables.items()]
    return [counted(runs.height, "run"), counted(steps, "step"), *held]


def _by_method(runs: pl.DataFrame) -> str:
    """One row a method: its runs, sizes, seeds and steps, as an HTML table."""
    from html import escape

    columns = {
        "runs": pl.len().cast(pl.String),
        "sizes": pl.col("size").unique(maintain_order=True).str.join(", "),
        "seeds": pl.col("seed").drop_nulls().unique().sort().cast(pl.String).str.join(", "),
        "steps": pl.col("n_steps").unique().sort().cast(pl.String).str.join(", "),
    }
    rows = runs.sort("run").group_by("method", maintain_order=True).agg(**columns)
    head = "".join(f"<th scope='col'>{name}</th>" for name in rows.columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows.iter_rows())
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


EXAMPLES = ("lab",)
"""Stores that come with the package."""


def load_example(name: str) -> Store:
    """Opens a store of real runs that comes with the package.

    Args:
        name: `lab`: forty small models trained over fourteen text tasks under four strategies.

    Raises:
        SettingsError: there is no such example.

    Example:
        >>> import geodiag
        >>> geodiag.load_example("lab").runs().height
        40
    """
    if name not in EXAMPLES:
        raise SettingsError(f"no example {name!r}", where="load_example", fix=f"one of: {', '.join(EXAMPLES)}")
    return Store(Path(str(files("geodiag"))) / "_data" / name / "store")


def extract(
    runs: str | Path,
    *,
    store: str | Path,
    measure: Iterable[str] | str | None = None,
    gradients: bool = False,
    geometry: bool = True,
    preset: str | None = None,
    rank: int | None = None,
    energy: float | None = None,
    energy_of: str | None = None,
    lam: float | None = None,
    spectrum: str | None = None,
    families: Iterable[str] | None = None,
    layers: str | None = None,
    probes_per_task: int | None = None,
    probe_seed: int | None = None,
    max_length: int | None = None,
    chat_template: bool = False,
    gradient_precision: str | None = None,
    loss_examples: int | None = None,
    loss_max_length: int | None = None,
    loss_precision: str | None = None,
    loss_batch_tokens: int | None = None,
    attribution_examples: int | None = None,
    attribution_max_length: int | None = None,
    attribution_precision: str | None = None,
    attribution_batch_tokens: int | None = None,
    device: str = "auto",
    memory_budget: str | None = None,
    read: str = "mmap",
    overwrite: bool = False,
    strict: bool = False,
    shard: str | None = None,
    progress: Progress | None = None,
) -> BatchReport:
    """Extracts every run below a folder into a store, as `geodiag extract` does.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        store: the store's folder; made when it is not there.
        measure: names of measurements, `geometry` by default; others than geometry are added to runs that the store
            holds or that geometry brings into it.
        gradients: measure gradient conflict too, of runs that name probes: adds `gradients` to `measure`.
        geometry: deprecated; `geometry=False, gradients=True` is `measure="gradients"`.
        preset: `paper` or `release`.
        rank, energy, energy_of, lam, spectrum, families, layers: as `GeometrySettings` has them; None is its default.
        probes_per_task, probe_seed, max_length, chat_template, gradient_precision: as `GradientOptions` has them; None
            is its default.
        loss_examples, loss_max_length, loss_precision, loss_batch_tokens: as `LossOptions` has them.
        attribution_examples, attribution_max_length, attribution_precision, attribution_batch_tokens: as
            `AttributionOptions` has them.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:<n>`, several with commas, or `all` GPUs.
        memory_budget: what updates or gradients may take at once, as `4GB`; None is half of what is free.
        read: `mmap`, or `buffered` for weights on a network file system.
        overwrite: replace what was measured with other settings or inputs, of the measurements named.
        strict: raise at the first run that fails instead of going on with the rest.
        shard: the part `2/4` of the layers, or `auto`, the part that a scheduler's array variables name; the shard
            that finishes a run's last layer puts the run into the store.
        progress: told of every layer.

    Returns:
        What became of every run.

    Raises:
        GeodiagError: there is no run, a setting is out of its range or has no use, or `strict` is set and a run failed.
    """
    from geodiag.jobs import extract_on, parse_devices

    if not geometry:
        warn("geometry=False is deprecated; give measure='gradients'", DeprecationWarning, stacklevel=2)
        if not gradients or measure is not None:
            fix = "give gradients=True, or measure alone"
            raise SettingsError("geometry=False measures gradients only", where="extract", fix=fix)
    options = ExtractOptions.of(
        measure=_names(measure) if geometry else ("gradients",),
        gradients=gradients and geometry,
        preset=preset,
        rank=rank,
        energy=energy,
        energy_of=energy_of,
        lam=lam,
        spectrum=spectrum,
        families=_names(families),
        layers=layers,
        probes_per_task=probes_per_task,
        probe_seed=probe_seed,
        max_length=max_length,
        chat_template=chat_template or None,
        gradient_precision=gradient_precision,
        loss_examples=loss_examples,
        loss_max_length=loss_max_length,
        loss_precision=loss_precision,
        loss_batch_tokens=loss_batch_tokens,
        attribution_examples=attribution_examples,
        attribution_max_length=attribution_max_length,
        attribution_precision=attribution_precision,
        attribution_batch_tokens=attribution_batch_tokens,
        device=device,
        memory_budget=memory_budget,
        read=read,
        overwrite=overwrite,
        strict=strict,
        shard=shard,
    )
    return extract_on(parse_devices(device), Path(runs), options.work(Path(store)), progress=progress)


def _names(names: Iterable[str] | str | None) -> tuple[str, ...] | None:
    """Names given as a sequence, or as one text with commas."""
    if names is None:
        return None
    return tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)


def merge(
    config: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    store: str | Path | None = None,
    device: str | None = None,
) -> MergedRun:
    """Merges experts into a run, as `geodiag merge` does.

    Args:
        config: a YAML file, or its keys as a mapping with paths relative to the current folder.
        out: the run's folder, instead of the configuration's.
        store: a store to extract the run into, instead of the configuration's.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`, instead of the configuration's.

    Returns:
        The run's folder, and what the rule saw and did on every layer and step.

    Raises:
        GeodiagError: the configuration is wrong, a checkpoint does not fit, or `out` holds something else.
    """
    from geodiag.merging import load_merge, parse_merge, run_merge

    settings = parse_merge(config) if isinstance(config, Mapping) else load_merge(Path(config))
    return run_merge(settings.instead(out=out, store=store, device=device))


def diff(
    a: str | Path,
    b: str | Path,
    *,
    families: Iterable[str] | None = None,
    layers: str | None = None,
    device: str = "auto",
    read: str = "mmap",
    progress: Progress | None = None,
) -> Comparison:
    """Compares two checkpoints, or a checkpoint and a LoRA adapter of it, layer by layer; no store, no manifest.

    Args:
        a: the first checkpoint: a folder, a safetensors file, or an address.
        b: the second one, or an adapter of the first.
        families: the projection families to compare; None is all seven.
        layers: a regular expression that layer names must match.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:<n>`.
        read: `mmap`, or `buffered` for weights on a network file system.
        progress: told of every layer.

    Returns:
        Norms, relative norms, changed shares, rounding floors and ranks by family and by layer; a notebook shows it
        as tables with a map of blocks and families.

    Raises:
        GeodiagError: one cannot be read, they are not of one model, or a setting is out of its range.
    """
    from geodiag.checkpoints import check_reading
    from geodiag.comparison import compare_checkpoints
    from geodiag.geometry.numerics import pick_device
    from geodiag.jobs import Silent

    reporter = progress or Silent()
    return compare_checkpoints(
        a,
        b,
        families=None if families is None else tuple(families),
        pattern=layers,
        device=pick_device(device),
        reading=check_reading(read),
        opened=lambda count: reporter.run_started("diff", parts=count, done=0, what="layers"),
        compared=lambda layer: reporter.part_done("diff", layer.name),
    )


def analyze(store: StoreReader | str | Path, **options: Any) -> Mapping[str, pl.DataFrame]:
    """Every table of the analysis as a data frame, by name.

    Args:
        store: a store or its folder.
        options: fields of `geodiag.tables.Options`, such as `resamples=2000`.

    Example:
        >>> import geodiag
        >>> few = geodiag.load_example("lab").only(["2m-ewc-s0", "2m-seq_sft-s0"])
        >>> tables = geodiag.analyze(few, resamples=20, permutations=20)
        >>> worst = tables["table16_harmful_transitions"].row(0, named=True)
        >>> worst["new_task"], worst["old_task"], round(worst["drop"], 2)
        ('Modulo', 'Maximum', -0.88)
    """
    from geodiag.tables import Options, compute_tables

    reader = store if isinstance(store, StoreReader) else Store(store)
    return compute_tables(reader, Options(**options))
