"""Catalogue entries of the outcomes, computed from the scores of a step, an old task or a run."""

from __future__ import annotations

from geodiag.signals.catalog_signals import Signal

_COUNT = "It averages over the old tasks that were scored; their number stands beside it."

FORGETTING = Signal(
    "forgetting",
    "Forgetting",
    "outcome",
    -1,
    1,
    "smaller (more negative): more was lost",
    "Each old task's score minus its best score at an earlier step, averaged over old tasks.",
    "Negative means loss, so a harmful signal correlates negatively with it; the base is not counted.",
)
RETENTION_LOSS = Signal(
    "retention_loss",
    "Retention loss",
    "outcome",
    0,
    1,
    "larger: more was lost",
    "What old tasks lost against their best earlier score, gains counted as 0, averaged over old tasks.",
    "Its sign is opposite to that of forgetting.",
)
WORST_DROP = Signal(
    "worst_drop",
    "Worst drop",
    "outcome",
    -1,
    1,
    "smaller (more negative): some old task lost more at this step",
    "The smallest change of an old task's score from the step before to this one.",
    "A minimum over more old tasks is lower by chance alone.",
)
OLD_MEAN = Signal(
    "old_mean",
    "Old-task mean",
    "outcome",
    0,
    1,
    "larger: old tasks are solved better",
    "The mean score of the tasks trained before this step.",
    _COUNT,
)
OLD_MIN = Signal(
    "old_min",
    "Old-task minimum",
    "outcome",
    0,
    1,
    "larger: even the worst old task is solved better",
    "The lowest score of the tasks trained before this step.",
    "Tasks differ in difficulty, so it often follows the hardest one.",
)
CURRENT = Signal(
    "current",
    "Current task",
    "outcome",
    0,
    1,
    "larger: the task just trained is solved better",
    "The score of the task trained at this step.",
    "Tasks differ in difficulty, so compare it between runs rather than between steps.",
)
OVERALL_SCORE = Signal(
    "overall",
    "Overall",
    "outcome",
    0,
    1,
    "larger: the model is better over all",
    "The overall score where one was given, else the mean of all tasks scored at the step.",
    "The column overall_source says which of the two it is.",
)
DROP = Signal(
    "drop",
    "Old-task change",
    "outcome",
    -1,
    1,
    "smaller (more negative): the old task lost more at this step",
    "The old task's score at this step minus its score at the step before.",
)
PAIR_FORGETTING = Signal(
    "forgetting",
    "Forgetting",
    "outcome",
    -1,
    1,
    "smaller (more negative): more of the old task was lost",
    "The old task's score minus its best score at an earlier step.",
    "The best earlier score may stand before the old task was trained; the base's is not counted.",
)
FINAL_OVERALL = Signal(
    "final_overall",
    "Final overall",
    "outcome",
    0,
    1,
    "larger: the final model is better over all",
    "The overall score after the last step.",
    "The column overall_source says whether it was scored or is a mean.",
)
OP = Signal(
    "OP",
    "OP",
    "outcome",
    0,
    1,
    "larger: the final model solves the trained tasks better",
    "Overall performance: the mean final score of the trained tasks.",
    "It averages over the trained tasks that were scored; their number stands beside it.",
)
BWT = Signal(
    "BWT",
    "BWT",
    "outcome",
    -1,
    1,
    "smaller (more negative): more was lost by the end",
    "Backward transfer: a task's final score minus its score when trained, averaged over earlier tasks.",
)
FWT = Signal(
    "FWT",
    "FWT",
    "outcome",
    -1,
    1,
    "larger: earlier tasks helped tasks that were not trained yet",
    "Forward transfer: a task's score just before its training minus the base's, averaged over tasks.",
    "It needs the base's scores, at step 0.",
)
