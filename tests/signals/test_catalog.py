import pytest

from geodiag.signals import FAMILY_SIGNALS, HEALTH, PAIR_SIGNALS, PAIR_TARGETS, RUN_TARGETS, SIGNALS, TARGETS
from geodiag.signals.catalog import label
from geodiag.signals.levels import GAP_FORMULAS, MEASURES

LISTS = {
    "signals": SIGNALS,
    "family": FAMILY_SIGNALS,
    "targets": TARGETS,
    "pair signals": PAIR_SIGNALS,
    "pair targets": PAIR_TARGETS,
    "run targets": RUN_TARGETS,
    "health": HEALTH,
}
KINDS = {
    "signals": {"norm", "geometry", "gradient", "baseline"},
    "family": {"norm", "geometry", "gradient"},
    "targets": {"outcome"},
    "pair signals": {"geometry", "gradient", "baseline"},
    "pair targets": {"outcome"},
    "run targets": {"outcome"},
    "health": {"health"},
}


@pytest.mark.parametrize("which", LISTS)
def test_names_and_labels_are_unique_and_kinds_belong(which):
    entries = LISTS[which]
    assert len({entry.name for entry in entries}) == len({entry.label for entry in entries}) == len(entries)
    assert {entry.kind for entry in entries} == KINDS[which]


@pytest.mark.parametrize("which", LISTS)
def test_every_entry_says_how_to_read_it_in_one_sentence(which):
    for entry in LISTS[which]:
        assert entry.low < entry.high
        assert entry.reading.startswith(("larger: ", "smaller (more negative): "))
        for sentence in filter(None, (entry.meaning, entry.caveat)):
            assert sentence.endswith(".")
            assert ". " not in sentence


def test_what_is_measured_is_what_is_described():
    measured = {measure.name for measure in MEASURES} | set(GAP_FORMULAS)
    assert measured == {entry.name for entry in (*FAMILY_SIGNALS, *HEALTH)}


def test_the_published_signals_are_there_under_their_labels():
    # The names in the published step and pair rankings. SAR is at most 1, so a clipped SAR is SAR itself.
    steps = {
        "Merged norm", "Global gap", "Update norm", "State gap", "Global active GC", "Neg-grad ratio",
        "Min grad cos", "Active GC", "Active SAR",
    }  # fmt: skip
    pairs = {"Min grad cos", "Neg-grad ratio", "Mean grad cos", "GC", "Max GC", "Mean SAR", "Max SAR"}
    assert {label(name) for name in steps} <= {entry.label for entry in SIGNALS}
    assert {label(name) for name in pairs} <= {entry.label for entry in PAIR_SIGNALS}
