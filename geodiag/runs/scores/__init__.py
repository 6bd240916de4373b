"""Scores of a run from tables and from results of evaluation harnesses."""
