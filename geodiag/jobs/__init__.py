"""Extraction as a batch job: runs in, a store out, nothing lost on the way."""

from geodiag.jobs.batch import Work, check_all, extract_all
from geodiag.jobs.devices import extract_on, parse_devices
from geodiag.jobs.events import BatchReport, Progress, RunOutcome, Silent
from geodiag.jobs.machine import parse_bytes
from geodiag.jobs.plan import plan_all
from geodiag.jobs.shards import Shard, parse_shard

__all__ = [
    "BatchReport",
    "Progress",
    "RunOutcome",
    "Shard",
    "Silent",
    "Work",
    "check_all",
    "extract_all",
    "extract_on",
    "parse_bytes",
    "parse_devices",
    "parse_shard",
    "plan_all",
]
