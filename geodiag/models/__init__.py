"""Models loaded to be run: from local files, with probes in micro-batches."""
