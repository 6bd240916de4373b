"""Options are declared once: the command line, the API and the jobs follow; one without a use is refused."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

import geodiag
from geodiag import cli
from geodiag.errors import SettingsError
from geodiag.extraction.measurements import MEASUREMENTS
from geodiag.options import AnalyzeOptions, CommandOptions, DiffOptions, ExtractOptions, FiguresOptions, options_of
from geodiag.tables import Options
from tests import synthetic

CLASSES = [ExtractOptions, AnalyzeOptions, FiguresOptions, DiffOptions]
ENGINE = {"dry_run", "engine", "shards", "partition", "time", "slurm", "gradients_only"}
"""Of the command line alone: they say where and whether the work is done, not what."""


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(arguments))
    return stopped.value.code


@pytest.mark.parametrize("options", CLASSES, ids=lambda one: one.__name__)
def test_every_option_has_help_and_no_two_share_a_name(options):
    declared = list(options.declared().values())
    assert all(option.help.endswith(".") for option in declared)
    for names in ([option.name for option in declared], [option.flag for option in declared]):
        assert len(set(names)) == len(names)


def test_the_api_has_the_options_of_the_command():
    parameters = inspect.signature(geodiag.extract).parameters
    own = {name for name in parameters if name not in ("runs", "store", "progress", "geometry")}
    assert own == {option.name for option in ExtractOptions.declared().values()} - ENGINE
    for option in ExtractOptions.declared().values():
        if option.name in own and option.owner is None and option.name != "measure":
            assert parameters[option.name].default == option.default, option.name
    assert {"families", "layers", "device", "read"} == {option.name for option in DiffOptions.declared().values()}
    assert {"families", "layers", "device", "read"} <= set(inspect.signature(geodiag.diff).parameters)


def test_what_tables_take_is_what_analyze_offers():
    assert issubclass(Options, AnalyzeOptions)
    assert set(AnalyzeOptions.declared()) == {"resamples", "permutations", "seed", "cluster"}


def test_help_states_every_default_and_an_example(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    run("extract", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    for option in ExtractOptions.declared().values():
        assert option.flag in shown
        if option.default not in (None, False, ()):
            default = ",".join(option.default) if isinstance(option.default, tuple) else option.default
            assert f"(default: {default})" in shown, option.name
        if option.metavar is not None:
            assert option.metavar in shown
    assert "Example: geodiag extract runs/ --store store" in shown


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "--shards 8 --partition gpu --time 5",
            "--partition, --shards and --time are for --engine slurm; add --engine",
        ),
        ("--slurm account=lab", "--slurm is for --engine slurm; add --engine slurm, or leave it out"),
        ("--engine slurm --shard 1/2 --strict", "--shard and --strict are for --engine local"),
        ("--engine tpu", "engine is 'tpu'; one of local, slurm"),
        ("--probes-per-task 4", "--probes-per-task is for --measure gradients; add --measure gradients, or leave it"),
        ("--measure geometrie", "there is no measurement 'geometrie'; did you mean geometry?"),
        ("--measure ,", "nothing is to be measured"),
        ("--gradients-only --measure geometry", "--gradients-only leaves out what else is asked for"),
    ],
)
def test_an_option_without_a_use_is_refused(tmp_path, capsys, given, line):
    folder = synthetic.write_run(tmp_path / "run", steps=1)
    assert run("extract", str(folder), "--store", str(tmp_path / "s"), *given.split()) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_runs_of_figures_need_a_store(tmp_path, capsys):
    assert run("figures", "--paper", "--runs", "nothere", "--out", str(tmp_path)) == 2
    assert "--runs is for figures of a store" in capsys.readouterr().err


def test_without_geometry_and_gradients_there_is_nothing_to_do(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=1)
    with (
        pytest.warns(DeprecationWarning, match=r"geometry=False is deprecated"),
        pytest.raises(SettingsError, match=r"geometry=False measures gradients only; give gradients=True"),
    ):
        geodiag.extract(folder, store=tmp_path / "s", geometry=False)
    assert not (tmp_path / "s").exists()


def test_geometry_false_still_measures_gradients_alone(tmp_path):
    """Here of a run that is not stored, which says so."""
    folder = synthetic.write_run(tmp_path / "run", steps=1)
    with pytest.warns(DeprecationWarning, match="give measure='gradients'"):
        report = geodiag.extract(folder, store=tmp_path / "s", geometry=False, gradients=True, device="cpu")
    assert "gradients need probes" in report.failed[0].detail


@pytest.mark.parametrize(
    ("given", "measured"),
    [
        ({}, ("geometry",)),
        ({"gradients": True}, ("geometry", "gradients")),
        ({"measure": ("gradients", "geometry")}, ("geometry", "gradients")),
        ({"measure": ("gradients",)}, ("gradients",)),
        ({"gradients_only": True}, ("gradients",)),
        ({"measure": ("gradients",), "gradients": True}, ("gradients",)),
    ],
)
def test_what_is_measured(given, measured):
    assert ExtractOptions.of(**given).measured == measured


def test_a_preset_gives_way_to_what_is_given_beside_it():
    assert ExtractOptions.of(preset="release").settings["geometry"].energy_of == "sketch"
    assert ExtractOptions.of(preset="release", energy_of="total").settings["geometry"].energy_of == "total"


def test_an_unknown_option_is_named_with_the_nearest():
    with pytest.raises(SettingsError, match=r"there is no option 'rnak'; did you mean rank\?"):
        ExtractOptions.of(rnak=3)


def test_options_of_measurements_are_frozen_dataclasses_with_docstrings():
    for measurement in MEASUREMENTS:
        assert dataclasses.is_dataclass(measurement.options)
        assert all(option.help for option in options_of(measurement.options, measurement.name))
    assert issubclass(ExtractOptions, CommandOptions)


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_and_debug_stand_before_or_after_the_command(tmp_path, capsys, place):
    folder = synthetic.write_run(tmp_path / "run", steps=1)
    arguments = ["extract", str(folder), "--store", str(tmp_path / "s"), "--device", "cpu"]
    assert run(*(["-q", *arguments] if place == "before" else [*arguments, "-q"])) == 0
    assert capsys.readouterr() == ("", "")
    wrong = ["check", str(tmp_path / "nowhere")]
    with pytest.raises(geodiag.GeodiagError):
        cli.main(["--debug", *wrong] if place == "before" else [*wrong, "--debug"])
