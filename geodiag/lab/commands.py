"""`geodiag lab`: train one run, or a sweep of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geodiag.lab.config import LabProgress


lab_app = typer.Typer(
    help="Train a sequence of tasks with a small language model under four continual strategies.",
    no_args_is_help=True,
)

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one that comes along.")]
OutFolder = Annotated[Path, typer.Option("--out", help="Where runs go; what is there already is kept.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Processes at once, each with the configured threads.")]
Only = Annotated[str, typer.Option(help="Only runs whose id matches, such as '5m-*'.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many runs.")]


@lab_app.command("run")
def run_command(config: ConfigFile, out: OutFolder, quiet: QuietOption = False) -> None:
    """Train one run: its base, one expert a task, and the state after each step, with scores and probes."""
    from geodiag.lab.config import LabConfig, find_config, load_config

    settings = load_config(find_config(config), LabConfig)
    # torch and transformers are loaded only once the configuration is right.
    from geodiag.lab.run import train_run

    train_run(settings, out, progress=_progress(quiet=quiet))


@lab_app.command("sweep")
def sweep_command(
    config: ConfigFile,
    out: OutFolder,
    workers: WorkersOption = 1,
    only: Only = "*",
    limit: Limit = None,
    quiet: QuietOption = False,
) -> None:
    """Train a grid of runs: sizes x methods x seeds, sharing bases and experts. A killed sweep goes on."""
    from geodiag.lab.config import SweepConfig, find_config, load_config
    from geodiag.lab.sweep import run_sweep

    settings = load_config(find_config(config), SweepConfig)
    run_sweep(settings, out, workers=workers, only=only, limit=limit, progress=_progress(quiet=quiet))


def _progress(*, quiet: bool) -> LabProgress:
    return (lambda _: None) if quiet else typer.echo
