"""The report: one HTML page with everything a store says."""

from __future__ import annotations

from geodiag.report.report import write_report

__all__ = ["write_report"]
