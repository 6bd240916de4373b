"""The command line: one thin function a command."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from geodiag.common.problems import as_problem
from geodiag.common.stopping import Stopped, leave, stop_on_signals
from geodiag.common.text import counted
from geodiag.console import Output, print_batch
from geodiag.errors import SettingsError
from geodiag.lab.commands import lab_app
from geodiag.options import AnalyzeOptions, DiffOptions, ExtractOptions, FiguresOptions
from geodiag.typer_commands import FLAGS, add_command

app = typer.Typer(
    help="Why did this step forget? Forgetting diagnostics for language models post-trained in sequence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(lab_app, name="lab")

Runs = Annotated[Path, typer.Argument(metavar="RUNS", help="A folder of runs, one run's folder, or a run.yaml.")]
StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="The folder of a store.")]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder to write into.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and what it takes.")]


def _output() -> Output:
    return Output(quiet=FLAGS.quiet)


def _tell_version(asked: bool) -> None:
    if asked:
        from geodiag import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
    version: Annotated[  # noqa: ARG001  (its callback does it)
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and stop.")
    ] = False,
) -> None:
    FLAGS.quiet, FLAGS.debug = quiet, debug


@add_command(app, example="geodiag demo --out demo")
def demo(out: Out = Path("demo")) -> None:
    """Train a tiny real sequence, extract, analyse, draw: the whole path."""
    from geodiag.demo import run_demo

    run_demo(out, _output())


@add_command(app, example="geodiag init checkpoints/")
def init(
    folder: Annotated[Path, typer.Argument(help="A folder with the checkpoints of one run.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run.yaml that is there.")] = False,
) -> None:
    """Draft a run.yaml from a folder of checkpoints; what the folder does not tell is left as lines to fill in."""
    from geodiag.runs import draft_manifest, write_draft

    draft = draft_manifest(folder)
    write_draft(draft, overwrite=overwrite)
    _output().print(f"{draft.path}: {counted(len(draft.steps), 'step')}, drafted from {draft.layout}")
    for line in draft.to_fill_in:
        _output().print(f"to fill in: {line}")


@add_command(app, example="geodiag check runs/")
def check(runs: Runs) -> None:
    """Validate runs without computing: manifests, scores, and every checkpoint's layers from headers alone."""
    from geodiag.jobs import check_all

    report = check_all(runs)
    print_batch(_output(), report, statuses=("checked", "failed"))
    raise typer.Exit(report.exit_code)


@add_command(app, ExtractOptions, example="geodiag extract runs/ --store store --measure geometry,gradients")
def extract(
    runs: Runs,
    store: Annotated[
        Path, typer.Option("--store", metavar="STORE", help="The store to write into; made when it is not there.")
    ],
    options: ExtractOptions,
) -> None:
    """Measure every run below a folder and store the rows. Runs that are stored already are left alone."""
    from geodiag.jobs import extract_on, parse_devices, plan_all
    from geodiag.jobs.slurm import SlurmOptions, parse_extra, parse_minutes, submit_extraction

    output, work = _output(), options.work(store)
    if options.dry_run:
        for line in plan_all(runs, work):
            output.print(line)
        if options.engine == "slurm":
            output.print(f"in {options.shards} Slurm jobs side by side")
        return
    if options.engine == "slurm":
        slurm = SlurmOptions(options.shards, options.partition, parse_minutes(options.time), parse_extra(options.slurm))
        for line in submit_extraction(runs, work, slurm, arguments=options.arguments(runs, store)).lines():
            output.print(line)
        return
    with output.progress() as progress:
        report = extract_on(parse_devices(options.device), runs, work, progress=progress)
    print_batch(output, report, debug=FLAGS.debug)
    raise typer.Exit(report.exit_code)


@add_command(app, example="geodiag merge merge.yaml --dry-run")
def merge(
    config: Annotated[Path, typer.Argument(help="A YAML file: base, experts in task order, and a rule.")],
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder, instead of the file's.")] = None,
    store: Annotated[Path | None, typer.Option("--store", help="A store to extract the run into.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:<n>.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it takes.")] = False,
) -> None:
    """Merge experts one after another into a run, by GCWM or another merging rule."""
    from geodiag.merging import load_merge, plan_merge, run_merge

    settings = load_merge(config).instead(out=out, store=store, device=device)
    if dry_run:
        for line in plan_merge(settings):
            _output().print(line)
        return
    with _output().progress() as progress:
        merged = run_merge(settings, progress=progress)
    _output().print(
        f"{merged.run}: {merged.detail}, in {merged.path}" + (f"; {merged.stored}" if merged.stored else "")
    )


