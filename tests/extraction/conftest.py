from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run of three random states of two blocks, with five probes for each of its three tasks."""
    from tests.extraction.gradient_runs import write_run

    return write_run(tmp_path_factory.mktemp("run"))
