"""Errors of inputs, stores, settings and the machine, each a line that names place, finding and remedy."""

from __future__ import annotations

from pathlib import Path


class GeodiagError(Exception):
    """Base of every error that a user can fix.

    Args:
        what: the finding, as a clause ("unknown key 'metod'").
        where: the file, folder or address.
        run: the run it belongs to.
        step: the step of that run, from 1.
        tensor: the tensor's name in its checkpoint.
        fix: the remedy, as a clause ("one of: method, size").
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        run: str | None = None,
        step: int | None = None,
        tensor: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.run, self.step, self.tensor, self.fix = what, where, run, step, tensor, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        """`where: run r, step t, tensor n: what; fix`, without the parts that are None."""
        place = [
            f"run {self.run}" if self.run is not None else "",
            f"step {self.step}" if self.step is not None else "",
            f"tensor {self.tensor}" if self.tensor is not None else "",
        ]
        head = [str(self.where) if self.where is not None else "", ", ".join(p for p in place if p)]
        line = ": ".join([h for h in head if h] + [self.what])
        return " ".join((line + (f"; {self.fix}" if self.fix else "")).split())


class ManifestError(GeodiagError):
    """A `run.yaml` or a configuration file is wrong."""


class ScoresError(GeodiagError):
    """A score file is wrong or does not fit its run."""


class ProbesError(GeodiagError):
    """A probe file is wrong or does not fit its run."""


class CheckpointError(GeodiagError):
    """A checkpoint cannot be read, or does not fit the run's base."""


class StoreError(GeodiagError):
    """A store is missing, damaged, busy, or holds other settings than those asked for."""


class SettingsError(GeodiagError):
    """A setting is out of its range, or two settings exclude each other."""


class UnexpectedError(GeodiagError):
    """A mistake in geodiag itself; its cause has the traceback."""
