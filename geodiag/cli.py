"""The command line: one thin function a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from geodiag.common.stopping import Stopped, leave, stop_on_signals
from geodiag.console import Voice, tell_batch
from geodiag.errors import SettingsError, as_problem
from geodiag.lab.commands import lab_app as lab

app = typer.Typer(
    help="Why did this step forget? Forgetting diagnostics for language models post-trained in sequence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(lab, name="lab")

Runs = Annotated[Path, typer.Argument(help="A folder of runs, one run's folder, or a run.yaml.")]
StorePath = Annotated[Path, typer.Argument(help="The folder of a store.")]
Out = Annotated[Path, typer.Option("--out", help="The folder to write into.")]

_voice = Voice()
_debug = False


def _tell_version(asked: bool) -> None:
    if asked:
        from geodiag import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
    version: Annotated[  # noqa: ARG001  (its callback does it)
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and stop.")
    ] = False,
) -> None:
    global _voice, _debug
    _voice, _debug = Voice(quiet=quiet), debug


@app.command()
def demo(out: Out = Path("demo")) -> None:
    """Train a tiny real sequence, extract, analyse, draw: the whole path."""
    from geodiag.demo import run_demo

    run_demo(out, _voice)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A folder with the checkpoints of one run.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run.yaml that is there.")] = False,
) -> None:
    """Draft a run.yaml from a folder of checkpoints; what the folder does not tell is left as lines to fill in."""
    from geodiag.runs import draft_manifest, write_draft

    draft = draft_manifest(folder)
    write_draft(draft, overwrite=overwrite)
    count = f"{len(draft.steps)} step" + ("s" if len(draft.steps) > 1 else "")
    _voice.say(f"{draft.path}: {count}, drafted from {draft.layout}")
    for line in draft.to_fill_in:
        _voice.say(f"to fill in: {line}")


@app.command()
def check(runs: Runs) -> None:
    """Validate runs without computing: manifests, scores, and every checkpoint's layers from headers alone."""
    from geodiag.jobs import check_all

    report = check_all(runs)
    tell_batch(_voice, report, statuses=("checked", "failed"))
    raise typer.Exit(report.exit_code)