@add_command(app, example="geodiag edit runs/ --run ewc --step 3 --scale 0.5 --out edited")
def edit(
    runs: Runs,
    out: Out,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="The run's id.")],
    step: Annotated[int, typer.Option("--step", metavar="N", help="The step, from 1.")],
    scale: Annotated[float | None, typer.Option(metavar="A", help="Scale the whole step by a factor in 0..1.")] = None,
    revert: Annotated[
        str | None,
        typer.Option(metavar="GROUP,...", help="Put these back: families, layers, or patterns of layers with *."),
    ] = None,
    project: Annotated[
        bool, typer.Option("--project", help="Project the input directions of old tasks out of the step.")
    ] = False,
    dtype: Annotated[
        str, typer.Option(metavar="float32|bfloat16|float16", help="Type of tensors that neither state has.")
    ] = "float32",
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:<n>.")] = "auto",
) -> None:
    """Write the checkpoint of a step with some of it undone, and score it on the run's probes."""
    from geodiag.merging import StepEdit, edit_step

    words = tuple(word.strip() for word in (revert or "").split(",") if word.strip())
    what = StepEdit(scale, words, project)
    written = edit_step(runs, run=run, step=step, edit=what, out=out, dtype=dtype, device=device)
    for line in written.lines():
        _output().print(line)


@add_command(app, example="geodiag pack store --out small")
def pack(store: StorePath, out: Out) -> None:
    """Copy a store into a new one of about a third the size, rounded to single precision."""
    from geodiag.store import StoreReader, pack_store

    _output().print(str(pack_store(StoreReader(store), out)))


@add_command(app, AnalyzeOptions, example="geodiag analyze store --out tables")
def analyze(
    store: StorePath,
    out: Out,
    options: AnalyzeOptions,
    compare_paper: Annotated[
        bool, typer.Option("--compare-paper", help="Print the published numbers beside the store's.")
    ] = False,
) -> None:
    """Write every table: one CSV each, and one Markdown page with them all."""
    from geodiag.api import Store
    from geodiag.tables import Options, write_tables

    for path in write_tables(Store(store), out, Options(**asdict(options)), compare_paper=compare_paper):
        _output().print(str(path))


@add_command(app, FiguresOptions, example="geodiag figures store --out figures --only fig05")
def figures(
    options: FiguresOptions,
    store: Annotated[Path | None, typer.Argument(metavar="[STORE]", help="The folder of a store.")] = None,
    out: Out = Path("figures"),
) -> None:
    """Draw every figure that the store allows, and name those it does not with the reason."""
    from geodiag.api import Store
    from geodiag.figures import draw_all, draw_paper

    if options.paper == (store is not None):
        raise SettingsError(
            "it draws either from a store or, with --paper, from the published numbers",
            where="geodiag figures",
            fix="give one of them",
        )
    only = list(options.only) or None
    if store is None:
        drawn = draw_paper(out, only=only, format=options.format)
    else:
        runs = [] if options.runs == ("none",) else list(options.runs) or None
        drawn = draw_all(Store(store), out, only=only, runs=runs, format=options.format)
    for line in drawn.lines():
        _output().print(line)


@add_command(app, DiffOptions, example="geodiag diff base checkpoint --heatmap diff.png")
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A checkpoint: a folder, a safetensors file, or an address.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another of the same model, or a LoRA adapter of it.")],
    options: DiffOptions,
    heatmap: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw block x family into this .png, .pdf or .svg.")
    ] = None,
    as_json: Json = False,
    top: Annotated[int, typer.Option(min=0, metavar="N", help="How many of the layers that moved most.")] = 10,
) -> None:
    """Compare two checkpoints, or a checkpoint and an adapter: what moved, where, and what is rounding."""
    from geodiag.api import diff as compare

    if heatmap is not None:
        from geodiag.figures.writing import check_picture, save_change_heatmap

        check_picture(heatmap)
    output, given = _output(), asdict(options) | {"families": options.families or None}
    with output.progress() as progress:
        comparison = compare(a, b, **given, progress=progress)
        progress.run_ended("diff")
    output.print(comparison.to_json() if as_json else comparison.to_text(top=top))
    if heatmap is not None:
        save_change_heatmap(comparison.grid(), heatmap, title=f"{comparison.a} -> {comparison.b}")
        if not as_json:
            _output().print(f"drawn: {heatmap}")


@add_command(app, example="geodiag explain store --run qwen3-4b-ewc --step 2")
def explain(
    store: StorePath,
    run: Annotated[str, typer.Option(help="The run's id.")],
    step: Annotated[int, typer.Option(help="The step, from 1.")],
    as_json: Json = False,
) -> None:
    """Say why one step forgot: the evidence, how far to trust it, and what to try."""
    from geodiag.api import Store

    explanation = Store(store).explain(run, step)
    _output().print(explanation.to_json() if as_json else explanation.to_text())


@add_command(app, AnalyzeOptions, example="geodiag report store --out report.html")
def report(
    store: StorePath,
    options: AnalyzeOptions,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page with everything a store says: it opens anywhere and loads nothing."""
    from geodiag.api import Store
    from geodiag.report import write_report
    from geodiag.tables import Options

    _output().print(str(write_report(Store(store), out, Options(**asdict(options)))))


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
        if FLAGS.debug:
            raise
        Output().print_error(f"geodiag: {as_problem(error)}")
        sys.exit(2)
    except Stopped as stopped:
        Output().print_error(str(stopped))
        leave(stopped.exit_code)
