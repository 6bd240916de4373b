"""Task names: how they are matched between a manifest, its scores and its probes."""

from __future__ import annotations

import re
import unicodedata

OVERALL = "overall"
"""The task name under which a run's overall score is kept."""

OVERALL_NAMES = frozenset({OVERALL, "overall_accuracy", "average", "avg"})
"""Folded names that mean the overall score, as a column of a wide file or as a task of a long one."""


def fold_task_name(name: str) -> str:
    """The form in which task names are compared: lower-case, with runs of spaces, `-` and `_` as one `_`.

    Args:
        name: the name as a person wrote it.

    Returns:
        The folded name; empty only when nothing but spaces was given.

    Example:
        >>> fold_task_name(" High School - Math")
        'high_school_math'
    """
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFC", name).strip().lower())
