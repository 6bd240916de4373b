"""Weights on disk: lazy tensors, and which of them are the layers that are compared."""

from geodiag.checkpoints.adapter import Adapter, Factors
from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.fingerprint import fingerprint
from geodiag.checkpoints.layers import Layer, LayerTable, LeftOut, Part
from geodiag.checkpoints.match import match_layers
from geodiag.checkpoints.open import check_reading, open_checkpoint, open_model
from geodiag.checkpoints.read import check_same_layers, read_layer
from geodiag.checkpoints.safetensors_file import Reading, TensorInfo
from geodiag.families import FAMILIES

__all__ = [
    "FAMILIES",
    "Adapter",
    "Checkpoint",
    "Factors",
    "Layer",
    "LayerTable",
    "LeftOut",
    "Part",
    "Reading",
    "TensorInfo",
    "check_reading",
    "check_same_layers",
    "fingerprint",
    "match_layers",
    "open_checkpoint",
    "open_model",
    "read_layer",
]
