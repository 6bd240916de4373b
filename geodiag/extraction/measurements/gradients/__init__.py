"""Gradient conflict: the angles between the gradients of tasks at every state."""
