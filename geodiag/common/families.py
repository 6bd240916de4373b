"""The projection families: the 2-D weights of a transformer block in which updates are compared."""

from __future__ import annotations

FAMILIES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""In the order in which a block applies them, which is also the order of every table and figure."""
