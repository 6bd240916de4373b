"""The explanation of a step: its class with the ways to show it, and the function that makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any

from geodiag.errors import SettingsError
from geodiag.explain.advice import advise
from geodiag.explain.causes import StepEvidence
from geodiag.explain.contrast import step_section
from geodiag.explain.evidence import StoreEvidence
from geodiag.explain.health import health_section
from geodiag.explain.html import explanation_html
from geodiag.explain.location import where_section
from geodiag.explain.losses import lost_section, old_task_changes
from geodiag.explain.pairs import whom_section
from geodiag.explain.results import ExplanationParts
from geodiag.explain.subject import Subject
from geodiag.explain.text import explanation_text
from geodiag.explain.verdict import make_verdict
from geodiag.store import StoreReader


@dataclass(frozen=True, repr=False)
class Explanation(ExplanationParts):
    """Evidence on why a step forgot, with a verdict and advice.

    `str()` and `repr()` give the text for a terminal; Jupyter shows the HTML.
    """

    def to_text(self, *, width: int = 96) -> str:
        """The explanation for a terminal.

        Args:
            width: characters of a line.
        """
        return explanation_text(self, width=width)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Every number and sentence as JSON; undefined numbers are null.

        Args:
            indent: spaces of an indentation; None puts all in one line.
        """
        return json.dumps(_record(self), indent=indent, ensure_ascii=False, allow_nan=False)

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return explanation_html(self)


def _record(value: Any) -> Any:
    """Dataclasses and mappings as dictionaries, sequences as lists, numbers that are not finite as None."""
    if is_dataclass(value):
        return {field.name: _record(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _record(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_record(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def explain_step(store: StoreReader, run: str, step: int, *, evidence: StoreEvidence | None = None) -> Explanation:
    """Explanation of why a step forgot, as far as the store's numbers allow.

    Every number is placed among the run's other steps and the whole store. Each kind of evidence comes with its
    correlation with the loss in this store at a fixed step index, so that weak evidence is called weak.

    Args:
        store: the store, or a view of some of its runs; usual values are those of its runs.
        run: the run.
        step: the step, from 1.
        evidence: computations shared by all explanations of one store; made here by default. Pass one to explain
            many steps.

    Returns:
        The explanation; `str()` of it is for a terminal, `to_json()` for a program, and Jupyter shows it as HTML.

    Raises:
        StoreError: the store does not hold the run.
        SettingsError: the run has no such step, or `evidence` is of another store.

    Example:
        >>> import geodiag
        >>> from geodiag.explain import StoreEvidence, explain_step
        >>> store = geodiag.load_example("lab").only(["2m-ewc-s0", "2m-ewc-s1"])
        >>> shared = StoreEvidence(store)
        >>> [explain_step(store, "2m-ewc-s0", step, evidence=shared).verdict.outcome for step in (1, 2, 13)]
        ['first step', 'within noise', 'lost']
    """
    if evidence is not None and evidence.store is not store and evidence.store.path != store.path:
        raise SettingsError("evidence of another store", where=evidence.store.path, fix=f"make it from {store.path}")
    subject = Subject(evidence or StoreEvidence(store), run, step)
    changes = old_task_changes(subject)
    sections = (
        lost_section(subject, changes),
        step_section(subject),
        where_section(subject),
        whom_section(subject, changes),
        health_section(subject),
    )
    step_evidence = StepEvidence(subject, tuple(changes), sections)
    verdict = make_verdict(step_evidence)
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
        advice=advise(step_evidence, verdict),
        runs=len(subject.store.runs),
    )
