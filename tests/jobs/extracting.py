"""Extraction for tests: the pieces of `Work` as keywords, with gradients asked for by their options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients.settings import GradientOptions
from geodiag.jobs import BatchReport, Work
from geodiag.jobs import extract_all as extract_work
from geodiag.jobs import plan_all as plan_work
from geodiag.jobs.devices import extract_on as extract_work_on
from geodiag.jobs.events import Progress


def work_of(
    store: Path,
    settings: GeometrySettings,
    *,
    gradients: GradientOptions | None = None,
    geometry: bool = True,
    **more: Any,
) -> Work:
    measured = ("geometry",) * geometry + ("gradients",) * (gradients is not None)
    given = {"geometry": settings} | ({} if gradients is None else {"gradients": gradients})
    return Work(store=store, measured=measured, settings=given, **more)


def extract_all(
    runs: Path, store: Path, settings: GeometrySettings, *, progress: Progress | None = None, **more: Any
) -> BatchReport:
    return extract_work(runs, work_of(store, settings, **more), progress=progress)


def extract_on(
    devices: tuple[str, ...],
    runs: Path,
    store: Path,
    settings: GeometrySettings,
    *,
    progress: Progress | None = None,
    **more: Any,
) -> BatchReport:
    return extract_work_on(devices, runs, work_of(store, settings, **more), progress=progress)


def plan_all(
    runs: Path,
    settings: GeometrySettings,
    *,
    device: str = "cpu",
    probe: bool = True,
    **more: Any,
) -> Iterator[str]:
    return plan_work(runs, work_of(Path("store"), settings, device=device, **more), timed=probe)
