"""Training a small task sequence under four continual strategies, scoring it, and writing it as runs."""
