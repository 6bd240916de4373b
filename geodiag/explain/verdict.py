"""The verdict on a step: its outcome, its most specific finding, and the confidence in it as the cause."""

from __future__ import annotations

from geodiag.common.text import counted, listed
from geodiag.explain.causes import StepEvidence, step_findings
from geodiag.explain.losses import outcome
from geodiag.explain.results import CauseFinding, Confidence, Line, LossCorrelation, StepOutcome, Verdict
from geodiag.explain.text import STRONG, number_words, signed
from geodiag.tables.format import number_text

UNEXPLAINED, ORDINARY = "unexplained", "ordinary"
"""Causes of a verdict without a finding: something was lost; nothing was lost."""


def make_verdict(evidence: StepEvidence) -> Verdict:
    """The verdict on a step."""
    findings, kind = step_findings(evidence), outcome(evidence.subject, evidence.changes)
    first = next((finding for finding in findings if finding.cause != "run"), None)
    confidence, why = _confidence(evidence, kind, first, findings)
    text = f"{_happened(evidence, kind, first)} {_opening(confidence, kind)}: {why}."
    none = UNEXPLAINED if kind == "lost" else ORDINARY
    return Verdict(
        outcome=kind,
        cause=first.cause if first else none,
        subjects=first.subjects if first else (),
        confidence=confidence,
        text=text,
        findings=findings,
    )


def _happened(evidence: StepEvidence, kind: StepOutcome, first: CauseFinding | None) -> str:
    """The first sentence: outcome and finding."""
    text = _outcome_words(evidence, kind)
    if first is not None:
        link = "and it" if kind == "lost" else "but it"
        return f"{text}, {link} {first.text}."
    if kind == "lost":
        return f"{text}, {_loss_in_run(evidence)}and the signals do not explain this step."
    return f"{text}, and nothing about it stands out."


def _loss_in_run(evidence: StepEvidence) -> str:
    """Whether the loss is usual for the run, as a clause with a comma; empty where it is not defined."""
    line = evidence.line("mean_drop")
    if line is None or line.place is None or line.place.z is None:
        return ""
    return "more than is usual for the run, " if line.warn else "which is in line with the run's other steps, "


def _outcome_words(evidence: StepEvidence, kind: StepOutcome) -> str:
    subject = evidence.subject
    name = f"Step {subject.step} ({subject.task_label})"
    if kind == "first step":
        return f"{name} had no old task to forget"
    if kind == "not scored":
        return f"Whether {name[:1].lower()}{name[1:]} lost anything is not known for want of scores"
    if kind == "within noise":
        return f"{name} lost nothing beyond the noise of its scores"
    lost = [change for change in evidence.changes if change.is_lost]
    worst = f"{subject.label(lost[0].task)} by {number_words(-(lost[0].drop or 0.0))}"
    if len(lost) == 1:
        return f"{name} cost {worst}"
    scored = sum(change.drop is not None for change in evidence.changes)
    many = f"all {scored} old tasks" if len(lost) == scored else f"{len(lost)} of {scored} old tasks"
    return f"{name} cost {many}, most of all {worst}"


def _confidence(
    evidence: StepEvidence, kind: StepOutcome, first: CauseFinding | None, findings: tuple[CauseFinding, ...]
) -> tuple[Confidence, str]:
    """The confidence, and its reasons as clauses."""
    if kind != "lost":
        return "none", _nothing_to_explain(kind, first)
    if first is None:
        return "none", "; ".join(part for part in (_unexplained(evidence), _run_words(findings)) if part)
    if first.cause == "no change":
        return "high", "weights that did not change cost nothing, so the scores differ by how they were taken"
    reasons, doubt = [_loss_words(evidence), _correlation_words(first)], _doubt(evidence, first)
    stands_out = "that it stands out so is plain, that this is the reason is not shown by one step"
    level = "low" if doubt else _level(evidence, first)
    return level, "; ".join(part for part in (stands_out, *reasons, doubt) if part)


