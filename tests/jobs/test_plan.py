"""What a dry run says, by hand."""

from __future__ import annotations

import pytest

from geodiag.errors import SettingsError
from geodiag.extraction import make_settings
from geodiag.jobs import parse_bytes, plan_all
from tests import synthetic


@pytest.mark.parametrize(("text", "value"), [("4GiB", 2**32), ("500 MB", 500_000_000), ("12", 12), ("0.5kb", 500)])
def test_budgets(text, value):
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "4 GX", "-1GB", "0"])
def test_no_budget(text):
    with pytest.raises(SettingsError, match="write it as 4GiB or 500MB"):
        parse_bytes(text)


def test_the_plan_of_a_run_by_hand(tmp_path):
    """Two steps with experts: 5 checkpoints, 4 updates, 1 task pair and 3 state pairs."""
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    (line,) = plan_all(folder, make_settings(rank=4))
    entries = sum(a * b for a, b in synthetic.SHAPES.values())
    columns = 4 * 2 * 160 + 4 * 2 * 4
    assert "2 steps, 7 layers, 4 updates and 4 pairs a layer" in line
    assert f"reads {5 * entries * 4 / 1e9:.2f} GB" in line
    assert f"{2 * entries * columns / 1e12:.3f} TFLOP" in line
    assert "28 pair rows" in line
