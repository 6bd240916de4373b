"""A base and experts on disk, configurations of merges of them, and what is in the states."""

import yaml

from geodiag.merging import parse_merge, run_merge
from tests import synthetic

TASKS = ("alpha", "beta", "gamma")


def write_experts(folder, **options):
    """A base and three experts; returns the folder."""
    synthetic.write_run(folder, steps=3, **options)
    return folder


def config_of(folder, out="merged", **given):
    """The keys of a configuration, with absolute paths."""
    experts = [{"task": task, "checkpoint": str(folder / "experts" / f"t{n}")} for n, task in enumerate(TASKS, start=1)]
    return {
        "run": "merged",
        "size": "tiny",
        "base": str(folder / "base"),
        "out": str(folder / out),
        "experts": experts,
        "device": "cpu",
    } | given


def merge(folder, progress=None, **given):
    """Merges and returns the run's folder."""
    return run_merge(parse_merge(config_of(folder, **given)), progress=progress).path


def write_config(folder, **given):
    """A configuration file."""
    path = folder / "merge.yaml"
    path.write_text(yaml.safe_dump(config_of(folder, **given), sort_keys=False))
    return path


def states(out):
    """The weights of every state, in order."""
    return [synthetic.read_weights(path) for path in sorted((out / "states").iterdir())]


def updates(folder):
    """The weights of the base, and what each expert adds to them."""
    base = synthetic.read_weights(folder / "base")
    experts = [synthetic.read_weights(folder / "experts" / f"t{n}") for n in (1, 2, 3)]
    return base, [{name: expert[name] - base[name] for name in base} for expert in experts]


def contents(out):
    """Every file below a folder, by its bytes."""
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
