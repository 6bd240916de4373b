"""`python -m geodiag` is the command line."""

from geodiag.cli import main

main()
