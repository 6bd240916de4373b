"""What a user brings: the manifest of a run, its scores and its probes."""

from geodiag.runs.checks import check_unique_runs
from geodiag.runs.draft import FILL_IN, Draft, DraftStep, write_draft
from geodiag.runs.draft_layouts import draft_manifest
from geodiag.runs.load import check_manifest, find_manifests, load_manifest
from geodiag.runs.manifest import Manifest, Step
from geodiag.runs.names import OVERALL, fold_task_name
from geodiag.runs.probe_source import Probe
from geodiag.runs.probes import choose_probes, load_probes, repeated_probes
from geodiag.runs.score_notes import score_notes, unscored_tasks, untrained_tasks
from geodiag.runs.scores import SCORES_SCHEMA, load_scores

__all__ = [
    "FILL_IN",
    "OVERALL",
    "SCORES_SCHEMA",
    "Draft",
    "DraftStep",
    "Manifest",
    "Probe",
    "Step",
    "check_manifest",
    "check_unique_runs",
    "choose_probes",
    "draft_manifest",
    "find_manifests",
    "fold_task_name",
    "load_manifest",
    "load_probes",
    "load_scores",
    "repeated_probes",
    "score_notes",
    "unscored_tasks",
    "untrained_tasks",
    "write_draft",
]
