"""The measurements of a run, as a list."""
