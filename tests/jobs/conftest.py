"""What several tests of jobs need."""

from __future__ import annotations

import pytest

from tests.jobs.forks import forks


@pytest.fixture(scope="module")
def geodiag():
    """Runs `geodiag` commands in processes of their own."""
    with forks() as running:
        yield running
