"""Signals and outcomes of runs, from the raw rows of a store."""
