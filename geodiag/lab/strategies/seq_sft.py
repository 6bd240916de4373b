"""Seq. SFT: plain cross-entropy on the target tokens of the new task."""

from __future__ import annotations

from geodiag.lab.strategies.strategy import Strategy


class SeqSft(Strategy):
    """Plain sequential fine-tuning: each step trains on its own task, from the last state."""
