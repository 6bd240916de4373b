import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from statsmodels.stats.multitest import multipletests

from geodiag.errors import SettingsError
from geodiag.stats import benjamini_hochberg, holm


@pytest.fixture(autouse=True, scope="module")
def quick_collections():
    """What the process holds is left out of the garbage collection that every call of multipletests asks for."""
    gc.freeze()
    yield
    gc.unfreeze()


RULES = {"holm": holm, "fdr_bh": benjamini_hochberg}


@settings(max_examples=5, deadline=None)  # multipletests collects garbage on every call, which is slow
@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 500).map(lambda k: k / 500)))
def test_adjusted_p_values_are_those_of_statsmodels(p):
    for method, rule in RULES.items():
        np.testing.assert_allclose(rule(p), multipletests(p, method=method)[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", RULES)
def test_cells_without_a_test_stay_empty_and_do_not_count(method):
    p = np.array([[0.01, np.nan, 0.04], [0.03, 0.01, np.nan]])
    found = RULES[method](p)
    tested = ~np.isnan(p)
    np.testing.assert_array_equal(np.isnan(found), ~tested)
    np.testing.assert_allclose(found[tested], multipletests(p[tested], method=method)[1])


@settings(max_examples=10, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 12), elements=st.integers(0, 500).map(lambda k: k / 500)))
def test_adjusted_p_values_are_those_of_the_definition(p):
    order, m = np.argsort(p, kind="stable"), len(p)
    ordered = p[order]
    down = [max(min(1.0, (m - j) * ordered[j]) for j in range(i + 1)) for i in range(m)]
    up = [min(min(1.0, m * ordered[j] / (j + 1)) for j in range(i, m)) for i in range(m)]
    np.testing.assert_allclose(holm(p)[order], down, rtol=1e-12, atol=0)
    np.testing.assert_allclose(benjamini_hochberg(p)[order], up, rtol=1e-12, atol=0)


def test_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(benjamini_hochberg([0.01, 0.04, 0.03]), [0.03, 0.04, 0.04])
    assert holm([]).shape == (0,)
    assert np.isnan(benjamini_hochberg([np.nan])).all()


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_no_p_value(p):
    with pytest.raises(SettingsError, match=r"outside 0\.\.1"):
        holm([p])
