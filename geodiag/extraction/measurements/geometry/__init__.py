"""Geometry of updates: norms, spectra, alignment and conflict."""
