"""Statistics for rows that come in runs: arrays in, small frozen results out."""

from geodiag.stats.design import Design
from geodiag.stats.difference import Differences, compare
from geodiag.stats.grid import correlate
from geodiag.stats.incremental import IncrementalValue, incremental_value
from geodiag.stats.intervals import jackknife_bounds, percentile_bounds
from geodiag.stats.multiplicity import benjamini_hochberg, holm
from geodiag.stats.partition import Partition
from geodiag.stats.prediction import Gain, PredictionGain
from geodiag.stats.regression import Coefficient
from geodiag.stats.results import Correlation, CorrelationGrid, Interval, PValue
from geodiag.stats.settings import Settings
from geodiag.stats.statistics import STATISTICS, Statistic

__all__ = [
    "STATISTICS",
    "Coefficient",
    "Correlation",
    "CorrelationGrid",
    "Design",
    "Differences",
    "Gain",
    "IncrementalValue",
    "Interval",
    "PValue",
    "Partition",
    "PredictionGain",
    "Settings",
    "Statistic",
    "benjamini_hochberg",
    "compare",
    "correlate",
    "holm",
    "incremental_value",
    "jackknife_bounds",
    "percentile_bounds",
]
