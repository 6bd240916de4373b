"""Input files of a user: the manifest of a run, its scores and its probe examples."""

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names
from geodiag.runs.draft import FILL_IN, Draft, DraftStep, write_draft
from geodiag.runs.draft_layouts import draft_manifest
from geodiag.runs.examples import Probe, choose_probes, load_probes, repeated_probes
from geodiag.runs.findings import check_unique_runs
from geodiag.runs.load import RunCheck, check_manifest, check_run, find_manifests, load_manifest
from geodiag.runs.manifest import OVERALL_TASK, Manifest, Step, fold_task_name
from geodiag.runs.scores.checks import unscored_tasks, untrained_tasks
from geodiag.runs.scores.loading import SCORES_SCHEMA, RunScores, load_scores, read_scores, score_notes

__all__ = [
    "FILL_IN",
    "OVERALL_TASK",
    "SCORES_SCHEMA",
    "Draft",
    "DraftStep",
    "Manifest",
    "Probe",
    "RunCheck",
    "RunScores",
    "Step",
    "check_manifest",
    "check_run",
    "check_unique_runs",
    "choose_probes",
    "draft_manifest",
    "find_manifests",
    "fold_task_name",
    "load_manifest",
    "load_probes",
    "load_scores",
    "read_scores",
    "repeated_probes",
    "score_notes",
    "unscored_tasks",
    "untrained_tasks",
    "write_draft",
]


if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "OVERALL": "geodiag.runs.manifest:OVERALL_TASK",
        },
    )
