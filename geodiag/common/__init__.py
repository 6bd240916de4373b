"""Helpers shared by all packages: text, files, undefined values, stop signals, remote paths; and the version."""

__version__ = "0.1.0"
"""The package's version. It stands here, below all that writes it into files; users read `geodiag.__version__`."""
