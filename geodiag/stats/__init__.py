"""Statistics of rows that come in runs: arrays in, frozen results out."""

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names
from geodiag.stats.design import Design, Partition
from geodiag.stats.grid import compare, correlate
from geodiag.stats.incremental import Coefficient, IncrementalTest, incremental_value_test
from geodiag.stats.p_values import benjamini_hochberg, holm
from geodiag.stats.prediction import Gain, PredictionGain
from geodiag.stats.resampling import ResamplingSettings, jackknife_bounds, percentile_bounds
from geodiag.stats.results import Correlation, CorrelationGrid, Differences, Interval, PValue
from geodiag.stats.statistics import STATISTICS, Statistic

__all__ = [
    "STATISTICS",
    "Coefficient",
    "Correlation",
    "CorrelationGrid",
    "Design",
    "Differences",
    "Gain",
    "IncrementalTest",
    "Interval",
    "PValue",
    "Partition",
    "PredictionGain",
    "ResamplingSettings",
    "Statistic",
    "benjamini_hochberg",
    "compare",
    "correlate",
    "holm",
    "incremental_value_test",
    "jackknife_bounds",
    "percentile_bounds",
]


if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "IncrementalValue": "geodiag.stats.incremental:IncrementalTest",
            "Settings": "geodiag.stats.resampling:ResamplingSettings",
            "incremental_value": "geodiag.stats.incremental:incremental_value_test",
        },
    )
