"""Do intervals cover what they say, and do p-values reject a true null as rarely as they say?

20 runs of 10 steps. The usual published ones do not: rows are no independent observations.
"""

import pytest

from geodiag.stats import ResamplingSettings
from tests.stats.simulation import Panel, replicate

EFFECTS = Panel()  # half of the variance between runs, signal and target independent
RELATED = Panel(within=0.4)
TREND = Panel(trend=0.63)  # independent, but both drift with the step
RELATED_TREND = Panel(within=0.4, trend=0.63)
RAGGED = Panel(trend=0.63, ragged=True)  # runs of 10, 8 and 6 steps

COVERED = {
    "effects": (EFFECTS, "spearman"),
    "related": (RELATED, "spearman"),
    "trend": (TREND, "spearman"),
    "related trend": (RELATED_TREND, "spearman"),
    "related within": (RELATED, "within"),
    "trend at fixed step": (TREND, "step_partial"),
    "related trend at fixed step": (RELATED_TREND, "step_partial"),
    "related between": (Panel(within=0.4, between=0.6), "between"),
    "ragged": (RAGGED, "spearman"),
}
TRUE_NULLS = {
    "effects": (EFFECTS, "spearman", "same"),
    "trend": (TREND, "spearman", "same"),
    "trend within": (TREND, "within", "same"),
    "trend at fixed step": (TREND, "step_partial", "same"),
    "trend between": (TREND, "between", "same"),
    "ragged between": (RAGGED, "between", "same"),
    "linked runs, within": (Panel(between=0.8), "within", "same"),
    "ragged": (RAGGED, "spearman", "same"),
    "ragged, common steps": (RAGGED, "spearman", "common"),
}


def run(panel, statistic, *, replicates, unequal="same", **options):
    settings = ResamplingSettings(unequal=unequal, **options)
    return replicate(panel, statistic, replicates=replicates, seed=20, settings=settings)


@pytest.mark.parametrize("case", ["effects", "trend"])
def test_the_default_keeps_its_word_in_few_replicates(case):
    # 300 replicates: three standard errors are 0.038 around 0.95 and 0.05.
    kept = run(*COVERED[case], replicates=300, resamples=200, permutations=199)
    assert 0.91 <= kept.jackknife <= 0.99
    assert 0.01 <= kept.whole_run <= 0.09
    # A shuffle of rows rejects a true null 26 % of the time, with a trend 93 %.
    assert kept.free > {"effects": 0.18, "trend": 0.85}[case]
    assert kept.percentile < kept.jackknife


@pytest.mark.slow
@pytest.mark.parametrize("case", COVERED)
def test_the_default_interval_covers_93_to_97_percent(case):
    kept = run(*COVERED[case], replicates=2000, resamples=999, permutations=0)
    print(f"\ncoverage, {case}: jackknife {kept.jackknife:.3f}, percentile {kept.percentile:.3f}")  # noqa: T201
    assert 0.93 <= kept.jackknife <= 0.97
    if case != "related between":
        assert kept.percentile < kept.jackknife


@pytest.mark.slow
@pytest.mark.parametrize("case", TRUE_NULLS)
def test_the_default_p_value_rejects_a_true_null_3_to_7_percent(case):
    panel, statistic, unequal = TRUE_NULLS[case]
    kept = run(panel, statistic, unequal=unequal, replicates=2000, resamples=0, permutations=999)
    print(f"\nrejected, {case}: whole-run {kept.whole_run:.3f}, free {kept.free:.3f}")  # noqa: T201
    assert 0.03 <= kept.whole_run <= 0.07


@pytest.mark.slow
def test_free_shuffles_find_what_is_not_there():
    effects, trend = (run(p, "spearman", replicates=2000, resamples=0, permutations=999) for p in (EFFECTS, TREND))
    assert effects.free == pytest.approx(0.26, abs=0.04)
    assert trend.free == pytest.approx(0.93, abs=0.04)