@app.command()
def extract(
    runs: Runs,
    store: Annotated[Path, typer.Option("--store", help="The store to write into; made when it is not there.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:<n>, several with commas, or all.")] = "auto",
    rank: Annotated[int | None, typer.Option(help="The most directions kept of an update. [default: 32]")] = None,
    energy: Annotated[float | None, typer.Option(help="The share of squared energy to reach. [default: 0.95]")] = None,
    energy_of: Annotated[str | None, typer.Option(help="Share of what: total or sketch. [default: total]")] = None,
    lam: Annotated[float | None, typer.Option("--lambda", help="The regulariser. [default: 1e-6]")] = None,
    spectrum: Annotated[str | None, typer.Option(help="krylov (quick) or exact (full SVD). [default: krylov]")] = None,
    families: Annotated[str | None, typer.Option(help="Projection families, separated by commas.")] = None,
    layers: Annotated[str | None, typer.Option(help="A regular expression that layer names must match.")] = None,
    preset: Annotated[str | None, typer.Option(help="paper or release.")] = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="Measure gradient conflict too.")] = False,
    gradients_only: Annotated[bool, typer.Option("--gradients-only", help="Only that, onto stored runs.")] = False,
    probes_per_task: Annotated[int, typer.Option(help="Probe examples drawn of each task.")] = 32,
    memory_budget: Annotated[
        str | None,
        typer.Option(help="What updates or gradients may take at once, as 4GB. [default: half of what is free]"),
    ] = None,
    read: Annotated[str, typer.Option(help="mmap, or buffered for weights on a network file system.")] = "mmap",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it takes.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace runs stored with other settings.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first run that fails.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do the I-th of N shares of the layers; auto: as the scheduler says."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or slurm: submit it as an array of shards.")] = "local",
    shards: Annotated[int, typer.Option(help="slurm: how many jobs share the work.")] = 4,
    partition: Annotated[str | None, typer.Option(help="slurm: where they run.")] = None,
    time: Annotated[str, typer.Option(help="slurm: a job's limit, as 90 or 1:30:00; it goes on in another.")] = "60",
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="slurm: any parameter of sbatch.")
    ] = None,
) -> None:
    """Measure every run below a folder and store the rows. Runs that are stored already are left alone."""
    from geodiag.checkpoints import check_reading
    from geodiag.extraction.measurements.geometry.settings import make_settings
    from geodiag.extraction.measurements.gradients.plan import GradientOptions
    from geodiag.jobs import extract_on, parse_bytes, parse_devices, parse_shard, plan_all
    from geodiag.jobs.slurm import SlurmOptions, check_engine, parse_extra, parse_minutes, submit_extraction

    options = GradientOptions(probes_per_task=probes_per_task) if gradients or gradients_only else None
    memory = None if memory_budget is None else parse_bytes(memory_budget)
    settings = make_settings(
        preset,
        families=None if families is None else [f.strip() for f in families.split(",") if f.strip()],
        rank=rank,
        energy=energy,
        energy_of=energy_of,
        lam=lam,
        spectrum=spectrum,
        layers=layers,
    )
    work: dict[str, Any] = {"gradients": options, "geometry": not gradients_only, "memory": memory}
    work["reading"] = check_reading(read)
    if dry_run:
        for line in plan_all(runs, settings, device=device, **work):
            _voice.say(line)
        return
    if check_engine(engine) == "slurm":
        jobs = SlurmOptions(shards, partition, parse_minutes(time), parse_extra(slurm or []))
        submission = submit_extraction(runs, store, settings, jobs, device=device, overwrite=overwrite, **work)
        for line in submission.lines():
            _voice.say(line)
        return
    work |= {"overwrite": overwrite, "strict": strict, "shard": None if shard is None else parse_shard(shard)}
    with _voice.progress() as progress:
        report = extract_on(parse_devices(device), runs, store, settings, progress=progress, **work)
    tell_batch(_voice, report, debug=_debug)
    raise typer.Exit(report.exit_code)


@app.command()
def merge(
    config: Annotated[Path, typer.Argument(help="A YAML file: base, experts in task order, and a rule.")],
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder, instead of the file's.")] = None,
    store: Annotated[Path | None, typer.Option("--store", help="A store to extract the run into.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:<n>.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it takes.")] = False,
) -> None:
    """Merge experts one after another into a run: GCWM, WUDI, task arithmetic, TIES or OPCM."""
    from geodiag.merging import load_merge, plan_merge, run_merge

    settings = load_merge(config).instead(out=out, store=store, device=device)
    if dry_run:
        for line in plan_merge(settings):
            _voice.say(line)
        return
    with _voice.progress() as progress:
        merged = run_merge(settings, progress=progress)
    _voice.say(f"{merged.run}: {merged.detail}, in {merged.path}" + (f"; {merged.stored}" if merged.stored else ""))


@app.command()
def pack(store: StorePath, out: Out) -> None:
    """Copy a store into a new one of about a third the size, rounded to single precision."""
    from geodiag.store import StoreReader, pack_store

    _voice.say(str(pack_store(StoreReader(store), out)))


@app.command()
def analyze(
    store: StorePath,
    out: Out,
    cluster: Annotated[str, typer.Option(help="What is independent: run, size, method or seed.")] = "run",
    compare_paper: Annotated[bool, typer.Option("--compare-paper", help="Set the published numbers beside.")] = False,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of runs.")] = 2000,
    permutations: Annotated[int, typer.Option(help="Shuffles behind a p-value.")] = 3000,
    seed: Annotated[int, typer.Option(help="The seed of both.")] = 0,
) -> None:
    """Write every table: one CSV each, and one Markdown page with them all."""
    from geodiag.api import Store
    from geodiag.tables import Options, write_tables

    options = Options(resamples=resamples, permutations=permutations, seed=seed, cluster=cluster)
    for path in write_tables(Store(store), out, options, compare_paper=compare_paper):
        _voice.say(str(path))


