"""One run, trained once, and the store that its edits and modes start from."""

from __future__ import annotations

import pytest

from tests.edits.runs import measure, write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run's folder, which is not written to."""
    folder = tmp_path_factory.mktemp("edits") / "run"
    write_run(folder)
    return folder


@pytest.fixture(scope="session")
def start(run):
    """A store with its geometry, losses and allocations; to be copied."""
    measure(run, run.parent / "start", "geometry", "losses", "attribution")
    return run.parent / "start"
