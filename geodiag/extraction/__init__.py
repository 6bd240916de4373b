"""Extraction: the plan of a run, the loop over its layers, and the measurements made on it."""
