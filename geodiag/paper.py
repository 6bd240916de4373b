"""The numbers published in the paper, as tables.

They are facts transcribed from the tables and figures of Wang et al., *Geometry Conflict: Explaining and
Controlling Forgetting in LLM Continual Post-Training*, arXiv 2605.09608v1, which is under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/). The step-level and pair-level rows behind its scatter plots and
curves were never published.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

import polars as pl

from geodiag.errors import SettingsError

SOURCE = "Wang et al., arXiv 2605.09608v1, CC BY 4.0"
"""The source to cite with a number from here."""
RUNS = 20
"""Runs behind the step-level and pair-level tables: five sizes under four methods."""
STEP_ROWS = 250
"""Step rows behind the step-level correlations."""
PAIR_ROWS = 1820
"""Pair rows (a new task and an old task) behind the pair-level correlations."""


def list_paper() -> tuple[str, ...]:
    """The names of the published tables, sorted, such as "table04_scale_confidence"."""
    return tuple(
        sorted(entry.name.removesuffix(".csv") for entry in _folder().iterdir() if entry.name.endswith(".csv"))
    )


def load_paper(name: str) -> pl.DataFrame:
    """A published table.

    Numbers stand as they were printed, so p-values such as "<1e-3" are text.

    Args:
        name: a name of `list_paper`, or its beginning up to an underscore: "table04".

    Raises:
        SettingsError: there is no such table.

    Example:
        >>> from geodiag import load_paper
        >>> load_paper("table03").select("signal", "spearman").rows()[0]
        ('update_norm', -0.48)
    """
    names = list_paper()
    matches = [full for full in names if name == full or full.startswith(f"{name}_")]
    if len(matches) != 1:
        raise SettingsError(f"no published table {name!r}", where="load_paper", fix=f"one of: {', '.join(names)}")
    return pl.read_csv((_folder() / f"{matches[0]}.csv").read_bytes())


def _folder() -> Traversable:
    return files("geodiag") / "_data" / "paper"