def _level(evidence: StepEvidence, first: CauseFinding) -> Confidence:
    """Confidence from the loss of this step and the correlation over the store."""
    track, unusual = first.track, _loss_unusual(evidence)
    strong = track is not None and track.harmful(first.sign) and abs(track.rho or 0.0) >= STRONG
    if not unusual or (track is not None and not track.harmful(first.sign)):
        return "low"
    return "high" if strong else "moderate"


def _loss_unusual(evidence: StepEvidence) -> bool:
    """Whether old tasks together lost more than at the run's other steps."""
    line = evidence.line("mean_drop")
    return line is not None and line.warn


def _loss_words(evidence: StepEvidence) -> str:
    line = evidence.line("mean_drop")
    if line is None or line.place is None or line.place.z is None:
        return "there are too few other steps to say whether the loss is unusual"
    z = f"mean change {signed(line.value)}, robust z {signed(line.place.z, 1)}"
    return f"the loss is unusual for the run too ({z})" if line.warn else f"the loss is not unusual for the run ({z})"


def _correlation_words(first: CauseFinding) -> str:
    track = first.track
    if track is None:
        return ""
    if not track.has_interval:
        few = f"{counted(track.runs, 'run')} of the {track.least} it takes"
        return f"whether {track.signal} goes with {track.target} cannot be known from this store ({few})"
    rho = f"ρ = {number_text(track.rho)} at a fixed step"
    if not track.clear:
        return f"over the store {track.signal} shows no relation to {track.target} ({rho}), so this is weak evidence"
    if track.harmful(first.sign):
        return f"over the store such a departure goes with more lost ({rho})"
    return f"over the store such a departure goes with less lost ({rho}), which speaks against it"


def _doubt(evidence: StepEvidence, first: CauseFinding) -> str | None:
    """Failed checks of the numbers behind a finding from geometry or gradients."""
    if first.cause not in ("repeat", "signal", "pair"):
        return None
    gradients = any("grad" in name for name in first.lines)
    names = ["grad_reliability"] if gradients else ["floor_share", "lambda_share_mean", "energy_kept"]
    bad = [line for name in names if (line := evidence.line(f"health:{name}")) is not None and line.warn]
    return f"{listed([line.label.lower() for line in bad])} failed its check" if bad else None


def _unexplained(evidence: StepEvidence) -> str:
    signals = [
        line for section in evidence.sections if section.name == "step" for line in (*section.lines, *section.more)
    ]
    signals = [line for line in signals if line.name != "current"]
    judged = [line for line in signals if line.place is not None and line.place.z is not None]
    if not judged:
        return "with so few steps in the run nothing can be called unusual"
    odd = [line.label for line in judged if line.warn]
    if odd:
        return f"{listed(odd)} {'is' if len(odd) == 1 else 'are'} unusual, but {_not_shown(judged)}"
    none = f"none of {counted(len(judged), 'signal')} is unusual"
    return f"{none}, nor is where the weights changed, nor its own task's score"


def _run_words(findings: tuple[CauseFinding, ...]) -> str:
    """The finding on the run, where there is none on the step."""
    finding = next((finding for finding in findings if finding.cause == "run"), None)
    if finding is None or finding.track is None:
        return ""
    rho = f"ρ = {number_text(finding.track.rho)} at a fixed step"
    return f"but the run {finding.text}, and over the store that goes with more lost ({rho}), which tells runs apart"


def _not_shown(judged: list[Line]) -> str:
    tracks: list[LossCorrelation] = [line.track for line in judged if line.warn and line.track is not None]
    if any(not track.has_interval for track in tracks):
        return "it cannot be known from this store whether that goes with forgetting"
    return "in this store that does not go with more lost at a fixed step"


def _nothing_to_explain(kind: StepOutcome, first: CauseFinding | None) -> str:
    if kind == "not scored":
        return "without scores before and after the step there is nothing to hold the signals against"
    if kind == "first step":
        return "there is no loss to explain"
    return "there is no loss to explain" if first is None else "what stands out did no harm that the scores can show"


def _opening(confidence: Confidence, kind: StepOutcome) -> str:
    if confidence != "none":
        return f"Confidence {confidence}"
    return "No reason is named (confidence none)" if kind == "lost" else "No reason is sought (confidence none)"
