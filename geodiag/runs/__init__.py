"""What a user brings: the manifest of a run and its scores."""

from geodiag.runs.checks import check_unique_runs
from geodiag.runs.load import check_manifest, find_manifests, load_manifest
from geodiag.runs.manifest import Manifest, Step
from geodiag.runs.names import OVERALL, fold_task_name
from geodiag.runs.score_notes import score_notes, unscored_tasks, untrained_tasks
from geodiag.runs.scores import SCORES_SCHEMA, load_scores

__all__ = [
    "OVERALL",
    "SCORES_SCHEMA",
    "Manifest",
    "Step",
    "check_manifest",
    "check_unique_runs",
    "find_manifests",
    "fold_task_name",
    "load_manifest",
    "load_scores",
    "score_notes",
    "unscored_tasks",
    "untrained_tasks",
]
