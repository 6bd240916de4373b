"""docs/signals.md says of every column what the catalog says."""

from math import isinf
from pathlib import Path

import pytest

from geodiag.signals import HEALTH, PAIR_SIGNALS, PAIR_TARGETS, RUN_TARGETS, SIGNALS, TARGETS

PAGE = Path(__file__).parents[2] / "docs" / "signals.md"
CHAPTERS = {
    "Signals of a step, a family or a layer": SIGNALS,
    "Signals of a pair: the new task against an old one": [s for s in PAIR_SIGNALS if s.name != "step"],
    "Outcomes of a step": TARGETS,
    "Outcomes of an old task at a step": PAIR_TARGETS,
    "Outcomes of a run": [t for t in RUN_TARGETS if t not in TARGETS],
    "Checks of the measurements": HEALTH,
}


def entries(chapter):
    """The entries of a chapter, by heading."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {chapter}\n", 1)[1].split("\n## ", 1)[0]
    parts = text.split("\n### ")[1:]
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in parts}


def expected_range(signal):
    return f"Range: {signal.low:g} and up." if isinf(signal.high) else f"Range: {signal.low:g} to {signal.high:g}."


def expected_text(signal):
    reading = signal.reading[:1].upper() + signal.reading[1:]
    return f"{signal.meaning} {reading}." + (f"\n*Misleads:* {signal.caveat}" if signal.caveat else "")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_column_stands_on_the_page_as_the_catalog_has_it(chapter):
    found = entries(chapter)
    assert list(found) == [f"{signal.label}, `{signal.name}`" for signal in CHAPTERS[chapter]]
    for signal, body in zip(CHAPTERS[chapter], found.values(), strict=True):
        formula, rest = body.split("\n", 1)
        assert formula.startswith("`")
        assert formula.endswith(expected_range(signal))
        assert rest == expected_text(signal)
