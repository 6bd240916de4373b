"""`python -m benchmarks [NAME ...]`: all benchmarks, or those named."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = (
    "walk",
    "spectrum",
    "precision",
    "extraction",
    "scaling",
    "memory",
    "breakdown",
    "statistics",
    "gradients",
    "attribution",
    "adapters",
    "merging",
)
"""Every benchmark, quick ones first."""


def main() -> None:
    """Runs them one after another, each under its name."""
    for name in sys.argv[1:] or NAMES:
        print(f"== {name}", flush=True)
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
