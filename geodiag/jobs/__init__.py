"""Extraction as a batch job: runs in, a store out, nothing lost on the way."""

from geodiag.jobs.batch import BatchReport, RunOutcome, extract_all
from geodiag.jobs.check import check_all
from geodiag.jobs.plan import parse_bytes, plan_all
from geodiag.jobs.progress import Progress, Silent

__all__ = [
    "BatchReport",
    "Progress",
    "RunOutcome",
    "Silent",
    "check_all",
    "extract_all",
    "parse_bytes",
    "plan_all",
]
