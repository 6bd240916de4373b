"""Explaining a step: the evidence of each section, the verdict, and the advice."""

from __future__ import annotations

from geodiag.errors import SettingsError
from geodiag.explain.advice import advise
from geodiag.explain.causes import Case
from geodiag.explain.contrast import step_section
from geodiag.explain.evidence import StoreEvidence
from geodiag.explain.health import health_section
from geodiag.explain.location import where_section
from geodiag.explain.losses import losses, lost_section
from geodiag.explain.pairs import whom_section
from geodiag.explain.results import Explanation
from geodiag.explain.subject import Subject
from geodiag.explain.verdict import make_verdict
from geodiag.store import StoreReader


def explain_step(store: StoreReader, run: str, step: int, *, evidence: StoreEvidence | None = None) -> Explanation:
    """Why a step forgot, as far as the store's numbers can tell.

    Every number is placed among the run's other steps and the whole store, and each kind of evidence comes with how
    it has gone with forgetting in this store at a fixed step index, so that weak evidence is called weak.

    Args:
        store: the store, or a view of some of its runs; what is usual is judged within it.
        run: the run.
        step: the step, from 1.
        evidence: what explanations of one store share; made here by default. Give one to explain many steps.

    Returns:
        The explanation; `str()` of it is for a terminal, `to_json()` for a program, and Jupyter shows it as HTML.

    Raises:
        StoreError: the store does not hold the run.
        SettingsError: the run has no such step, or `evidence` is of another store.

    Example:
        >>> import geodiag
        >>> from geodiag.explain import Evidence, explain_step
        >>> store = geodiag.load_example("lab").only(["2m-ewc-s0", "2m-ewc-s1"])
        >>> shared = Evidence(store)
        >>> [explain_step(store, "2m-ewc-s0", step, evidence=shared).verdict.outcome for step in (1, 2, 13)]
        ['first step', 'within noise', 'lost']
    """
    if evidence is not None and evidence.store is not store and evidence.store.path != store.path:
        raise SettingsError("evidence of another store", where=evidence.store.path, fix=f"make it from {store.path}")
    subject = Subject(evidence or StoreEvidence(store), run, step)
    found = losses(subject)
    sections = (
        lost_section(subject, found),
        step_section(subject),
        where_section(subject),
        whom_section(subject, found),
        health_section(subject),
    )
    case = Case(subject, tuple(found), sections)
    verdict = make_verdict(case)
    return Explanation(
        run=run,
        size=str(subject.row["size"]),
        method=str(subject.row["method"]),
        step=step,
        n_steps=len(subject.steps),
        task=subject.task,
        label=subject.task_label,
        verdict=verdict,
        sections=sections,
        advice=advise(case, verdict),
        runs=len(subject.evidence.runs),
    )