@app.command()
def figures(
    store: Annotated[Path | None, typer.Argument(help="The folder of a store.")] = None,
    out: Out = Path("figures"),
    only: Annotated[list[str] | None, typer.Option(help="Draw this figure only; may be repeated.")] = None,
    runs: Annotated[
        list[str] | None, typer.Option(help="A run that gets figures of its own; may be repeated; none for none.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="png, pdf or svg.")] = "png",
    paper: Annotated[bool, typer.Option("--paper", help="Draw from the published numbers instead of a store.")] = False,
) -> None:
    """Draw every figure that the store allows, and say which it does not and why."""
    from geodiag.api import Store
    from geodiag.figures import draw_all, draw_paper

    if paper == (store is not None):
        raise SettingsError(
            "it draws either from a store or, with --paper, from the published numbers",
            where="geodiag figures",
            fix="give one of them",
        )
    if store is None:
        drawn = draw_paper(out, only=only, format=form)
    else:
        drawn = draw_all(Store(store), out, only=only, runs=[] if runs == ["none"] else runs, format=form)
    for line in drawn.lines():
        _voice.say(line)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A checkpoint: a folder, a safetensors file, or an address.")],
    b: Annotated[str, typer.Argument(help="Another of the same model, or a LoRA adapter of it.")],
    heatmap: Annotated[Path | None, typer.Option(help="Draw block x family into this .png, .pdf or .svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    top: Annotated[int, typer.Option(min=0, help="How many of the layers that moved most.")] = 10,
    families: Annotated[str | None, typer.Option(help="Projection families, separated by commas.")] = None,
    layers: Annotated[str | None, typer.Option(help="A regular expression that layer names must match.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<n>.")] = "auto",
    read: Annotated[str, typer.Option(help="mmap, or buffered for weights on a network file system.")] = "mmap",
) -> None:
    """Compare two checkpoints, or a checkpoint and an adapter: what moved, where, and what is rounding."""
    from geodiag.api import diff as compare

    if heatmap is not None:
        from geodiag.figures.writing import check_picture, save_change_heatmap

        check_picture(heatmap)
    chosen = None if families is None else [f.strip() for f in families.split(",") if f.strip()]
    with _voice.progress() as progress:
        found = compare(a, b, families=chosen, layers=layers, device=device, read=read, progress=progress)
        progress.run_ended("diff")
    _voice.say(found.to_json() if as_json else found.to_text(top=top))
    if heatmap is not None:
        save_change_heatmap(found.grid(), heatmap, title=f"{found.a} -> {found.b}")
        if not as_json:
            _voice.say(f"drawn: {heatmap}")


@app.command()
def explain(
    store: StorePath,
    run: Annotated[str, typer.Option(help="The run's id.")],
    step: Annotated[int, typer.Option(help="The step, from 1.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say why one step forgot: the evidence, how far to trust it, and what to try."""
    from geodiag.api import Store

    found = Store(store).explain(run, step)
    _voice.say(found.to_json() if as_json else found.to_text())


@app.command()
def report(
    store: StorePath,
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of runs.")] = 2000,
    permutations: Annotated[int, typer.Option(help="Shuffles behind a p-value.")] = 3000,
    seed: Annotated[int, typer.Option(help="The seed of both.")] = 0,
) -> None:
    """Write one HTML page with everything a store says: it opens anywhere and loads nothing."""
    from geodiag.api import Store
    from geodiag.report import write_report
    from geodiag.tables import Options

    options = Options(resamples=resamples, permutations=permutations, seed=seed)
    _voice.say(str(write_report(Store(store), out, options)))


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 some runs failed, 2 nothing could be done, 130 Ctrl-C, 143 SIGTERM.

    Nothing could be done where the input is wrong, or the disk, the memory or geodiag itself.

    Args:
        arguments: what stands behind `geodiag`; None takes it from the shell.
    """
    try:
        with stop_on_signals():
            app(arguments)
    except Exception as error:
        if _debug:
            raise
        Voice().complain(f"geodiag: {as_problem(error)}")
        sys.exit(2)
    except Stopped as stopped:
        Voice().complain(str(stopped))
        leave(stopped.exit_code)
