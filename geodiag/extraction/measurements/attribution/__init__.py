"""Loss-change allocation."""
