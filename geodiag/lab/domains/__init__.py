"""The fourteen text domains, generated from a seed. Adding one is one entry in its family's file."""

from geodiag.lab.domains.arithmetic import ARITHMETIC
from geodiag.lab.domains.domain import Domain, named
from geodiag.lab.domains.lookup import LOOKUP
from geodiag.lab.domains.multistep import MULTISTEP
from geodiag.lab.domains.strings import STRINGS

DOMAINS: dict[str, Domain] = named((*STRINGS, *ARITHMETIC, *LOOKUP, *MULTISTEP))

__all__ = ["DOMAINS", "Domain"]
